"""Reads the pictures of a record as RGB arrays, from packed JPEG files or from a video."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.data.formats import jpeg
from jaxhar.data.formats.video import Video
from jaxhar.data.records.record import VideoClip
from jaxhar.host.errors import Problem


def frames(record: dict[str, Any], indices: Sequence[int], reduction: int = 1) -> Iterator[np.ndarray]:
    """Some frames of a record of `reader.Records` as (H, W, 3) uint8 RGB, one at a time, in the order of `indices`.

    Args:
      reduction: 1, 2, 4 or 8: decode JPEG pictures smaller by this factor, which is faster; see `reducible`.

    Raises:
      Problem: the record has no pictures, or they cannot be read.
    """
    name, pictures = f"sequence {record['name'].decode()}", record["pictures"]
    if pictures is None:
        raise Problem(f"{name} has no pictures")
    if isinstance(pictures, VideoClip):
        return iter(_of_video(pictures, indices, name))
    # in a clip of a short sequence, frames are repeated
    read = functools.lru_cache(1)(lambda index: jpeg.decode(pictures[index], name, reduction))
    return map(read, indices)


def reducible(record: dict[str, Any]) -> bool:
    """Whether `frames` can decode the pictures of a record smaller, which is not possible for a video."""
    return not isinstance(record["pictures"], VideoClip)


def measure(clip: VideoClip) -> tuple[int, tuple[int, int]]:
    """Read and check a part of a video; returns its number of frames and their (width, height).

    Raises:
      Problem: there is no such video, it is damaged, or has no frame in the part.
    """
    length, size = 0, None
    for frame in Video(Path(clip.path)).between(clip.start, clip.end, lambda index: index == 0):
        length += 1
        if frame.image is not None:
            size = frame.image.shape[1], frame.image.shape[0]
    if size is None:
        raise Problem(f"{clip.path}: this video has no frame between {clip.start} and {clip.end} s")
    return length, size


def _of_video(clip: VideoClip, indices: Sequence[int], name: str) -> list[np.ndarray]:
    wanted, found = set(map(int, indices)), {}
    for frame in Video(Path(clip.path)).between(clip.start, clip.end, wanted.__contains__):
        if frame.image is not None:
            found[frame.index] = frame.image
        if len(found) == len(wanted):
            break
    else:
        raise Problem(
            f"{name} needs frame {max(wanted)} of {clip.path}, which now has fewer; restore it or pack the data again"
        )
    return [found[int(index)] for index in indices]
