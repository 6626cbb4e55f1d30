"""Boxes of persons from a file: MOT text, COCO's detections, dmae_st's pickles, or a poses.json."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxhar.data.formats import box_pickle
from jaxhar.data.formats.video import Frame
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.predict import poses
from jaxhar.predict.poses import FARTHEST

#: COCO's category of persons.
PERSON = 1


@dataclass(frozen=True)
class _Line:
    """One box: where it stands in the file, its frame (number from 0, or name of a picture), and what is said of it."""

    place: str
    frame: int | str
    box: tuple[float, float, float, float]  # x1, y1, x2, y2
    score: float
    id: int


class BoxFile:
    """The boxes of a file as a source of boxes.

    Attributes:
      path: the file.
      identified: whether each box has an identity.
      tight: whether the boxes are the outlines of persons; those of a poses.json are what a network reads.
    """

    def __init__(self, path: Path):
        """Reads the whole file.

        Args:
          path: one of these.
            MOT text: lines frame,id,x,y,width,height[,score...], frames from 1, id -1 where it is not known.
            COCO JSON: a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}, image_id being the
            number of the frame from 0, or the name of the picture; or {"images", "annotations"}, images found by
            file_name, or in a video by their order. Categories other than persons are left out.
            poses.json: with the identities of its persons.
            A pickle: see `box_pickle`; those of a video must have as many frames as it.

        Raises:
          Problem: the file is none of these, or a line of it is wrong.
        """
        self.path, self.tight = path, True
        self._frames: int | None = None  # of the video whose boxes are in pixels of a video with another size
        self._at: dict[int | str, list[_Line]] = defaultdict(list)
        for line in self._read():
            if not is_box(line.box):
                raise Problem(
                    f"{path}: {line.place}: the box has no area, or is not made of numbers up to {FARTHEST:.0f}"
                )
            if not 0 <= line.score <= 1:
                raise Problem(f"{path}: {line.place}: the score {line.score:g} does not lie between 0 and 1")
            self._at[line.frame].append(line)
        known = [line.id >= 0 for lines in self._at.values() for line in lines]
        self.identified = bool(known) and all(known)
        if any(known) and not self.identified:
            raise Problem(f"{path}: {known.count(False)} of {len(known)} boxes have no identity; give all or none one")
        boxes = np.array([line.box for lines in self._at.values() for line in lines])
        if len(boxes) and boxes.min() >= 0 and boxes.max() <= 1:
            raise Problem(
                f"{path}: all boxes lie between 0 and 1; they must be in pixels, not in shares of the picture"
            )
        for frame, lines in self._at.items():
            ids = [line.id for line in lines if line.id >= 0]
            if len(set(ids)) < len(ids):
                raise Problem(f"{path}: frame {frame} has two boxes of one identity")

    def at(self, frame: Frame, size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) x1, y1, x2, y2 in pixels, and scores (N,), of a frame.

        Args:
          size: (width, height) of the frame; None takes those of its image, if it has one.

        Raises:
          Problem: a box lies outside of the picture.
        """
        lines = self._lines(frame)
        if frame.image is not None:
            size = frame.image.shape[1::-1]
        return self._boxes(lines, size), np.array([line.score for line in lines], float)

    def check_inside(self, size: tuple[int, int]) -> None:
        """Problem if a box of any frame lies outside of pictures of this (width, height)."""
        for lines in self._at.values():
            self._boxes(lines, size)

    def _boxes(self, lines: Sequence[_Line], size: tuple[int, int] | None) -> np.ndarray:
        boxes = np.array([line.box for line in lines], float).reshape(-1, 4)
        if size is not None:
            width, height = size
            if self._frames is not None:
                wide, high = box_pickle.side_of(width, height)
                boxes *= [width / wide, height / high, width / wide, height / high]
            for line, (x1, y1, x2, y2) in zip(lines, boxes, strict=True):
                if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
                    raise Problem(f"{self.path}: {line.place}: the box lies outside of the picture, {width}x{height}")
        return boxes

    @property
    def most(self) -> int:
        """The largest number of boxes in one frame."""
        return max(map(len, self._at.values()), default=0)

    def ids(self, frame: Frame) -> list[int]:
        """The identities of the boxes of a frame, in the same order; -1 where one is not known."""
        return [line.id for line in self._lines(frame)]

    def check(self, frames: int, names: set[str]) -> None:
        """Problem if the file has boxes for frames that the source does not have.

        Args:
          frames: number of frames of the source. names: of its pictures; empty for a video.
        """
        if self._frames not in (None, frames):
            raise Problem(
                f"{self.path} has boxes of {self._frames} frames, the source has {frames}: they are of another video, "
                "or one of them is cut off"
            )
        for where, lines in self._at.items():
            if (where not in names) if isinstance(where, str) else (where >= frames or where < 0):
                raise Problem(
                    f"{self.path}: {lines[0].place}: there is no frame {where!r}; the source has {frames} frames, "
                    "counted from 1 in MOT text and from 0 in JSON"
                )

    def _lines(self, frame: Frame) -> list[_Line]:
        return [*self._at.get(frame.index, ()), *self._at.get(frame.path.name, ())]

    def _read(self) -> Iterator[_Line]:
        path = self.path
        if path.suffix.lower() in (".pkl", ".pickle"):
            boxes = box_pickle.read(path)
            self._frames = len(boxes) if isinstance(boxes, list) else None
            yield from _pickled(boxes)
            return
        if path.suffix.lower() != ".json":
            yield from _mot(path)
            return
        content = files.read_json(path, "file of boxes")
        try:
            if isinstance(content, dict) and "frames" in content:
                self.tight = False
                yield from _ours(path)
            elif isinstance(content, dict) and "annotations" in content:
                names = {
                    image["id"]: _frame(image.get("file_name", number))
                    for number, image in enumerate(content.get("images", []))
                }
                video = all(isinstance(name, str) and name.startswith("frame_") for name in names.values())
                places = {key: number if video else name for number, (key, name) in enumerate(names.items())}
                yield from _coco(path, content["annotations"], places)
            elif isinstance(content, list):
                yield from _coco(path, content, {})
            else:
                raise Problem(
                    f"{path}: this is no file of boxes: give MOT text, COCO's detections, a pickle or a poses.json"
                )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise Problem(f"{path} is no file of boxes: {error!r} is missing or wrong") from error


def is_box(box: Sequence[float]) -> bool:
    """Whether x1, y1, x2, y2 are a box with an area, nowhere beyond `FARTHEST`."""
    return len(box) == 4 and bool((np.abs(box) <= FARTHEST).all()) and box[0] < box[2] and box[1] < box[3]


def _whole(value: object) -> int:
    """A whole number; ValueError for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        raise ValueError(f"{value!r:.40} is no whole number")
    return int(value)


def _frame(value: object) -> int | str:
    """The number of a frame, or the name of a picture; ValueError for all else."""
    return value if isinstance(value, str) else _whole(value)


def _pickled(content: list[np.ndarray] | dict[str, np.ndarray]) -> Iterator[_Line]:
    places = content.items() if isinstance(content, dict) else enumerate(content)
    for where, boxes in places:
        for number, (x1, y1, x2, y2, score) in enumerate(boxes.tolist()):
            yield _Line(f"box {number} of {where!r}", where, (x1, y1, x2, y2), score, -1)


def _mot(path: Path) -> Iterator[_Line]:
    text = files.read(path, "file of boxes").decode("utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip(", \t"):
            continue
        try:
            frame, who, x, y, width, height, *rest = map(float, line.split(","))
            where, known = _whole(frame) - 1, max(_whole(who), -1)
        except ValueError as error:
            raise Problem(f"{path}: line {number} is not frame,id,x,y,width,height,score: {line[:60]!r}") from error
        score = rest[0] if rest and rest[0] != -1 else 1.0  # as the id, -1 is not known
        yield _Line(f"line {number}", where, (x, y, x + width, y + height), score, known)


def _coco(path: Path, annotations: list, places: dict) -> Iterator[_Line]:
    others: Counter[str] = Counter()
    for number, one in enumerate(annotations):
        try:
            category = one.get("category_id", PERSON)
            if category != PERSON:
                others[str(category)[:40]] += 1
                continue
            x, y, width, height = map(float, one["bbox"])
            where, score = one["image_id"], float(one.get("score", 1.0))
            where, who = places[where] if places else _frame(where), _whole(one.get("track_id", -1))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise Problem(
                f"{path} is no file of boxes: entry {number} needs bbox (x, y, width, height), image_id (a whole "
                "number or a name), score, and as track_id, if any, a whole number"
            ) from error
        yield _Line(f"entry {number}", where, (x, y, x + width, y + height), score, who)
    if others and others.total() == len(annotations):
        left = ", ".join(f"{count} of category {name}" for name, count in others.most_common(3))
        raise Problem(
            f"{path} has no box of a person ({left} were left out; persons have category_id {PERSON}); correct it"
        )


def _ours(path: Path) -> Iterator[_Line]:
    content = poses.read(path)
    for number, frame in enumerate(content["frames"]):
        try:
            where = _frame(frame.get("file", frame["index"]))
            for person in frame["persons"]:
                x1, y1, x2, y2 = map(poses.real, person["box"])
                yield _Line(f"frame {frame['index']}", where, (x1, y1, x2, y2), 1.0, _whole(person["id"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Problem(
                f"{path} is no file of boxes: entry {number} of its frames needs a whole number as index, and for each "
                "person box (x1, y1, x2, y2) and a whole number as id"
            ) from error
