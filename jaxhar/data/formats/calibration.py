"""Calibrations of several cameras, read from files of other programs or from our own JSON.

| ending | form |
|---|---|
| .toml | Pose2Sim and Anipose: a table for each camera with matrix, distortions, rotation, translation, size, name |
| .json | our own, see `write`; also CMU Panoptic's, with its "calibDataSource" or a list "calibration", in cm |
| .yml, .yaml, .xml | OpenCV's FileStorage, one file for each camera |

In all of them X = R x + t takes a world point into the camera's axes, rotations are matrices (3, 3) or Rodrigues
vectors (3,), distortions are k1, k2, p1, p2, k3, and pixel centres are at integers, as in OpenCV. In our pictures and
files of poses they are at half integers, so 0.5 is added to the principal point of `Camera`.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from jaxhar.core.camera import OPENCV, Camera
from jaxhar.host import files
from jaxhar.host.errors import Problem

#: Unit of length -> mm.
UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
#: Largest distance between two cameras up to which a file without a unit is taken to be in metres.
_METRES = 100.0
#: Distance of two cameras, as a share of the largest one in the rig, up to which they count as standing at one place.
_SAME_PLACE = 1e-3
#: Largest number of a calibration, in its own units.
_LARGEST = 1e12
#: Smallest focal length in pixels; below it is one in shares of the picture.
_SHORTEST = 10.0
_HALF = 0.5
#: Our name -> names in files.
_KEYS = {
    "matrix": ("matrix", "camera_matrix", "cameraMatrix", "K", "M"),
    "distortion": ("distortion", "distortions", "distortion_coefficients", "dist_coeffs", "distCoef", "dist", "D"),
    "rotation": ("rotation", "R", "rvec", "Rot"),
    "translation": ("translation", "t", "T", "tvec"),
    "size": ("size", "resolution", "image_size"),
}
_FORM, _VERSION = "jaxhar cameras", 1


@dataclass(frozen=True)
class Rig:
    """Cameras of one scene.

    Attributes:
      names: of the cameras. cameras: as many.
      sizes: (width, height) of each camera's picture, None where the file does not say it.
      notes: sentences on what the file does not say: the unit, the distortion.
    """

    names: tuple[str, ...]
    cameras: tuple[Camera, ...]
    sizes: tuple[tuple[int, int] | None, ...]
    notes: tuple[str, ...] = ()


def read(paths: Sequence[Path], unit: str | None = None) -> Rig:
    """Cameras of one file, or of one file for each camera in the order of `paths`.

    Args:
      unit: a key of `UNITS`; None takes the unit in the file, else metres if no two cameras are farther than 100 apart.

    Raises:
      Problem: a file cannot be read, or a camera in it is missing something or impossible.
    """
    found: list[tuple[str, dict, str]] = []
    told: set[str] = set()
    for path in paths:
        entries, stated = _entries(path)
        if not entries:
            raise Problem(f"the calibration {path} holds no camera; it needs matrix, rotation and translation of each")
        told |= {stated} if stated else set()
        found += [(name, entry, f"camera {name!r} of the calibration {path}") for name, entry in entries]
    if len(told) > 1 or told - {*UNITS}:
        raise Problem(f"the calibration {paths[0]} has the unit {', '.join(sorted(told))}; mm, cm or m is needed")
    cameras = [_camera(entry, what) for _, entry, what in found]
    names = tuple(name for name, _, _ in found)
    if len({*names}) < len(names):
        raise Problem(f"the calibration {paths[0]} has two cameras of one name: {', '.join(names)}; rename one")
    notes = []
    bare = [name for name, entry, _ in found if _value(entry, "distortion") is None]
    if bare:
        notes.append(f"no lens distortion is given for {', '.join(bare)}; none is assumed")
    unit = unit or next(iter(told), None)
    if unit is None:
        apart = max((np.linalg.norm(a.t - b.t) for a, b in combinations(cameras, 2)), default=0.0)
        unit = "m" if apart <= _METRES else "mm"
        notes.append(
            f"lengths are taken to be in {unit}, as cameras are up to {apart:.4g} apart; --unit says otherwise"
        )
    scaled = tuple(Camera(c.R, c.t * UNITS[unit], c.f, c.c, c.k, c.p, c.w) for c in cameras)
    return Rig(names, scaled, tuple(_size(entry, what) for _, entry, what in found), tuple(notes))


def write(path: Path, rig: Rig) -> None:
    """Writes our JSON: format, version, unit and a list of cameras, with OpenCV's conventions as all other forms.

    Raises:
      ValueError: a camera has Human3.6M's tangential term, which the form cannot express.
    """
    cameras = []
    for name, camera, size in zip(rig.names, rig.cameras, rig.sizes, strict=True):
        if camera.w != OPENCV and camera.p.any():
            raise ValueError(f"camera {name} has another tangential distortion than OpenCV's")
        (fx, fy), (cx, cy) = camera.f.tolist(), (camera.c - _HALF).tolist()
        cameras.append(
            {
                "name": name,
                "size": None if size is None else list(size),
                "matrix": [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]],
                "distortion": [*camera.k[:2].tolist(), *camera.p.tolist(), camera.k[2]],
                "rotation": camera.R.tolist(),
                "translation": (-camera.R @ camera.t).tolist(),
            }
        )
    content = {"format": _FORM, "version": _VERSION, "unit": "mm", "cameras": cameras}
    files.write(path, (json.dumps(content, indent=1) + "\n").encode())


def match(rig: Rig, views: Sequence[str]) -> tuple[Rig, str]:
    """The cameras of views, and a sentence on how they were found.

    By name if each view's name equals, contains or is part of the name of exactly one camera, without regard to case
    and signs; else by order, if there are as many views as cameras.

    Args:
      views: name of each view, as that of its file without the ending.

    Raises:
      Problem: neither, or two of the cameras stand at one place.
    """
    plain = [re.sub(r"[\W_]", "", name.lower()) for name in rig.names]
    found = []
    for view in (re.sub(r"[\W_]", "", view.lower()) for view in views):
        same = [n for n, name in enumerate(plain) if name == view]
        near = same or [n for n, name in enumerate(plain) if name and view and (name in view or view in name)]
        found.append(near[0] if len(near) == 1 else -1)
    if -1 not in found and len({*found}) == len(found):
        how = "cameras by name: " + ", ".join(f"{v} is {rig.names[n]}" for v, n in zip(views, found, strict=True))
    elif len(views) == len(rig.names):
        found = list(range(len(views)))
        how = "cameras in order: " + ", ".join(f"{v} is {n}" for v, n in zip(views, rig.names, strict=True))
    else:
        raise Problem(
            f"{len(views)} views ({', '.join(views)}) and {len(rig.names)} cameras ({', '.join(rig.names)}): give as "
            "many views as cameras, or name the files as the cameras"
        )
    chosen = Rig(
        tuple(rig.names[n] for n in found),
        tuple(rig.cameras[n] for n in found),
        tuple(rig.sizes[n] for n in found),
        rig.notes,
    )
    _check_apart(chosen)
    return chosen, how


def _check_apart(rig: Rig) -> None:
    centres = [camera.t for camera in rig.cameras]
    apart = {pair: np.linalg.norm(centres[pair[0]] - centres[pair[1]]) for pair in combinations(range(len(centres)), 2)}
    rounding = 1e-9 * np.abs(centres).max()
    for (first, second), distance in apart.items():
        if distance <= max(_SAME_PLACE * max(apart.values()), rounding):
            raise Problem(
                f"cameras {rig.names[first]} and {rig.names[second]} stand at the same place; no depth can be found "
                "from them; correct the calibration"
            )


def _entries(path: Path) -> tuple[list[tuple[str, dict]], str | None]:
    """Names and contents of the cameras in a file, and the unit that it states."""
    kind = path.suffix.lower()
    if kind == ".toml":
        try:
            content = tomllib.loads(files.read(path, "calibration").decode())
        except (ValueError, RecursionError) as error:
            raise Problem(f"the calibration {path} is not TOML ({error}); restore it") from error
        tables = [(name, value) for name, value in content.items() if isinstance(value, dict) and name != "metadata"]
        meta = content.get("metadata")
        return [(str(v.get("name", n)), v) for n, v in tables], _unit(meta if isinstance(meta, dict) else {})
    if kind == ".json":
        content = files.read_json(path, "calibration")
        content = content if isinstance(content, dict) else {}
        if content.get("format") == _FORM and (version := content.get("version", _VERSION)) != _VERSION:
            raise Problem(f"the calibration {path} has version {version}, but {_VERSION} is read; update jaxhar")
        panoptic = bool({"calibration", "calibDataSource"} & content.keys())
        cameras = content.get("cameras", content.get("calibration"))
        if not isinstance(cameras, list) or not all(isinstance(one, dict) for one in cameras):
            raise Problem(f"the calibration {path} has no list of cameras; docs/reconstruct.md shows the form")
        named = [(str(one.get("name", n)), one) for n, one in enumerate(cameras)]
        return named, _unit(content) or ("cm" if panoptic else None)
    if kind in (".yml", ".yaml", ".xml"):
        return [(path.stem, _opencv(path))], None
    raise Problem(f"the calibration {path} ends in {kind or 'nothing'}; .toml, .json, .yml, .yaml or .xml is read")


def _unit(content: dict) -> str | None:
    given = content.get("unit", content.get("units"))
    return None if given is None else str(given)


def _opencv(path: Path) -> dict:
    text = files.read(path, "calibration").decode(errors="replace")
    try:
        store = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        nodes = {key: store.getNode(key) for key in store.root().keys()}
        read = {key: node.mat() for key, node in nodes.items() if node.isMap()}
        width, height = (nodes[key].real() if key in nodes else None for key in ("image_width", "image_height"))
    except (cv2.error, SystemError, UnicodeError) as error:
        raise Problem(f"the calibration {path} is not a file of OpenCV's FileStorage; restore it") from error
    found: dict = {key: value for key, value in read.items() if value is not None}
    return found if width is None or height is None else {**found, "size": [width, height]}


def _value(entry: dict, key: str) -> object:
    return next((entry[name] for name in _KEYS[key] if entry.get(name) is not None), None)


def _numbers(entry: dict, key: str, what: str, sizes: tuple[int, ...]) -> np.ndarray:
    value = _value(entry, key)
    if value is None:
        raise Problem(f"{what} has no {key}; add it")
    try:
        numbers = np.array(value, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        numbers = np.array([np.nan])
    if numbers.size not in sizes or not (np.abs(numbers) <= _LARGEST).all():
        wanted = " or ".join(str(n) for n in sizes)
        raise Problem(f"the {key} of {what} is not {wanted} finite numbers up to {_LARGEST:g}; correct it")
    return numbers


def _camera(entry: dict, what: str) -> Camera:
    """A camera with lengths as in the file."""
    if entry.get("fisheye"):
        raise Problem(f"{what} has a fisheye lens, which is not supported; undistort its video and calibrate again")
    matrix = _numbers(entry, "matrix", what, (9,)).reshape(3, 3)
    rest = np.array([matrix[0, 1] / max(1.0, abs(matrix[0, 0])), matrix[1, 0], *(matrix[2] - [0, 0, 1])])
    if min(matrix[0, 0], matrix[1, 1]) <= 0 or np.abs(rest).max() > 1e-6:
        raise Problem(f"the matrix of {what} is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0; correct it")
    if min(matrix[0, 0], matrix[1, 1]) < _SHORTEST:
        raise Problem(f"the matrix of {what} has fx or fy below {_SHORTEST:g} pixels; give it in pixels of the picture")
    bent = np.zeros(5)
    if _value(entry, "distortion") is not None:
        given = _numbers(entry, "distortion", what, (0, 1, 2, 4, 5, 8, 12, 14))
        if given[5:].any():
            raise Problem(f"{what} has more than five distortion coefficients; calibrate with k1, k2, p1, p2, k3 only")
        bent[: min(5, given.size)] = given[:5]
    turn = _numbers(entry, "rotation", what, (3, 9))
    if turn.size == 3 and np.linalg.norm(turn) > 2 * np.pi + 1e-3:
        raise Problem(f"the rotation of {what} is longer than 2 pi; give it in radians, not degrees")
    rotation = cv2.Rodrigues(turn)[0] if turn.size == 3 else turn.reshape(3, 3)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise Problem(f"the rotation of {what} is no rotation: its rows are not orthonormal, or mirror; correct it")
    u, _, v = np.linalg.svd(rotation)
    rotation = u @ v  # exact to rounding, though files have few digits
    centre = -rotation.T @ _numbers(entry, "translation", what, (3,))
    focal, middle = np.array([matrix[0, 0], matrix[1, 1]]), matrix[:2, 2] + _HALF
    return Camera(rotation, centre, focal, middle, bent[[0, 1, 4]], bent[2:4], OPENCV)


def _size(entry: dict, what: str) -> tuple[int, int] | None:
    if _value(entry, "size") is None:
        return None
    width, height = _numbers(entry, "size", what, (2,))
    if min(width, height) < 1 or width % 1 or height % 1:
        raise Problem(f"the size of {what} is not two whole numbers above 0, width and height; correct it")
    return int(width), int(height)
