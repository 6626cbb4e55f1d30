"""Writes trajectories of joints as a C3D file, the form of motion capture programs, by the library ezc3d."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxhar.host import files

#: Most frames that the header of a C3D file can count.
LONGEST = 65535


def write(path: Path, points: np.ndarray, labels: Sequence[str], rate: float) -> str | None:
    """Writes points (F, N, 3) in mm of N markers; NaN is a missing point, with residual -1.

    Args:
      rate: frames per second.

    Returns: a sentence if nothing was written: the library is missing, or there are too many frames.

    Raises:
      Problem: the file cannot be written.
    """
    try:
        import ezc3d
    except ImportError:
        return f"{path.name} is not written, as it needs the library ezc3d: pip install 'jaxhar[c3d]'"
    if len(points) > LONGEST:
        return f"{path.name} is not written, as the form holds {LONGEST} frames at most, and there are {len(points)}"
    content = ezc3d.c3d()
    parameters = content["parameters"]["POINT"]
    parameters["UNITS"]["value"], parameters["RATE"]["value"] = ["mm"], [rate]
    parameters["LABELS"]["value"] = list(labels)
    known = np.isfinite(points).all(-1)
    content["data"]["points"] = np.concatenate([points, np.ones((*known.shape, 1))], -1).T
    content["data"]["meta_points"]["residuals"] = np.where(known, 0.0, -1.0).T[None]
    with tempfile.TemporaryDirectory() as folder:  # as the library says nothing of a failed write
        part = Path(folder) / "part.c3d"
        content.write(str(part))
        files.write(path, files.read(part, "C3D file"))
    return None
