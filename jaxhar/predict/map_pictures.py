"""Pictures of heat maps: what `jaxhar predict --maps` writes, one grid of joints for each frame."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Frame, Video
from jaxhar.data.formats.writer import VideoWriter, write_png
from jaxhar.host.errors import Usage
from jaxhar.host.files import atomic
from jaxhar.viz import draw as viz
from jaxhar.viz import heat

#: Smallest side of a crop in the grid, in pixels.
_SIDE = 192
#: Colours go from 0 to a map's own peak, or to this value if the peak is lower.
_LOWEST_PEAK = 0.2


@dataclass(frozen=True)
class FrameMaps:
    """What a network saw and found in one frame: crop (H, W, 3) uint8, maps (h, w, J), pose (J, 2) in crop units."""

    crop: np.ndarray
    maps: np.ndarray
    pose: np.ndarray


def chosen(words: str, skeleton: Skeleton) -> tuple[int, ...]:
    """Indices of the joints that --maps names, by name or number, separated by commas; all for "all".

    Raises:
      Usage: a joint that the skeleton lacks.
    """
    if words == "all":
        return tuple(range(len(skeleton)))
    known = {name: j for j, name in enumerate(skeleton.joints)} | {str(j): j for j in range(len(skeleton))}
    named = [word.strip() for word in words.split(",")]
    for word in named:
        if word not in known:
            raise Usage(f"--maps: there is no joint {word!r}; there are {', '.join(skeleton.joints)}")
    return tuple(dict.fromkeys(known[word] for word in named))


def grid(frame: FrameMaps, joints: Sequence[int], skeleton: Skeleton) -> np.ndarray:
    """The crop once for each joint, under the colours of its map, with its name, the map's peak and its position."""
    height, width = frame.crop.shape[:2]
    factor = max(1, -(-_SIDE // min(height, width)))
    size = width * factor, height * factor
    crop = cv2.resize(frame.crop, size, interpolation=cv2.INTER_LINEAR)
    cells = []
    for j in joints:
        image = viz.draw_crosses(_coloured(crop, frame.maps[..., j]), frame.pose[j, None] * size)
        cells.append(viz.draw_words(image, f"{skeleton.joints[j]}  {frame.maps[..., j].max():.2f}"))
    return viz.contact_sheet(cells, columns=int(np.ceil(np.sqrt(len(cells)))))


def _coloured(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) under the colours of a map (h, w), whose cell (u, v) lies at (u / w, v / h) of the image."""
    (height, width), (rows, columns) = image.shape[:2], values.shape
    # cv2's pixel i is the position i + 0.5 of ours
    back = np.array([[columns / width, 0, 0.5 * columns / width], [0, rows / height, 0.5 * rows / height]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    values = np.asarray(values, np.float32)
    large = cv2.warpAffine(values, back, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return heat.painted(image, large / max(float(values.max()), _LOWEST_PEAK))


class MapPictures:
    """Writer of maps.mp4 for a video, of NAME_maps.png for each photo.

    Attributes:
      paths: the file of each source. files: those begun.

    Raises:
      Usage: two files would have the same name.
    """

    def __init__(self, folder: Path, source: Video | Images, overlays: dict[Path, str], joints: Sequence[int]):
        self.files: list[Path] = []
        self._source, self._joints = source, joints
        of_photos = {path: f"{Path(name).stem}_maps.png" for path, name in overlays.items()}
        names = dict.fromkeys(overlays, "maps.mp4") if isinstance(source, Video) else of_photos
        taken = {*names.values()} & {*overlays.values()}
        if taken:
            raise Usage(f"--maps: {min(taken)} is the overlay of another photo; predict that photo apart")
        self.paths = {path: folder / name for path, name in names.items()}
        self._writer: VideoWriter | None = None

    def add(self, frame: Frame, maps: FrameMaps, skeleton: Skeleton, stack: contextlib.ExitStack) -> None:
        """Write one frame; `stack` closes the video and gives it its name."""
        image, path = grid(maps, self._joints, skeleton), self.paths[frame.path]
        if isinstance(self._source, Images):
            write_png(path, image)
            self.files.append(path)
            return
        if self._writer is None:
            self.files.append(path)
            height, width = image.shape[:2]
            part = stack.enter_context(atomic(path))
            self._writer = stack.enter_context(VideoWriter(part, self._source.fps, width, height))
        self._writer.write(image, frame.time)
