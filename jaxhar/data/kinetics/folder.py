"""Reads a folder of Kinetics for packing: lists, videos in place, and the boxes of persons beside them."""

import os
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.data.formats import guarded, numbered, video_boxes
from jaxhar.data.kinetics import lists
from jaxhar.data.kinetics.lists import Listed, Lists
from jaxhar.data.records.record import Field, Folder, Record, Skipped, VideoClip
from jaxhar.host.errors import Problem


def folder(root: str | Path, boxes: str = "", limit: float = 60.0, thorough: bool = False) -> Folder:
    """The folder to pack; videos stay where they are.

    Args:
      boxes: folder of the files of boxes, below `root` or absolute, see `boxes_of`; "" for none.
      limit: seconds that looking at one video may take. thorough: decode all frames of all videos, to find damage.

    Raises:
      Problem: there is no such folder, or it has another layout.
    """
    root = Path(root).expanduser()
    found = lists.read(root)
    place = root / Path(boxes).expanduser() if boxes else None
    if place is not None and not place.is_dir():
        raise Problem(f"{place} is no folder of boxes; jaxhar data boxes --videos makes one")

    def scan(skip_broken: bool) -> tuple[list[tuple[Listed, int]], list[Skipped]]:
        if found.missing and not skip_broken:
            one = found.missing[0]
            raise Problem(
                f"{one.path}: {one.reason} ({len(found.missing)} such lines); leave them out by skip_broken=true, "
                "--skip-broken"
            )
        return [(video, found.number(video.label)) for video in found.videos], found.missing

    return Folder(
        title="Kinetics",
        slug="kinetics",
        root=root,
        fingerprint=partial(_fingerprint, found, place, thorough),
        scan=scan,
        load=partial(_load, place, limit, thorough),
        fields={"times": Field((None,), np.float64), "fps": Field((1,), np.float64)},
        actions=found.classes,
        doubts=tuple(_doubts(found)),
    )


def _doubts(found: Lists) -> Iterator[str]:
    """On videos that are for training and in another split, and on those with several labels."""
    splits: dict[str, set[str]] = defaultdict(set)
    labels: dict[tuple, set[str]] = defaultdict(set)
    for video in found.videos:
        path = os.path.abspath(video.path)
        splits[path].add(video.split)
        labels[path, video.start, video.end] |= {video.label} - {""}
    for names, words in (
        (
            sorted(path for path, of in splits.items() if len(of) > 1 and "train" in of),
            "are in train and in another split, so that the figures are too good; list each in one of them",
        ),
        (
            sorted({path for (path, *_), of in labels.items() if len(of) > 1}),
            "are listed with several labels each; leave one",
        ),
    ):
        if names:
            yield f"{len(names)} videos, as {names[0]}, {words}"


def boxes_of(place: Path, video: Listed) -> Path:
    """The file of a video's boxes: SPLIT/CLASS/NAME.pkl, SPLIT/NAME.pkl, CLASS/NAME.pkl or NAME.pkl, or as .json.

    Before these, the folders in which the video lies are looked at, as `jaxhar data boxes --videos` keeps them.

    Raises:
      Problem: there is none.
    """
    own = video.path.parent.parts
    kept, listed = (own[-2:], own[-1:]), ((video.split, video.label), (video.split,), (video.label,), ())
    whole = video.start is None and video.end is None
    for parts in (*kept, *listed):
        for name in dict.fromkeys((video.path.stem, video.name) if whole else (video.name,)):
            for ending in video_boxes.ENDINGS:
                path = place.joinpath(*parts, f"{name}{ending}")
                below = path.is_relative_to(place) and ".." not in path.relative_to(place).parts
                if below and os.path.isfile(path):  # of labels, any text
                    return path
    raise Problem(f"{video.path}: its boxes are not there, {place / video.split / video.label / video.name}.pkl")


def _fingerprint(found: Lists, place: Path | None, thorough: bool) -> Iterator[str]:
    yield f"{found.classes} {place} {thorough}"
    for video in found.videos:
        stat = os.stat(video.path)
        words = f"{video.path} {stat.st_size} {stat.st_mtime_ns} {video.split} {video.label} {video.start} {video.end}"
        yield words if place is None else f"{words} {_age(place, video)}"


def _age(place: Path, video: Listed) -> str:
    try:
        path = boxes_of(place, video)
        return f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"
    except Problem:
        return "without boxes"


def _load(
    place: Path | None, limit: float, thorough: bool, item: tuple[Listed, int], skip_broken: bool
) -> tuple[Record | None, list[Skipped]]:
    """The record of a video, with the times of its frames; a part of it counts from its own first frame."""
    video, action = item
    path = video.path.absolute()
    try:
        found = guarded.call(numbered.survey, path, video.start, video.end, thorough, where=path, limit=limit)
        boxes = None if place is None else boxes_of(place, video)
        if boxes is not None:
            video_boxes.read(boxes, len(found.times), found.size)
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [Skipped(str(path), str(problem).removeprefix(f"{path}: "))]
    record = Record(
        name=f"{video.split}/{video.label}/{video.name}",
        split=video.split,
        length=len(found.times),
        pictures=VideoClip(str(path), video.start, video.end, None if boxes is None else str(boxes.absolute())),
        size=found.size,
        fields={"times": found.times, "fps": np.array([found.fps])},
        action=action,
    )
    return record, []
