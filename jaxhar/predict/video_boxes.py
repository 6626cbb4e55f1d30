"""What `jaxhar data boxes --videos` does: the person boxes in every frame of a folder of videos, a file for each video.

In the original's form (`jaxhar.data.formats.box_pickle`, dmae_st) or as COCO's detections in pixels of the video; both
are read by `jaxhar predict --boxes`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from jaxhar.data.formats import box_pickle
from jaxhar.data.formats.source import open_file
from jaxhar.data.formats.video import Frame, Video
from jaxhar.data.formats.writer import write_png
from jaxhar.data.own.listing import VIDEOS, files_below
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.predict import box_files, many_videos
from jaxhar.predict.detector import Detector
from jaxhar.predict.many_videos import Told
from jaxhar.viz import draw

#: Form of the files -> ending of their names.
FORMS = {"pickle": ".pkl", "json": ".json"}
#: Frames of a contact sheet, in how many columns, and their longer side in pixels.
_SHOWN, _COLUMNS, _SIDE = 12, 4, 320
#: Assumed length of a video that does not tell it, for the frames of its sheet.
_LENGTH = 300


def run(
    root: Path,
    out: Path,
    detector: Detector,
    *,
    form: str = "pickle",
    least: float = box_pickle.LEAST,
    sheets: int = 100,
    part: tuple[int, int] = (1, 1),
    progress: bool = True,
) -> Told:
    """Writes OUT/NAME.pkl for each video ROOT/NAME.mp4, at any depth; existing files are not made again.

    Args:
      form: of `FORMS`. least: smallest score of the boxes that are written.
      sheets: of every so many videos, the first one included, OUT/NAME.png shows frames with their boxes; 0 for none.
      part: see `many_videos.share`.

    Raises:
      Problem: the folder has no videos.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise Problem(f"{root} is no folder of videos")
    videos = [path for path in files_below(root) if path.suffix.lower() in VIDEOS]
    if not videos:
        raise Problem(f"{root} holds no videos ({' '.join(VIDEOS[:6])} ...)")
    places = dict(zip(videos, _names(videos, root, FORMS[form]), strict=True))
    shown = set(videos[::sheets]) if sheets else set()

    def work(path: Path) -> None:
        video = open_file(path)
        if not isinstance(video, Video):
            raise Problem(f"{path} is a picture, not a video")
        boxes, size, pictures = _look(video, detector, least, path in shown)
        place = out / places[path]
        if pictures:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_png(place.with_suffix(".png"), draw.contact_sheet(pictures, _COLUMNS))
        if form == "json":
            files.write(place, json.dumps(_coco(boxes)).encode())
        else:
            wide, high = box_pickle.side_of(*size)
            factor = np.array([wide / size[0], high / size[1], wide / size[0], high / size[1], 1])
            box_pickle.write(place, [frame * factor for frame in boxes])

    return many_videos.work_off(videos, part, lambda path: (out / places[path]).is_file(), work, progress)


def _names(videos: Sequence[Path], root: Path, ending: str) -> list[Path]:
    """Names of the files; two videos of one name keep their endings."""
    short = [path.relative_to(root).with_suffix(ending) for path in videos]
    return [
        name if short.count(name) == 1 else Path(f"{path.relative_to(root)}{ending}")
        for path, name in zip(videos, short, strict=True)
    ]


def _look(
    video: Video, detector: Detector, least: float, with_pictures: bool
) -> tuple[list[np.ndarray], tuple[int, int], list[np.ndarray]]:
    """The boxes with scores (N, 5) of every frame in pixels, (width, height), and some frames with their boxes."""
    found: list[np.ndarray] = []
    pictures: list[np.ndarray] = []
    size = (0, 0)
    wanted = set(np.linspace(0, (video.total or _LENGTH) - 1, _SHOWN).astype(int).tolist()) if with_pictures else set()
    for frame in video.frames():
        assert frame.image is not None
        size = frame.image.shape[1], frame.image.shape[0]
        boxes, scores = detector.boxes(frame.image)
        kept = scores >= least
        found.append(np.concatenate([boxes[kept], scores[kept, None]], 1))
        if frame.index in wanted:
            pictures.append(_drawn(frame, found[-1]))
    if not found:
        raise Problem(f"{video.path}: it has no picture that can be read")
    return found, size, pictures


def _drawn(frame: Frame, boxes: np.ndarray) -> np.ndarray:
    assert frame.image is not None
    factor = _SIDE / max(frame.image.shape[:2])
    image = cv2.resize(frame.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    for box in boxes:
        image = draw.draw_box(image, (box[:4] * factor).tolist())
        image = draw.draw_label(image, (box[:4] * factor).tolist(), f"{box[4]:.2f}")
    return image


def _coco(frames: Sequence[np.ndarray]) -> list[dict[str, object]]:
    """Detections as `jaxhar.predict.box_files.BoxFile` reads them."""
    return [
        {
            "image_id": index,
            "category_id": box_files.PERSON,
            "bbox": [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(score), 6),
        }
        for index, boxes in enumerate(frames)
        for x1, y1, x2, y2, score in boxes
    ]
