"""Reads MATLAB files of data sets into plain Python values, recognises their kind, and writes them."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from jaxhar.host.errors import Problem

#: Kind of file -> variables by which it is recognised, and a description.
KINDS = {
    "mpii": ({"RELEASE"}, "MPII's official annotation file (RELEASE)"),
    "mpii-deephar": ({"annot_tr", "annot_val"}, "deephar's MPII annotations (annot_tr, annot_val)"),
    "h36m-deephar": (
        {"sequences_te", "sequences_tr", "sequences_val"},
        "deephar's Human3.6M annotations (sequences_te, sequences_tr, sequences_val)",
    ),
    "penn-deephar": (
        {"sequences_te", "sequences_tr"},
        "deephar's Penn Action annotations (sequences_te, sequences_tr)",
    ),
    "penn-label": ({"x", "y", "visibility"}, "a Penn Action label file of one video (x, y, visibility)"),
    "mpii-heads": ({"headboxes_src"}, "the head boxes of MPII's validation split (headboxes_src)"),
}


def kind(path: Path) -> str:
    """Key in `KINDS` of a file by the names of its variables, "" for any other; Problem if it cannot be read."""
    try:
        names = {name for name, *_ in scipy.io.whosmat(path)}
    except Exception as error:  # scipy raises many types for damaged files
        raise _unreadable(path, error) from error
    return next((key for key, (needed, _) in KINDS.items() if needed <= names), "")


def load(path: Path, expected: str) -> dict[str, Any]:
    """The variables of a file of the kind `expected`; structs are objects with attributes, single values are squeezed.

    Raises:
      Problem: the file is missing, damaged, in MATLAB's HDF5 format, or of another kind, which is named.
    """
    found = kind(path)
    if found != expected:
        what = KINDS[found][1] if found else "an unknown kind of annotation file"
        raise Problem(f"{path} is {what}; expected {KINDS[expected][1]}")
    try:
        return scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True)
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Problem:
    if isinstance(error, NotImplementedError):  # SciPy's error for this format
        return Problem(f"{path} is a MATLAB 7.3 file, which is HDF5 inside; save it in MATLAB with the option -v7")
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return Problem(f"{path} cannot be read as a MATLAB file ({reason}); restore it")


def items(value: object) -> list:
    """The elements of a cell or struct array, which squeezing may have turned into a single value or empty array."""
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    return [value]


def attribute(struct: object, name: str) -> Any:
    """A field of a struct; None if it is missing or empty."""
    value = getattr(struct, name, None)
    return None if isinstance(value, np.ndarray) and value.size == 0 else value


def number(struct: object, name: str) -> float | None:
    """A field that is a finite number; None if it is missing, empty or anything else."""
    value = attribute(struct, name)
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None


def numbers(struct: object, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """A numeric field of that shape as float64, which may have NaN; None if it is missing or anything else."""
    try:
        found = np.asarray(attribute(struct, name), np.float64)
    except (TypeError, ValueError):
        return None
    return found if found.shape == shape else None


def structs(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> np.ndarray:
    """(1, N) struct array; a field that a row lacks is empty."""
    out = np.empty((1, len(rows)), [(name, object) for name in names])
    for i, row in enumerate(rows):
        for name in names:
            out[0, i][name] = row.get(name, np.zeros((0, 0)))
    return out


def cells(values: Sequence[object]) -> np.ndarray:
    """(N, 1) cell array."""
    out = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        out[i, 0] = value
    return out


def mat_bytes(variables: Mapping[str, object]) -> bytes:
    """The bytes of a MATLAB file, without the time of writing in its header."""
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=True)
    return b"MATLAB 5.0 MAT-file, written by jaxhar".ljust(116) + file.getvalue()[116:]
