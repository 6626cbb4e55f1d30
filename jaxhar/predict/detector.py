"""Detectors of persons: boxes in a picture, by the network that comes with the package, without a download."""

import copy
import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxhar.core.batch import to_image
from jaxhar.core.boxes import overlap
from jaxhar.data.transforms import crop_person
from jaxhar.host.errors import Problem, Usage
from jaxhar.inference import infer
from jaxhar.models.people.network import PeopleConfig
from jaxhar.weights.checkpoint import load_model

#: The weights, trained by configs/people.py; docs/people.md says how.
WEIGHTS = Path(__file__).parents[1] / "models" / "people" / "own.safetensors"
#: Lowest score of the boxes that `Own` gives.
LEAST = 0.25
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
    """A network of the family "people", by default that of the package, which has seen generated scenes alone.

    Attributes:
      packaged: whether it is that of the package, see docs/people.md. model: the network.
    """

    def __init__(
        self, least: float = LEAST, sides: tuple[int, int] = (448, 256), same: float = 0.75, weights: Path = WEIGHTS
    ):
        """Loads the weights.

        Args:
          least: boxes with a lower score are left out.
          sides: of the squares in pixels, into which a picture and its mirror image are fitted; multiples of 32. A
            larger one finds smaller persons and takes more time.
          same: of two boxes with a larger intersection over union, the one with the lower score is left out.
          weights: another model of the family "people", as `jaxhar.weights.checkpoint.load_model` reads it.

        Raises:
          Problem: the weights are missing, damaged or of another family. Usage: a wrong `least`, `same` or `sides`.
        """
        if len(sides) != 2:
            raise Usage(f"sides are two numbers, for a picture and for its mirror image, not {sides}")
        if not (0 <= least <= 1 and 0 < same <= 1):
            raise Usage(f"least and same must be between 0 and 1, not {least} and {same}")
        model, meta = load_model(weights)
        self.packaged, self.model = weights == WEIGHTS, model
        if not isinstance(meta.config, PeopleConfig):
            raise Problem(
                f"{weights} is no person detector, but a network of the settings {type(meta.config).__name__}"
            )
        self._models = []
        for side in sides:
            one = copy.copy(model)
            try:
                one.config = dataclasses.replace(meta.config, image_size=side)  # type: ignore[attr-defined]
            except ValueError as error:
                raise Usage(f"the side of a detector cannot be {side}: {error}") from error
            self._models.append((side, one))
        self._least, self._same = least, same

    def boxes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Detector`. The picture and its mirror image are read, and what they show is `merged`."""
        views = []
        for mirrored, (side, model) in enumerate(self._models):
            crop, affine = crop_person(frame, size=side)
            preds = infer(model, (crop[:, ::-1] if mirrored else crop)[None])
            corners, scores = preds["boxes"][-1, 0, 0].astype(np.float64), preds["scores"][-1, 0, 0].astype(np.float64)
            if mirrored:
                corners = np.array([1, 0, 1, 0]) - corners[:, [2, 1, 0, 3]] * [1, -1, 1, -1]
            boxes = to_image(affine[None], corners.reshape(1, -1, 2)).reshape(-1, 4)
            kept = (scores > 0) & distinct(boxes, self._same)  # places without a box have a score of 0
            views.append((boxes[kept], scores[kept]))
        picture, mirror = views
        boxes, scores = merged(picture, mirror)
        height, width = frame.shape[:2]
        boxes = np.clip(boxes, 0, [width, height, width, height])
        kept = (scores >= self._least) & distinct(boxes, self._same) & ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
        return boxes[kept], scores[kept]


Scored = tuple[np.ndarray, np.ndarray]  # boxes (N, 4) and scores (N,)


def merged(one: Scored, other: Scored, same: float = 0.6) -> Scored:
    """The boxes of two views of a picture as one list, the highest score first.

    Two boxes with an intersection over union above `same` become their mean, weighted by the scores (Solovyev et al.,
    "Weighted boxes fusion", 2021). A score is half the sum of both views': a box of one view alone counts half.
    """
    gains = np.where(overlap(one[0], other[0]) > same, one[1][:, None] * other[1], 0)
    left, right = linear_sum_assignment(gains, maximize=True)
    pairs = gains[left, right] > 0
    left, right = left[pairs], right[pairs]
    first, second = one[1][left, None], other[1][right, None]
    both = (first * one[0][left] + second * other[0][right]) / (first + second)
    alone = [np.delete(one[0], left, 0), np.delete(other[0], right, 0)]
    boxes = np.concatenate([both, *alone])
    scores = np.concatenate([(first + second)[:, 0], np.delete(one[1], left), np.delete(other[1], right)]) / 2
    order = np.argsort(-scores, kind="stable")
    return boxes[order], scores[order]


def distinct(boxes: np.ndarray, same: float) -> np.ndarray:
    """(N,) bool: which boxes (N, 4) have no larger intersection over union than `same` with one kept before them."""
    close = overlap(boxes, boxes) > same
    kept = np.zeros(len(boxes), bool)
    for i in range(len(boxes)):
        kept[i] = not (close[i] & kept).any()
    return kept
