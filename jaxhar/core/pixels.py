"""Pixel normalisation: uint8 frames to the values that a network was trained on."""

from enum import StrEnum

import numpy as np

from jaxhar.core.batch import Array, Batch

_IMAGENET = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
_KINETICS = np.full(3, 0.45, np.float32), np.full(3, 0.225, np.float32)


class Pixels(StrEnum):
    """A pixel normalisation, called with a batch: `Pixels.SIGNED(batch)`.

    The settings of a network name the one it needs.
    """

    #: To [-1, 1], RGB: deephar.
    SIGNED = "signed"
    #: Minus ImageNet's mean, divided by its deviation, RGB: torchvision.
    IMAGENET = "imagenet"
    #: Channels in BGR order with ImageNet's mean and deviation in RGB order: an error in the original multi-view code
    #: that the weights trained with it depend on.
    IMAGENET_BGR = "imagenet_bgr"
    #: Minus 0.45, divided by 0.225, RGB: video networks trained on Kinetics.
    KINETICS = "kinetics"

    def __call__(self, batch: Batch) -> Array:
        """Normalised frames of a batch, (B, T, H, W, 3) float32.

        uint8 frames become (v / 255) ^ power, then are normalised. Frames that are not uint8 are returned unchanged;
        they must be normalised already. Called inside the jitted step, so that batches travel as uint8.
        """
        frames = batch["frames"]
        if frames.dtype != np.uint8:
            return frames
        unit = frames.astype(np.float32) / 255
        if "power" in batch:
            unit = unit ** batch["power"][:, :, None, None]
        if self is Pixels.SIGNED:
            return 2 * (unit - 0.5)
        if self is Pixels.IMAGENET_BGR:
            unit = unit[..., ::-1]
        mean, deviation = _KINETICS if self is Pixels.KINETICS else _IMAGENET
        return (unit - mean) / deviation

    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value of a normalised pixel."""
        ends = self({"frames": np.array([0, 255], np.uint8).repeat(3).reshape(2, 1, 1, 1, 3)})
        return float(ends.min()), float(ends.max())

    def picture(self, frame: np.ndarray) -> np.ndarray:
        """Normalised frames (..., 3) as uint8 RGB on the host, for display; uint8 frames are returned unchanged."""
        if frame.dtype == np.uint8:
            return frame
        frame = np.asarray(frame, np.float32)
        if self is Pixels.SIGNED:
            return np.clip((frame + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)
        mean, deviation = _KINETICS if self is Pixels.KINETICS else _IMAGENET
        unit = frame * deviation + mean
        unit = unit[..., ::-1] if self is Pixels.IMAGENET_BGR else unit
        return np.clip(unit * 255 + 0.5, 0, 255).astype(np.uint8)
