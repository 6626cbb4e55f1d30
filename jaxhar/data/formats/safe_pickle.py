"""Reads pickles of plain data only: numpy arrays, tensors of PyTorch (as arrays), lists, tuples, dicts, text, numbers.

Anything else is refused. A pickle can run any code when it is read by the pickle module. This reader allows only the
few names that arrays need, and replaces each by a function that checks its arguments.
"""

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from jaxhar.data.formats import torch_pickle
from jaxhar.host.errors import Problem

_KINDS = "biufcSU"  # of arrays: no Python objects, no records


class _Refused(Exception):
    """A pickle contains something that is not allowed; the message describes it."""


class _Dtype:
    """Stands for numpy.dtype in a pickle."""

    def __init__(self, name: object, *_: object):
        self.name, self.order = _text(name), ""

    def __setstate__(self, state: tuple) -> None:
        self.order = _text(state[1])

    def resolve(self) -> np.dtype:
        dtype = np.dtype(self.name)
        if dtype.kind not in _KINDS:
            raise _Refused(f"an array of {self.name!r}")
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class _Array(np.ndarray):
    """An array filled from the bytes of a pickle, after a check of their number."""

    def __setstate__(self, state: tuple) -> None:
        shape, dtype, fortran, data = state[-4:]
        if not isinstance(dtype, _Dtype):
            raise _Refused("an array of unknown elements")
        kind = dtype.resolve()
        shape, data = tuple(int(n) for n in shape), _bytes(data)
        if any(n < 0 for n in shape) or len(data) != kind.itemsize * math.prod(shape):
            raise _Refused(f"an array of shape {shape} with {len(data)} bytes")
        super().__setstate__((1, shape, kind, bool(fortran), data))  # type: ignore[arg-type]

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple:  # type: ignore[override]
        """To be sent to another process it is a plain array, which pickle reads there without the check."""
        return self.view(np.ndarray).__reduce_ex__(protocol)  # type: ignore[return-value]


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin1")
    if not isinstance(value, str):
        raise _Refused("an array of unknown elements")
    return value


def _bytes(value: object) -> bytes:
    """The bytes of an array; Python 2 wrote them as text, which is read as latin1."""
    if isinstance(value, str):
        value = value.encode("latin1")
    if not isinstance(value, bytes):
        raise _Refused("an array whose numbers are not bytes")
    return value


def _new_array(kind: object, *_: object) -> _Array:
    if kind is not _NDARRAY:
        raise _Refused("a kind of array that is not supported")
    return np.ndarray.__new__(_Array, (0,), "u1")


def _array_of(buffer: bytes | bytearray, dtype: object, shape: object, order: object) -> _Array:
    """Stands for the function that makes arrays in pickle protocol 5."""
    array = _new_array(_NDARRAY)
    array.__setstate__((1, shape, dtype, order == "F", bytes(buffer)))
    return array


def _scalar(dtype: object, data: object = b"") -> object:
    if not isinstance(dtype, _Dtype):
        raise _Refused("a number of unknown kind")
    kind, data = dtype.resolve(), _bytes(data)
    if len(data) != kind.itemsize:
        raise _Refused("a number of unknown size")
    return np.frombuffer(data, kind)[0]


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Stands for `_codecs.encode`, by which Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("_codecs.encode")
    return text.encode("latin1")


def _no_bytes(*arguments: object) -> bytes:
    """Stands for `bytes()`, by which Python 3 writes empty bytes for Python 2."""
    if arguments:
        raise _Refused("bytes(...)")
    return b""


class _Named:
    """Wraps an allowed function for a pickle, which can call it but not modify it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable):
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: tuple) -> None:
        raise _Refused("a modification of an allowed name")


def _no_call(*_: object) -> object:
    raise _Refused("a bare numpy.ndarray")


_NDARRAY = _Named(_no_call)
_CORE = ("numpy.core", "numpy._core")
_ALLOWED = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Named(_Dtype),
    ("collections", "OrderedDict"): _Named(OrderedDict),
    ("_codecs", "encode"): _Named(_encode),
    ("__builtin__", "bytes"): _Named(_no_bytes),
    ("torch.storage", "_load_from_bytes"): _Named(torch_pickle.storage),
    ("torch._utils", "_rebuild_tensor_v2"): _Named(torch_pickle.tensor),
    **{(f"{core}.multiarray", "_reconstruct"): _Named(_new_array) for core in _CORE},
    **{(f"{core}.multiarray", "scalar"): _Named(_scalar) for core in _CORE},
    **{(f"{core}.numeric", "_frombuffer"): _Named(_array_of) for core in _CORE},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[module, name]


def load(path: Path) -> object:
    """The data of a pickle file, written by Python 2 or 3.

    Raises:
      Problem: it cannot be read, is damaged, or has anything but plain data.
    """
    try:
        with open(path, "rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except (_Refused, torch_pickle.Damaged) as refused:
        raise Problem(
            f"the pickle {path} is not read: it contains {refused}, but only arrays, lists, dicts, text and numbers "
            "are allowed in pickles"
        ) from refused
    except OSError as error:
        raise Problem(f"the pickle {path} cannot be read ({error.strerror})") from error
    except Exception as error:  # damaged pickles raise many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Problem(f"the file {path} is not a complete pickle ({reason}); restore it") from error


def numbers(value: object) -> np.ndarray | None:
    """A value of a pickle as an array of numbers; None if it is something else, or ragged."""
    try:
        found = np.asarray(value)
    except ValueError:
        return None
    return found if found.dtype.kind in "biuf" else None
