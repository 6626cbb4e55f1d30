"""poses.json, version 2: the persons in every frame, their joints and actions. docs/poses.schema.json describes it."""

import json
import math
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.predict.boxes import seen

VERSION = 2
#: Identity of the person, if one is followed.
PERSON = 1
#: Pixels that no box or joint is farther away from the origin.
FARTHEST = 1e7


def made_by(sha256: str | None, settings: dict[str, object], trained: dict[str, Any] | None) -> dict[str, object]:
    """What made the file: versions of the packages, weights, settings of the command.

    Args:
      sha256: of the weights, see `jaxhar.weights.checkpoint.sha256`.
      settings: of the command, by name.
      trained: what the weights were trained on; None if that is unknown.
    """
    versions = {package: metadata.version(package) for package in ("jaxhar", "jax", "flax", "numpy")}
    return {"versions": versions, "weights_sha256": sha256, "trained": trained, "settings": settings}


def skeleton(layout: Skeleton) -> dict[str, object]:
    """Names of the joints, in the order of all lists, and the limbs between them."""
    limbs = [[layout.joints[a], layout.joints[b]] for a, b in layout.limbs]
    return {"name": layout.name, "joints": list(layout.joints), "limbs": limbs}


def person(
    id: int,
    box: np.ndarray,
    pose: np.ndarray,
    confidence: np.ndarray,
    layout: Skeleton,
    action: dict[str, object] | None,
    unfamiliar: bool | None = None,
) -> dict[str, object]:
    """One person in one frame.

    Args:
      id: identity, the same in all frames of a video.
      box: (4,) x1, y1, x2, y2 in pixels.
      pose: (J, D), x and y in pixels, depth in units of the network.
      confidence: (J,), NaN if the network predicts none.
      action: name and probability, or None.
      unfamiliar: whether the crop looks unlike those of the network's training; None if that is not known.
    """
    entry: dict[str, object] = {
        "id": id,
        "box": [number(v) for v in box],
        "joints": [[number(v, 4 if axis == 2 else 2) for axis, v in enumerate(point)] for point in pose],
        "confidence": [number(v, 4) for v in confidence],
        "unseen": [name for name, is_seen in zip(layout.joints, seen(confidence), strict=True) if not is_seen],
        "unfamiliar": unfamiliar,
    }
    return entry if action is None else {**entry, "action": action}


def track(id: int, first: int, last: int, action: str | None, probability: float | None) -> dict[str, object]:
    """A person from the first to the last frame in which it was found, with its action over all clips."""
    entry: dict[str, object] = {"id": id, "first": first, "last": last}
    return entry if action is None else {**entry, "action": action, "probability": number(probability or 0, 4)}


def number(value: float, digits: int = 2) -> float | None:
    """A rounded number for JSON; None for NaN, which JSON lacks."""
    return round(float(value), digits) if math.isfinite(value) else None


def real(value: object, what: str = "it") -> float:
    """A number of JSON, NaN for null; ValueError for all else, also for NaN, and for numbers beyond `FARTHEST`."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= FARTHEST:
        raise ValueError(f"{value!r:.40} is no number up to {FARTHEST:.0f}, as {what} has to be")
    return float(value)


def read(path: Path) -> dict[str, Any]:
    """The content of a poses.json of version 2; files of version 1 are converted.

    Raises:
      Problem: the file cannot be read, or is of another kind or a later version.
    """
    content = files.read_json(Path(path), "file of poses")
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise Problem(f"{path} is not a poses.json of `jaxhar predict`: it has no frames")
    version = content.get("version", 1)
    if version == VERSION:
        return content
    if version != 1:
        raise Problem(f"{path} has version {version} of the form; this program reads {VERSION}: install a newer one")
    try:
        return _from_version_1(content)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise Problem(f"{path} is not a poses.json of `jaxhar predict`: {error!r} is missing or wrong") from error


def _from_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """One person in every frame, joints by name, and the probabilities of all classes at the end."""
    names = content["skeleton"]["joints"]
    layout = Skeleton(content["skeleton"]["name"], tuple(names))
    frames = []
    for old in content["frames"]:
        joints = [old["joints"][name] for name in names]
        pose = np.array([[real(joint[axis]) for axis in "xyz" if axis in joint] for joint in joints])
        confidence = np.array([real(joint["confidence"]) for joint in joints])
        one = person(PERSON, np.array([real(v) for v in old["bbox"]]), pose, confidence, layout, old.get("action"))
        kept = {key: value for key, value in old.items() if key not in ("bbox", "joints", "action")}
        frames.append({**kept, "persons": [one]})
    rest = {key: value for key, value in content.items() if key not in ("frames", "action")}
    action, probability = max(content.get("action", {}).items(), key=lambda item: item[1], default=(None, None))
    tracks = [track(PERSON, 0, len(frames) - 1, action, probability)] if frames else []
    return {"version": VERSION, "made_by": None, **rest, "frames": frames, "tracks": tracks}


def dumps(value: object) -> str:
    """JSON without NaN."""
    return json.dumps(value, allow_nan=False)
