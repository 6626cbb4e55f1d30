"""The videos of the samples of a pickle of skeletons: files in one folder, named by the samples.

The video of sample S is S itself, S with the ending of a video, or S_rgb.avi as in NTU RGB+D. It must have at least as
many frames as the sample, of the size to which its joints belong.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxhar.data.formats.video import Video
from jaxhar.data.records.record import Record, Skipped, VideoClip
from jaxhar.host.errors import Problem

_ENDINGS = ("", ".mp4", ".avi", "_rgb.avi", ".mkv", ".webm", ".mov")

Loaded = tuple[Record | None, list[Skipped]]


def load(
    skeletons: Callable[[dict[str, Any], bool], Loaded], videos: Path, annotation: dict[str, Any], skip_broken: bool
) -> Loaded:
    """The record of an annotation with its video.

    Args:
      skeletons: gives the record without it.
    """
    record, skipped = skeletons(annotation, skip_broken)
    if record is None:
        return record, skipped
    try:
        height, width = (int(side) for side in record.fields["shape"])
        clip = _checked(find(videos, record.name), record, (width, height))
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [*skipped, Skipped(record.name, str(problem))]
    return replace(record, pictures=clip, size=(width, height)), skipped


def find(videos: Path, name: str) -> Path:
    """The video of a sample; Problem if there is none."""
    if not videos.is_dir():
        raise Problem(f"{videos} is no folder of videos")
    for ending in _ENDINGS:
        path = videos / f"{name}{ending}"
        if path.is_file() and ".." not in Path(name).parts:
            return path
    raise Problem(f"the video of sample {name} is not in {videos}; expected {name}.mp4, {name}_rgb.avi or the like")


def _checked(path: Path, record: Record, size: tuple[int, int]) -> VideoClip:
    video = Video(path)
    if video.total is not None and video.total < record.length:
        raise Problem(f"{path} has {video.total} frames, the skeletons of sample {record.name} {record.length}")
    with closing(video.frames()) as frames:
        frame = next(frames, None)
    if frame is None or frame.image is None:
        raise Problem(f"{path}: it has no picture that can be read")
    found = frame.image.shape[1], frame.image.shape[0]
    if found != size:
        raise Problem(
            f"{path} has pictures of {found[0]}x{found[1]} pixels, the joints of sample {record.name} belong to "
            f"{size[0]}x{size[1]}"
        )
    return VideoClip(str(path.resolve()))
