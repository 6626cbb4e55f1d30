"""Joints of one person in several synchronised views, read from one poses.json for each view."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.host.errors import Problem
from jaxhar.predict import poses

#: Largest relative difference of two frame rates that count as equal.
_SAME_RATE = 0.01


@dataclass(frozen=True)
class Views:
    """One person seen by V cameras in F frames.

    Attributes:
      names: of the views. files: that the joints were read from.
      skeleton: joints. limbs: pairs of their indices.
      pixels: (V, F, J, 2), NaN where nobody was found. confidence: (V, F, J), 1 where the network gives none.
      times: (F,) seconds, of the first view. rate: frames per second, None if no file says it.
    """

    names: tuple[str, ...]
    files: tuple[Path, ...]
    skeleton: Skeleton
    limbs: tuple[tuple[int, int], ...]
    pixels: np.ndarray
    confidence: np.ndarray
    times: np.ndarray
    rate: float | None


def name_of(path: Path) -> str:
    """The name of a view: its file's without the ending; of a file poses.json, its folder's."""
    return path.resolve().parent.name if path.name == "poses.json" else path.stem


def read(paths: Sequence[Path], until_shortest: bool = False) -> Views:
    """Reads one file for each view.

    Args:
      until_shortest: of views of different length take as many frames as the shortest has.

    Raises:
      Problem: a file is wrong, or the views differ in joints, length or frame rate.
    """
    if len(paths) < 2:
        raise Problem(f"{len(paths)} view is given; at least two are needed to find points in space")
    views = [_one(path) for path in paths]
    first = views[0]
    for view in views[1:]:
        paths = first.files[0], view.files[0]
        if view.skeleton.joints != first.skeleton.joints:
            raise Problem(f"{paths[0]} and {paths[1]} have different joints; predict all views with one network")
        check_alike(paths, (first.times.size, view.times.size), (first.rate, view.rate), until_shortest)
    count = min(view.times.size for view in views)
    names = [view.names[0] for view in views]
    if len({*names}) < len(names):
        raise Problem(f"two views have one name ({', '.join(names)}); rename a file")
    return replace(
        first,
        names=tuple(names),
        files=tuple(view.files[0] for view in views),
        pixels=np.concatenate([view.pixels[:, :count] for view in views]),
        confidence=np.concatenate([view.confidence[:, :count] for view in views]),
        times=first.times[:count],
    )


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


def _one(path: Path) -> Views:
    content = poses.read(path)
    try:
        layout, frames = content["skeleton"], content["frames"]
        joints = tuple(str(name) for name in layout["joints"])
        limbs = tuple((joints.index(a), joints.index(b)) for a, b in layout["limbs"]) if "limbs" in layout else ()
        pixels = np.full((len(frames), len(joints), 2), np.nan)
        confidence = np.zeros(pixels.shape[:-1])
        for n, frame in enumerate(frames):
            persons = frame["persons"]
            if len(persons) > 1:
                raise Problem(
                    f"{path} has {len(persons)} persons in frame {n}; keep one and the same person in all views"
                )
            for person in persons:
                pixels[n] = np.array([joint[:2] for joint in person["joints"]], np.float64)
                scores = np.array(person["confidence"], np.float64)
                confidence[n] = np.where(np.isnan(scores), 1.0, scores)
        times = np.array([frame["time"] for frame in frames], np.float64)
        rate = content.get("fps")
        rate = None if rate is None else float(rate)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise Problem(f"{path} is not a poses.json of `jaxhar predict`: {error!r} is missing or wrong") from error
    if not len(frames) or not joints:
        raise Problem(f"{path} has no frames or no joints; predict its view again")
    skeleton = Skeleton(str(layout.get("name", "own")), joints)
    return Views((name_of(path),), (path,), skeleton, limbs, pixels[None], confidence[None], times, rate)
