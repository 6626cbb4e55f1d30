"""Detectors of persons: boxes in a picture, by the network that comes with the package, without a download."""

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np

from jaxhar.core.batch import to_image
from jaxhar.core.boxes import overlap
from jaxhar.data.transforms import crop_person
from jaxhar.host.errors import Problem, Usage
from jaxhar.inference import infer
from jaxhar.models.people.network import PeopleConfig
from jaxhar.weights.checkpoint import load_model

#: The weights, trained by configs/people.py; docs/people.md says how.
WEIGHTS = Path(__file__).parents[1] / "models" / "people" / "own.safetensors"
#: What is said where `Own` finds the persons.
GENERATED = (
    "the persons are found by the detector of the package, which has seen generated scenes alone: in real pictures it "
    "misses persons and takes other things for persons; name a detector that was trained on photos "
    "(--detector FILE.onnx), or give --boxes"
)


class Detector(Protocol):
    """A source of person boxes."""

    def boxes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The persons in a picture.

        Args:
          frame: (H, W, 3) uint8 RGB.

        Returns:
          boxes (N, 4) float64 pixels x1, y1, x2, y2 within the picture, and scores (N,) float64 in [0, 1], the highest
          first.
        """


class Own:
    """The small network of the package. It is trained on generated scenes alone: see docs/people.md for real photos."""

    def __init__(self, least: float = 0.3, side: int = 384, same: float = 0.75, weights: Path = WEIGHTS):
        """Loads the weights.

        Args:
          least: boxes with a lower score are left out.
          side: of the square in pixels, a multiple of 32, into which pictures are fitted. A larger one finds smaller
            persons and takes more time.
          same: of two boxes with a larger intersection over union, the one with the lower score is left out.
          weights: another model of the family "people", as `jaxhar.weights.checkpoint.load_model` reads it.

        Raises:
          Problem: the weights are missing, damaged or of another family. Usage: a wrong `least`, `same` or `side`.
        """
        if not (0 <= least <= 1 and 0 < same <= 1):
            raise Usage(f"least and same must be between 0 and 1, not {least} and {same}")
        model, meta = load_model(weights)
        if not isinstance(meta.config, PeopleConfig):
            raise Problem(
                f"{weights} is no person detector, but a network of the settings {type(meta.config).__name__}"
            )
        try:
            config = dataclasses.replace(meta.config, image_size=side)
        except ValueError as error:
            raise Usage(f"the side of a detector cannot be {side}: {error}") from error
        model.config = config  # type: ignore[attr-defined]
        self._model, self._side, self._least, self._same = model, side, least, same

    def boxes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Detector`."""
        crop, affine = crop_person(frame, size=self._side)
        preds = infer(self._model, crop[None])
        scores = preds["scores"][-1, 0, 0].astype(np.float64)
        found = scores >= max(self._least, 1e-9)  # places without a box have a score of 0
        scores = scores[found]
        corners = to_image(affine[None], preds["boxes"][-1, 0, 0][found].reshape(1, -1, 2)).reshape(-1, 4)
        height, width = frame.shape[:2]
        boxes = np.clip(corners, 0, [width, height, width, height])
        kept = distinct(boxes, self._same) & ((boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) >= 1)
        return boxes[kept], scores[kept]


def distinct(boxes: np.ndarray, same: float) -> np.ndarray:
    """(N,) bool: which boxes (N, 4) have no larger intersection over union than `same` with one kept before them."""
    close = overlap(boxes, boxes) > same
    kept = np.zeros(len(boxes), bool)
    for i in range(len(boxes)):
        kept[i] = not (close[i] & kept).any()
    return kept
