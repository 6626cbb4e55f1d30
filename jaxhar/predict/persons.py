"""Where the persons of a source are: detections in some frames, tracks over time, and a box in every frame."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from jaxhar.core.boxes import overlap
from jaxhar.data import transforms
from jaxhar.data.formats.ahead import read_ahead
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Frame, Video
from jaxhar.host.errors import Usage
from jaxhar.predict import onnx_detector
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.boxes import person_box, smooth
from jaxhar.predict.detector import LEAST, Detector, Own
from jaxhar.predict.onnx_detector import OnnxDetector
from jaxhar.predict.search import Infer, run_network
from jaxhar.predict.tracking import Detected, Tracker, edges_cut

#: Boxes predicted per second of video; those of other frames are interpolated.
BOXES_PER_SECOND = 8
#: Standard deviation in seconds of the Gaussian that smooths a box over time.
BOX_SMOOTHING = 0.25
#: Side of the square that a network reads, over the longer side of a person's outline, where the training had squares
#: of 1.5 times the extent of the joints, which lie inside.
MARGIN = 1.35
#: Least overlap of the square about a person's joints with that about its box.
_SAME_PLACE = 0.5
#: Where a person is not detected for longer, in seconds, nothing is said of it.
GAP = 0.5
#: Nor where it is not detected after a box that the edge of the picture cut to less than this share of its usual area,
#: and comes back at that edge.
_LEFT = 0.5


def chosen(
    boxes: Path | None, detector: str | None, persons: str | None
) -> tuple[Detector | BoxFile | None, int | None]:
    """What finds the persons, and how many are kept (None: all), by the options of `jaxhar predict`.

    Args:
      boxes: a file for `BoxFile`. detector: see `detector_of`.
      persons: "largest", "all" or a number. None: all, if boxes or a detector are given, else the one person that the
        pose network finds by itself, for which None is returned.

    Raises:
      Problem: a file cannot be read. Usage: options that do not fit together.
    """
    if boxes and detector:
        raise Usage("--boxes and --detector are two sources of persons; give one of them")
    keep = None
    if persons not in (None, "all"):
        if persons != "largest" and not (persons.isdecimal() and int(persons) > 0):
            raise Usage(f"--persons {persons!r} is neither largest, all, nor a number above 0")
        keep = 1 if persons == "largest" else int(persons)
    if boxes:
        return BoxFile(boxes), keep
    if detector is None and persons in (None, "largest"):
        return None, keep
    return detector_of(detector or "own"), keep


def detector_of(text: str, least: float = LEAST) -> Detector:
    """What --detector names: "own", weights of the family "people", or an ONNX file.

    Args:
      text: before an ONNX file may be "yolox:" or "rtmdet:".
      least: lowest score of boxes, of networks of the family "people".
    """
    if text == "own":
        return _own(least)
    weights = Path(text)
    if weights.is_dir() or weights.suffix == ".safetensors":
        return Own(least, weights=weights)
    kind, _, file = text.rpartition(":")
    known = kind in onnx_detector.KINDS
    return OnnxDetector(Path(file if known else text), kind if known else None)


@cache
def _own(least: float) -> Own:
    """The detector of the package, loaded once."""
    return Own(least)


@dataclass(frozen=True)
class Crops:
    """How pictures of persons with known boxes are cut for a network.

    Attributes:
      margin: side of the square that the network reads, over the longer side of the person's box.
      around: what is seen around that box, see `transforms.Draw`.
    """

    margin: float = MARGIN
    around: float | None = None


@dataclass(frozen=True)
class Stretch:
    """A person in consecutive frames.

    Attributes:
      id: identity of the person. first: index of the first frame.
      boxes: (N, 4) x1, y1, x2, y2 in pixels of what the network reads, of each frame.
      outlines: (N, 4) boxes of the person itself, as detected or given; None if they are not known.
    """

    id: int
    first: int
    boxes: np.ndarray
    outlines: np.ndarray | None = None

    def at(self, frames: np.ndarray) -> np.ndarray:
        """The boxes of these frames."""
        return self.boxes[frames - self.first]

    def outline(self, frame: int) -> np.ndarray | None:
        """The person's own box (4,) in a frame."""
        return None if self.outlines is None else self.outlines[frame - self.first]


@dataclass
class _Seen:
    """The boxes of a person in the frames in which it was found, by rising index."""

    indices: list[int]
    boxes: list[np.ndarray]


#: Identity -> the frames in which a person was found, by rising index, and (8,) there: what the network reads, and the
#: person's own box, NaN if unknown.
_Found = dict[int, list[tuple[int, np.ndarray]]]
#: Shows the progress of an iteration over frames.
_Bar = Callable[[Iterator[Frame]], Iterator[Frame]]


def find(
    source: Video | Images,
    detector: Detector | BoxFile,
    infer: Infer,
    shape: tuple[int, int],
    size: tuple[int, int],
    keep: int | None,
    bar: _Bar,
    crops: Crops = Crops(),
) -> tuple[list[float], list[Stretch]]:
    """The times of all frames in seconds, and the persons, by their first frame.

    Args:
      infer, shape, size: the pose network, (B, T) of one run of it, and (height, width) of its input.
      keep: number of persons, the largest ones over time (in still pictures, of each picture); None keeps all.
      crops: how the network sees persons with boxes.

    Raises:
      Problem: boxes of a file do not fit the source.
    """
    fps = float(source.fps) if isinstance(source, Video) else None
    every = max(1, round(fps / BOXES_PER_SECOND)) if fps else 1
    if isinstance(detector, BoxFile) and detector.identified:
        every = 1
        times, found, picture = _of_file(source, detector, crops.margin, bar)
    else:
        times, found, picture = _detected(source, detector, infer, shape, size, every, crops, bar)
    if isinstance(detector, BoxFile):
        detector.check(len(times), {path.name for path in source.paths} if isinstance(source, Images) else set())
    stretches = [
        stretch for who, boxes in found.items() for stretch in _stretches(who, boxes, len(times), fps, every, picture)
    ]
    if keep is not None:
        stretches = _largest(stretches, keep, pictures=fps is None)
    return times, sorted(stretches, key=lambda stretch: (stretch.first, stretch.id))


def _of_file(
    source: Video | Images, file: BoxFile, margin: float, bar: _Bar
) -> tuple[list[float], _Found, tuple[int, int] | None]:
    """The persons of a file that says who is who; see `_detected`."""
    times: list[float] = []
    found: _Found = {}
    size: tuple[int, int] | None = None
    for frame in bar(source.frames(10**9)):  # of a video only the first frame is made a picture
        times.append(frame.time)
        size = size if frame.image is None else frame.image.shape[1::-1]
        for who, box in zip(file.ids(frame), file.at(frame, size)[0], strict=True):
            both = (_square(box, margin), box) if file.tight else (box, np.full(4, np.nan))
            found.setdefault(who, []).append((frame.index, np.concatenate(both)))
    return times, found, size


@dataclass(frozen=True)
class _Picture:
    """One frame's detections (N, 4) with scores (N,), the squares around them (N, 4), and these as crops.

    `size` is (width, height) of the frame.
    """

    index: int
    time: float
    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    squares: list[np.ndarray]
    crops: list[np.ndarray]


def _detected(
    source: Video | Images,
    detector: Detector | BoxFile,
    infer: Infer,
    shape: tuple[int, int],
    size: tuple[int, int],
    every: int,
    how: Crops,
    bar: _Bar,
) -> tuple[list[float], _Found, tuple[int, int] | None]:
    """Detections and the joints in each; from both, tracks. In still pictures they are numbered from the best score.

    Returns:
      the times of all frames, the persons, and (width, height) of the pictures of a video.
    """
    times: list[float] = []
    tracker = Tracker()
    boxes: dict[tuple[int, int], np.ndarray] = {}  # of number n in frame i, as in `_Found`
    found: _Found = {}
    waiting: list[_Picture] = []
    shown: tuple[int, int] | None = None

    def settle() -> None:
        pose, confidence = _joints(infer, [crop for picture in waiting for crop in picture.crops], shape)
        done = 0
        for picture in waiting:
            points = np.array(pose[done : done + len(picture.crops)], float)
            sure = confidence[done : done + len(picture.crops)]
            done += len(picture.crops)
            for n, square in enumerate(picture.squares):
                box = _of_joints(points[n], sure[n], square, how.margin)
                points[n, :, :2] = square[:2] + points[n, :, :2] * (square[2:] - square[:2])
                boxes[picture.index, n] = np.concatenate([box, picture.boxes[n]])
                if isinstance(source, Images):
                    found.setdefault(n + 1, []).append((picture.index, boxes[picture.index, n]))
            seen = Detected(picture.boxes, picture.scores, points, sure, picture.size)
            tracker.add(picture.index, picture.time, seen)
        waiting.clear()

    with contextlib.closing(read_ahead(source.frames(every), 4)) as frames:
        for frame in bar(frames):
            times.append(frame.time)
            if frame.image is None:
                continue
            seen, scores = detector.at(frame) if isinstance(detector, BoxFile) else detector.boxes(frame.image)
            waiting.append(_cropped(frame, seen, scores, size, how))
            shown = waiting[-1].size
            if sum(len(picture.crops) for picture in waiting) >= shape[0] * shape[1]:
                settle()
    settle()
    if isinstance(source, Video):
        found = {
            track.id: [(i, boxes[i, n]) for i, n in zip(track.indices, track.numbers, strict=True)]
            for track in tracker.tracks
        }
    return times, found, shown


def _cropped(frame: Frame, boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int], how: Crops) -> _Picture:
    assert frame.image is not None
    order = np.argsort(-scores, kind="stable")
    shape = frame.image.shape[1], frame.image.shape[0]
    boxes = boxes[order]
    squares = [transforms.fit_aspect(_square(box, how.margin), size) for box in boxes]
    crops = []
    for box, square in zip(boxes, squares, strict=True):
        window = transforms.seen_window(box, how.around, shape)
        plan = replace(transforms.plan_crop(square, shape, size), window=window)
        crops.append(transforms.crop_image(frame.image, plan))
    return _Picture(frame.index, frame.time, shape, boxes, scores[order], squares, crops)


def _joints(infer: Infer, crops: list[np.ndarray], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, J, D) in crop units and their confidence (N, J)."""
    room = shape[0] * shape[1]
    parts = [run_network(infer, np.stack(crops[n : n + room]), shape, False) for n in range(0, len(crops), room)]
    if not parts:
        return np.zeros((0, 0, 2)), np.zeros((0, 0))
    return np.concatenate([part.pose for part in parts]), np.concatenate([part.confidence for part in parts])


def _square(box: np.ndarray, margin: float) -> np.ndarray:
    return transforms.valid_bbox(box.reshape(2, 2), rel=margin)


def _of_joints(pose: np.ndarray, confidence: np.ndarray, square: np.ndarray, margin: float) -> np.ndarray:
    """The square (4,) about the joints (J, D) in units of `square`; `square` itself if they are another person's."""
    box = person_box(pose, confidence, square)
    if box is None:
        return square
    box = transforms.valid_bbox(box.reshape(2, 2), rel=margin / MARGIN)
    return box if overlap(box[None], square[None])[0, 0] >= _SAME_PLACE else square


def _stretches(
    who: int,
    found: list[tuple[int, np.ndarray]],
    count: int,
    fps: float | None,
    every: int,
    size: tuple[int, int] | None,
) -> Iterator[Stretch]:
    """The stretches of a person, with boxes between those that were found, and half of `every` frames more at the ends.

    Args:
      every: frames between two in which persons are looked for. size: (width, height) of the pictures of a video.
    """
    indices = np.array([index for index, _ in found])
    boxes = np.stack([box for _, box in found])
    if fps is None:
        for index, box in zip(indices, boxes, strict=True):
            yield Stretch(who, int(index), box[None, :4], _known(box[None, 4:]))
        return
    gaps = np.diff(indices)
    away = gaps > max(1, GAP * fps)
    if size is not None:
        away |= (gaps > every) & _outside(boxes[:, 4:], size)
    parts = np.split(np.arange(len(indices)), np.flatnonzero(away) + 1)
    reach = every // 2
    for n, part in enumerate(parts):
        before = int(indices[parts[n - 1][-1]]) + reach + 1 if n else 0
        after = int(indices[parts[n + 1][0]]) - reach if n + 1 < len(parts) else count
        end = int(indices[part[-1]])
        first, last = max(int(indices[part[0]]) - reach, before), min(end + reach, after - 1)
        if end + every >= count:  # nobody was looked for after it
            last = count - 1
        at = np.arange(first, last + 1)
        each = np.stack([np.interp(at, indices[part], boxes[part, k]) for k in range(8)], 1)
        yield Stretch(who, first, smooth(each[:, :4], BOX_SMOOTHING * fps), _known(each[:, 4:]))


def _outside(outlines: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N - 1,) bool, whether a person with the boxes (N, 4) was outside of the picture between each two of them."""
    cut, area = edges_cut(outlines, size), (outlines[:, 2:] - outlines[:, :2]).prod(-1)
    small = area < _LEFT * np.median(area)
    return small[1:] & small[:-1] & (cut[1:] & cut[:-1]).any(1)


def _known(outlines: np.ndarray) -> np.ndarray | None:
    return None if np.isnan(outlines).any() else outlines


def _largest(stretches: list[Stretch], keep: int, pictures: bool) -> list[Stretch]:
    """Those of the persons whose boxes have the largest area in sum; of each picture, if they are still."""
    sums: dict[tuple[int, int], float] = {}
    for stretch in stretches:
        key = (stretch.first if pictures else 0, stretch.id)
        area = (stretch.boxes[:, 2:] - stretch.boxes[:, :2]).prod(-1).sum()
        sums[key] = sums.get(key, 0.0) + float(area)
    kept = set()
    for picture in {picture for picture, _ in sums}:
        kept |= set(sorted((key for key in sums if key[0] == picture), key=lambda key: -sums[key])[:keep])
    return [stretch for stretch in stretches if (stretch.first if pictures else 0, stretch.id) in kept]
