"""Frames of a part of a video by their numbers: a survey of the part without decoding it, and the pictures of some."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxhar.data.formats.video import REMEDY, Video
from jaxhar.host.errors import Problem


@dataclass(frozen=True)
class Survey:
    """What a part of a video holds.

    Attributes:
      times: (T,) float64, seconds of its frames from the first one of the file; NaN where these do not find a frame.
      fps: frames per second. size: (width, height) of the pictures.
    """

    times: np.ndarray
    fps: float
    size: tuple[int, int]


def survey(path: Path, start: float | None = None, end: float | None = None, thorough: bool = False) -> Survey:
    """Look at the frames with start <= time < end; one is decoded, or all in a file whose times cannot be believed.

    Args:
      thorough: decode all of them, to find damage.

    Raises:
      Problem: the file is no video, ends early, or has no frame in the part; or it is damaged, as far as it is decoded.
    """
    video = Video(path, threaded=False)
    times = video.times
    if times is not None:
        times = times[(times >= (start or 0.0)) & (times < (np.inf if end is None else end))]
    first, length = None, 0
    if times is None or thorough:
        for frame in video.between(start, end, lambda index: index == 0):
            first = frame.image if first is None else first
            length += 1
        if times is not None and length != len(times):
            raise Problem(f"{path}: {length} of the {len(times)} frames can be decoded; {REMEDY}")
    else:
        with closing(video.at(times[:1].tolist())) as pictures:
            first = next(pictures, None)
    if first is None:
        part = "" if start is None and end is None else f" between {start or 0:g} and {end or np.inf:g} s"
        raise Problem(f"{path}: this video has no frame{part}")
    times = np.full(length, np.nan) if times is None else times
    return Survey(times, float(video.fps), (first.shape[1], first.shape[0]))


def read(
    path: Path,
    numbers: Sequence[int],
    times: np.ndarray,
    side: int | None = None,
    start: float | None = None,
    end: float | None = None,
) -> np.ndarray:
    """The pictures (N, H, W, 3) uint8 of some frames of a part, by their rising numbers.

    Args:
      times: of all frames of the part, as of `Survey`. side: shorter side of the pictures; None for that of the video.

    Raises:
      Problem: one of them cannot be decoded.
    """
    video = Video(path, side=side, threaded=False)
    chosen = times[np.asarray(numbers)]
    if np.isfinite(chosen).all():
        return np.stack(list(video.at(chosen.tolist())))
    wanted, found = set(numbers), []
    with closing(video.between(start, end, wanted.__contains__)) as frames:
        for frame in frames:
            if frame.image is not None:
                found.append(frame.image)
                if len(found) == len(wanted):
                    return np.stack(found)
    raise Problem(
        f"{path}: frame {max(wanted)} is needed, but the video has fewer now; restore it or pack the data again"
    )
