"""RandAugment (Cubuk et al., 2020) on clips: a few random operations, the same on all frames, by Pillow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

#: Value of the pixels that a move uncovers.
FILL = (128, 128, 128)
#: The largest magnitude.
MOST = 10.0


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC, fillcolor=FILL
    )


def _solarize_add(image: Image.Image, add: int) -> Image.Image:
    return image.point([min(255, value + add) if value < 128 else value for value in range(256)] * 3)


#: Operation -> what it does to a picture with its argument. A move takes the picture left or up if it is positive.
OPERATIONS: dict[str, Callable[..., Image.Image]] = {
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
    "Rotate": lambda image, degrees: image.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=FILL),
    "PosterizeIncreasing": ImageOps.posterize,
    "SolarizeIncreasing": ImageOps.solarize,
    "SolarizeAdd": _solarize_add,
    "ColorIncreasing": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "ContrastIncreasing": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "BrightnessIncreasing": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "SharpnessIncreasing": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "ShearX": lambda image, factor: _affine(image, 1, factor, 0, 0, 1, 0),
    "ShearY": lambda image, factor: _affine(image, 1, 0, 0, factor, 1, 0),
    "TranslateXRel": lambda image, share: _affine(image, 1, 0, share * image.size[0], 0, 1, 0),
    "TranslateYRel": lambda image, share: _affine(image, 1, 0, 0, 0, 1, share * image.size[1]),
}


def argument(name: str, magnitude: float, negate: bool) -> list[float]:
    """The arguments of an operation at a magnitude from 0 to 10; `negate` turns round those that have a direction."""
    part, sign = magnitude / MOST, -1 if negate else 1
    if name in ("AutoContrast", "Equalize", "Invert"):
        return []
    if name == "PosterizeIncreasing":
        return [4 - int(4 * part)]
    if name == "SolarizeIncreasing":
        return [256 - int(256 * part)]
    if name == "SolarizeAdd":
        return [int(110 * part)]
    if name.endswith("Increasing"):
        return [1 + sign * 0.9 * part]
    largest = {"Rotate": 30, "ShearX": 0.3, "ShearY": 0.3}
    return [sign * part * largest.get(name, 0.45)]


def apply(frame: np.ndarray, name: str, arguments: Sequence[float]) -> np.ndarray:
    """One operation on a picture (H, W, 3) uint8."""
    return np.asarray(OPERATIONS[name](Image.fromarray(np.ascontiguousarray(frame)), *arguments))


@dataclass(frozen=True)
class RandAugment:
    """Random operations on clips.

    Attributes:
      magnitude: mean of the magnitudes, from 0 to 10. deviation: of the magnitudes.
      operations: how many are drawn. probability: of each to be done.
    """

    magnitude: float = 7.0
    deviation: float = 0.5
    operations: int = 2
    probability: float = 0.5

    def draw(self, rng: np.random.Generator) -> list[tuple[str, list[float]]]:
        """The operations on a clip, with their arguments."""
        names, chosen = list(OPERATIONS), []
        for _ in range(self.operations):
            name = names[rng.integers(len(names))]
            magnitude = float(np.clip(rng.normal(self.magnitude, self.deviation), 0, MOST))
            negate, done = rng.random() < 0.5, rng.random() < self.probability
            if done:
                chosen.append((name, argument(name, magnitude, negate)))
        return chosen

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Frames (T, H, W, 3) uint8, changed all alike."""
        for name, arguments in self.draw(rng):
            frames = np.stack([apply(frame, name, arguments) for frame in frames])
        return frames
