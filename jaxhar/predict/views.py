"""Joints of persons in several synchronised views, read from one poses.json for each view."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.host.errors import Problem
from jaxhar.predict import poses

#: Largest relative difference of two frame rates that count as equal.
_SAME_RATE = 0.01
#: Frames by which the times of one index may differ in two views before it is said.
_APART = 0.75
#: Files that have the name of their view's folder.
_NAMELESS = ("poses.json", "fused.json")


@dataclass(frozen=True)
class View:
    """What one camera sees: M persons in F frames.

    Attributes:
      name: of the view. file: that it was read from.
      skeleton: joints. limbs: pairs of their indices.
      ids: M identities; each is one person in all frames of this view.
      pixels: (F, M, J, 2), NaN where the person was not found. confidence: (F, M, J), 1 where the network gives none.
      boxes: (F, M, 4) of the crops, NaN where unknown.
      times: (F,) seconds. rate: frames per second; None if the file does not say it, then `times` count frames.
    """

    name: str
    file: Path
    skeleton: Skeleton
    limbs: tuple[tuple[int, int], ...]
    ids: tuple[int | str, ...]
    pixels: np.ndarray
    confidence: np.ndarray
    boxes: np.ndarray
    times: np.ndarray
    rate: float | None

    def first(self, count: int) -> "View":
        """The first frames."""
        pixels, confidence, boxes, times = (a[:count] for a in (self.pixels, self.confidence, self.boxes, self.times))
        return replace(self, pixels=pixels, confidence=confidence, boxes=boxes, times=times)


@dataclass(frozen=True)
class Views:
    """P persons seen by V cameras in F frames.

    Attributes:
      names: of the views. files: that the joints were read from.
      skeleton: joints. limbs: pairs of their indices.
      pixels: (V, F, P, J, 2), NaN where the person was not found. confidence: (V, F, P, J).
      boxes: (V, F, P, 4) of the crops, NaN where unknown.
      times: (F,) seconds, of the first view that knows them. rate: frames per second, None if no file says it.
      persons: for each person and each view its identities there, several where it was lost and found again.
    """

    names: tuple[str, ...]
    files: tuple[Path, ...]
    skeleton: Skeleton
    limbs: tuple[tuple[int, int], ...]
    pixels: np.ndarray
    confidence: np.ndarray
    boxes: np.ndarray
    times: np.ndarray
    rate: float | None
    persons: tuple[tuple[tuple[int | str, ...], ...], ...]

    @property
    def labels(self) -> list[str]:
        """(P J) names of all joints of all persons: NAME, of several persons p1_NAME, p2_NAME ..."""
        if len(self.persons) == 1:
            return list(self.skeleton.joints)
        return [f"p{n}_{joint}" for n in range(1, len(self.persons) + 1) for joint in self.skeleton.joints]


def name_of(path: Path) -> str:
    """The name of a view: its file's without the ending, or its folder's; of a file poses.json its folder's."""
    if path.name in _NAMELESS:
        return path.resolve().parent.name
    return path.resolve().name if path.is_dir() else path.stem


def read(paths: Sequence[Path], until_shortest: bool = False) -> list[View]:
    """Reads one file for each view.

    Args:
      until_shortest: of views of different length take as many frames as the shortest has.

    Raises:
      Problem: a file is wrong, or the views differ in joints, length or frame rate.
    """
    check_names(paths)
    views = [_one(path) for path in paths]
    first = views[0]
    for view in views[1:]:
        files = first.file, view.file
        if view.skeleton.joints != first.skeleton.joints:
            raise Problem(f"{files[0]} and {files[1]} have different joints; predict all views with one network")
        check_alike(files, (first.times.size, view.times.size), (first.rate, view.rate), until_shortest)
    count = min(view.times.size for view in views)
    return [view.first(count) for view in views]


def check_names(paths: Sequence[Path]) -> None:
    """Problem if there are fewer than two views, one file is given twice, or two views have one name."""
    if len(paths) < 2:
        raise Problem(f"{len(paths)} view is given; at least two are needed to find points in space")
    for n, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:n]]:
            raise Problem(f"{path} is given for two views; give another file for each")
    names = [name_of(path) for path in paths]
    if len({*names}) < len(names):
        raise Problem(f"two views have one name ({', '.join(names)}); rename a file")


def check_alike(
    paths: tuple[Path, Path],
    counts: tuple[int | None, int | None],
    rates: tuple[float | Fraction | None, float | Fraction | None],
    until_shortest: bool,
) -> None:
    """Problem if two views differ in frame rate or, without `until_shortest`, in length; None is not compared."""
    both = f"{paths[0]} and {paths[1]}"
    if rates[0] and rates[1] and abs(float(rates[1] / rates[0]) - 1) > _SAME_RATE:
        given = f"{float(rates[0]):g} and {float(rates[1]):g}"
        raise Problem(f"{both} have {given} frames per second; convert the videos to one rate")
    if counts[0] and counts[1] and counts[0] != counts[1] and not until_shortest:
        raise Problem(
            f"{both} have {counts[0]} and {counts[1]} frames; cut the videos to one length, or, if they start "
            "together, give --until-shortest"
        )


def apart(views: Sequence[View]) -> list[str]:
    """A sentence for each view whose frames do not keep the time of the first one: it has lost frames, or drifts."""
    timed = [view for view in views if view.rate is not None]
    found = []
    for view in timed[1:]:
        off = np.abs(view.times - timed[0].times)
        late = int(off.argmax())
        if off[late] * float(timed[0].rate or 0) > _APART:
            found.append(
                f"frame {late} of {view.name} is {off[late]:.3f} s away from that of {timed[0].name}, so their moments "
                "are not the same: frames are missing, or the rates differ"
            )
    return found


def join(views: Sequence[View], groups: Sequence[Sequence[Sequence[int]]], rate: float | None) -> Views:
    """One table of all persons.

    Args:
      groups: for each person and view the indices of its identities in `View.ids`.
      rate: frames per second if no file says it.
    """
    first = next((view for view in views if view.rate is not None), views[0])
    times = first.times / (rate or 1.0) if first.rate is None else first.times
    frames, joints = len(times), len(first.skeleton)
    pixels = np.full((len(views), frames, len(groups), joints, 2), np.nan)
    confidence = np.zeros(pixels.shape[:-1])
    boxes = np.full((*pixels.shape[:3], 4), np.nan)
    for person, group in enumerate(groups):
        for n, (view, tracks) in enumerate(zip(views, group, strict=True)):
            for track in tracks:
                here = np.isfinite(view.pixels[:, track]).any((-1, -2))
                pixels[n, here, person] = view.pixels[here, track]
                confidence[n, here, person] = view.confidence[here, track]
                boxes[n, here, person] = view.boxes[here, track]
    return Views(
        tuple(view.name for view in views),
        tuple(view.file for view in views),
        first.skeleton,
        first.limbs,
        pixels,
        confidence,
        boxes,
        times,
        first.rate or rate,
        tuple(tuple(tuple(v.ids[i] for i in one) for v, one in zip(views, g, strict=True)) for g in groups),
    )


def _one(path: Path) -> View:
    content = poses.read(path)
    try:
        layout, frames = content["skeleton"], content["frames"]
        joints = tuple(str(name) for name in layout["joints"])
        limbs = tuple((joints.index(a), joints.index(b)) for a, b in layout["limbs"]) if "limbs" in layout else ()
        ids = list(dict.fromkeys(person["id"] for frame in frames for person in frame["persons"]))
        pixels = np.full((len(frames), len(ids), len(joints), 2), np.nan)
        confidence, boxes = np.zeros(pixels.shape[:-1]), np.full((*pixels.shape[:2], 4), np.nan)
        for n, frame in enumerate(frames):
            named = [person["id"] for person in frame["persons"]]
            if len({*named}) < len(named):
                raise Problem(
                    f"{path} has several persons of one id in frame {n}; give each person an id of its own, the same "
                    "in all frames"
                )
            for person in frame["persons"]:
                m = ids.index(person["id"])
                try:
                    pixels[n, m], confidence[n, m], boxes[n, m] = _person(person, len(joints))
                except ValueError as error:
                    raise Problem(
                        f"{path}: person {person['id']} of frame {n}: {error}; mend it, or predict the view again"
                    ) from error
        rate = content.get("fps")
        times = np.arange(len(frames), dtype=np.float64)
        if rate is not None:
            rate = poses.real(rate, "fps")
            times = np.array([poses.real(frame["time"], f"time of frame {n}") for n, frame in enumerate(frames)])
            if not rate > 0 or np.isnan(times).any():
                raise ValueError(f"fps {rate:g} is not above 0, or the time of a frame is null")
        sizes = {(frame.get("width"), frame.get("height")) for frame in frames}
    except ValueError as error:
        raise Problem(f"{path} is not a poses.json of `jaxhar predict`: {error}; predict its view again") from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise Problem(f"{path} is not a poses.json of `jaxhar predict`: {error!r} is missing or wrong") from error
    if not len(frames) or not joints:
        raise Problem(f"{path} has no frames or no joints; predict its view again")
    if len(sizes) > 1:
        raise Problem(f"the pictures of {path} have different sizes; one camera's pictures must have one size")
    skeleton = Skeleton(str(layout.get("name", "own")), joints)
    return View(name_of(path), path, skeleton, limbs, tuple(ids), pixels, confidence, boxes, times, rate)


def _person(person: dict[str, Any], joints: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (J, 2), confidence (J,) and box (4,) of a person in a frame; ValueError if they are wrong."""
    if type(person["id"]) not in (int, str):
        raise ValueError("its id is neither a whole number nor a name")
    scores = _numbers(person["confidence"], "confidence", (joints,))
    if not (np.isnan(scores) | (scores >= 0) & (scores <= 1)).all():
        raise ValueError("confidence does not lie between 0 and 1")
    box = _numbers(person.get("box", [None] * 4), "box", (4,))
    return _numbers(person["joints"], "joints", (joints, 2)), np.where(np.isnan(scores), 1.0, scores), box


def _numbers(values: object, what: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers, NaN for null; of joints x and y. ValueError for another shape, or what `poses.real` refuses."""
    found = np.array(values, object)
    if len(shape) == found.ndim == 2:
        found = found[:, :2]
    if found.shape != shape:
        raise ValueError(f"{what} has the shape {found.shape}, not {shape}")
    return np.vectorize(poses.real, otypes=[float])(found, what)
