"""Person detectors in ONNX files, run by ONNX Runtime: YOLOX (Ge et al., 2021) and RTMDet (Lyu et al., 2022).

Both read BGR pictures of one size: the frame, scaled to fit at the top left, on grey 114. YOLOX, as its repository
exports it, takes values from 0 to 255, and gives for every cell of strides 8, 16 and 32 the box, the score of an object
and those of the classes; the boxes are relative to the cells, unless it was exported to give pixels. RTMDet, as
MMDeploy exports it, takes values normalised by mean and deviation, and gives the boxes with scores and classes that are
left after non-maximum suppression; YOLOX exported by MMDeploy gives the same.
"""

from pathlib import Path

import cv2
import numpy as np

from jaxhar.host.errors import Problem, Usage

KINDS = ("yolox", "rtmdet")
_MEAN, _DEVIATION = np.array([103.53, 116.28, 123.675]), np.array([57.375, 57.12, 58.395])
_GREY = 114
#: Class of persons in COCO, by both detectors.
_PERSON = 0
#: Boxes with lower scores are left out. Of boxes that overlap more, one is kept, as in YOLOX.
_LEAST, _OVERLAP = 0.1, 0.45
#: Least and largest side of the input. Scores may lie beyond 0 and 1 by the rounding.
_SIDES, _ROUNDING = (32, 4096), 1e-3


class OnnxDetector:
    """A person detector: a picture to boxes and scores."""

    def __init__(self, path: Path, kind: str | None = None):
        """Opens the file.

        Args:
          kind: yolox or rtmdet; None goes by the name of the file, then by its outputs.

        Raises:
          Problem: it is no such network, or onnxruntime is not installed.
          Usage: the kind cannot be told.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise Problem("a detector in an ONNX file needs onnxruntime: pip install 'jaxhar[export]'") from error
        self.path = path
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no other base
            raise Problem(f"{path} is no network that ONNX Runtime can open: {str(error).splitlines()[0]}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        single = bool(shape) and (not isinstance(shape[0], int) or shape[0] == 1)
        if (
            len(shape) != 4
            or not single
            or shape[1] != 3
            or any(isinstance(side, int) and not _SIDES[0] <= side <= _SIDES[1] for side in shape[2:])
            or inputs[0].type != "tensor(float)"
            or len(outputs) not in (1, 2)
        ):
            told = ", ".join(f"{one.name} {one.type} {one.shape}" for one in [*inputs, *outputs])
            raise Problem(
                f"{path} is no YOLOX or RTMDet: expected are pictures (1, 3, H, W) of floats, with sides "
                f"from {_SIDES[0]} to {_SIDES[1]}; it has {told}"
            )
        self._input = inputs[0].name
        self._size = tuple(side if isinstance(side, int) else 640 for side in shape[2:])
        named = [one for one in KINDS if one in path.name.lower()]
        if kind is None and len(named) != 1 and len(outputs) == 2:
            raise Usage(f"--detector {path}: is it yolox or rtmdet? Give yolox:{path} or rtmdet:{path}")
        self.kind = kind or (named[0] if len(named) == 1 else "yolox")
        if self.kind == "rtmdet" and len(outputs) == 1:
            raise Problem(f"{path} is no RTMDet as MMDeploy exports it: it has one output, {outputs[0].name}")
        self._suppressed = len(outputs) == 2
        self._pixels = not self._suppressed and self._gives_pixels()

    def boxes(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) x1, y1, x2, y2 in pixels and scores (N,) of the persons in a picture (H, W, 3) uint8, RGB."""
        picture, scale = letterbox(image, self._size)
        values = picture.astype(np.float64)
        if self.kind == "rtmdet":
            values = (values - _MEAN) / _DEVIATION
        found = self._run(values)
        if self._suppressed:
            dets, labels = found
            keep = (labels[0] == _PERSON) & (dets[0, :, 4] >= _LEAST)
            boxes, scores = dets[0, keep, :4], dets[0, keep, 4]
        else:
            boxes, scores = decode(found[0][0], self._size, self._pixels)
            keep = scores >= _LEAST
            boxes, scores = suppress(boxes[keep], scores[keep])
        height, width = image.shape[:2]
        boxes = np.clip(boxes.astype(float) / scale, 0, [width, height, width, height])
        keep = (boxes[:, 2:] > boxes[:, :2]).all(-1)
        return boxes[keep], scores[keep].astype(float).clip(0, 1)

    def _run(self, values: np.ndarray) -> list[np.ndarray]:
        picture = values.transpose(2, 0, 1)[None].astype(np.float32)
        try:
            found = self._session.run(None, {self._input: picture})
        except Exception as error:  # as above
            told = str(error).splitlines()[0]
            raise Problem(f"{self.path} cannot be run on a picture {picture.shape}: {told}") from error
        good = all(isinstance(array, np.ndarray) and array.dtype.kind in "fiu" for array in found)
        if good and self._suppressed:
            found = sorted(found, key=lambda array: -array.ndim)
            good = found[0].shape[::2] == (1, 5) and found[1].shape == found[0].shape[:2]
        elif good:
            cells = sum((self._size[0] // stride) * (self._size[1] // stride) for stride in (8, 16, 32))
            good = found[0].ndim == 3 and found[0].shape[:2] == (1, cells) and found[0].shape[2] > 5
        if not good:
            given = [f"{a.dtype} {a.shape}" if isinstance(a, np.ndarray) else type(a).__name__ for a in found]
            raise Problem(f"{self.path} is no YOLOX or RTMDet: its outputs are {', '.join(given)}")
        scores = found[0][..., 4:]
        if not np.isfinite(found[0]).all() or not (np.abs(scores - 0.5) <= 0.5 + _ROUNDING).all():
            raise Problem(f"{self.path} gives boxes that are not finite, or scores outside of 0 to 1; export it again")
        return found

    def _gives_pixels(self) -> bool:
        """Whether the boxes are in pixels: then their middles spread over the picture, even over a grey one."""
        grey = np.full((*self._size, 3), float(_GREY))
        return bool(np.ptp(self._run(grey)[0][0, :, 0]) > self._size[1] / 2)


def letterbox(image: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """A picture in BGR, scaled to fit at the top left of `size` (height, width), and the factor."""
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = max(1, int(width * scale)), max(1, int(height * scale))
    padded = np.full((*size, 3), _GREY, np.uint8)
    padded[: inner[1], : inner[0]] = cv2.resize(image[..., ::-1], inner, interpolation=cv2.INTER_LINEAR)
    return padded, scale


def decode(found: np.ndarray, size: tuple[int, ...], pixels: bool) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) x1, y1, x2, y2 and scores of persons (N,) of YOLOX's output (N, 5 + classes).

    Args:
      size: (height, width) of the input. pixels: whether the boxes are in pixels, not relative to their cells.
    """
    middle, sides = found[:, :2], found[:, 2:4]
    if not pixels:
        grids = [np.mgrid[: size[0] // s, : size[1] // s][::-1].reshape(2, -1).T for s in (8, 16, 32)]
        stride = np.concatenate([np.full((len(g), 1), s) for g, s in zip(grids, (8, 16, 32), strict=True)])
        middle, sides = (middle + np.concatenate(grids)) * stride, np.exp(np.minimum(sides, 20)) * stride
    return np.concatenate([middle - sides / 2, middle + sides / 2], 1), found[:, 4] * found[:, 5 + _PERSON]


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float = _OVERLAP) -> tuple[np.ndarray, np.ndarray]:
    """The best of boxes (N, 4) that overlap by more than `overlap`, by falling score (N,)."""
    sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    kept = np.array(cv2.dnn.NMSBoxes(sized.tolist(), scores.tolist(), 0.0, overlap), int).reshape(-1)
    return boxes[kept], scores[kept]
