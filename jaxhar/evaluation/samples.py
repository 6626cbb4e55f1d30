"""The scorer that keeps sample pictures: frames with the true and the predicted pose and class."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.pixels import Pixels
from jaxhar.evaluation.action import Action, scores_of_data
from jaxhar.evaluation.metrics import log_softmax
from jaxhar.evaluation.pose import poses
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Picture, Section, words


@dataclass(frozen=True)
class Samples:
    """Keeps the middle frame of some examples of the first view, chosen at random with a fixed seed.

    Attributes:
      count: number of examples.
    """

    count: int = 12
    reads = ("pose", "visible", "action")

    def begin(self, context: Context) -> "_Reservoir | None":
        """Empty sums; None in views after the first."""
        return _Reservoir(self.count, context) if context.first else None

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The labels as predictions, so that they are drawn."""
        return {**poses(batch), **Action().truth(batch, context)}


class _Reservoir:
    """A uniform random choice from a stream of unknown length (algorithm R), in the order of the stream."""

    def __init__(self, size: int, context: Context):
        self._size, self._context, self._offered = size, context, 0
        self._rng = np.random.default_rng(0)
        self._kept: dict[int, tuple[int, Picture]] = {}

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        place = self._offered if self._offered < self._size else int(self._rng.integers(self._offered + 1))
        if place < self._size:
            self._kept[place] = (self._offered, sample(example, preds, self._context))
        self._offered += 1

    def sections(self) -> list[Section]:
        """See `Sums`."""
        pictures = tuple(picture for _, picture in sorted(self._kept.values(), key=lambda pair: pair[0]))
        about = ("Input crops of the network, chosen at random.",)
        return [Section("Frames", pictures=pictures, about=about)] if pictures else []


def sample(example: Example, preds: Predicted, context: Context) -> Picture:
    """The middle frame of an example with its true and predicted pose and class."""
    frames = example.get("frames")
    found: dict[str, Any] = {}
    if frames is not None:
        pixels = context.network.pixels if context.network is not None else None
        found["image"] = (pixels or Pixels.SIGNED).picture(frames[len(frames) // 2])
    if "pose" in example:
        middle = len(example["pose"]) // 2
        found["true"] = example["pose"][middle, :, :2].copy()
        found["valid"] = example["valid"][middle, :, :2].all(-1)
    if "pose" in preds:
        middle = preds["pose"].shape[1] // 2
        found["pred"] = float64(preds["pose"][-1, middle, :, :2])
        if "visible" in preds:
            found["confidence"] = float64(preds["visible"][-1, middle])
    if "points" in example and frames is None and "true" not in found:
        found["true"], found["valid"] = _first_person(example)
    if {"true", "pred"} & found.keys():
        found["skeleton"] = context.skeleton
    if "action" in example and 0 <= int(example["action"]) < len(context.classes):
        found["truth"] = words(context.classes[int(example["action"])])
    scores = scores_of_data(preds["action"], context)[0] if "action" in preds else None
    if scores is not None:
        probabilities = np.exp(log_softmax(scores[-1]))
        found["answer"] = words(context.classes[int(probabilities.argmax())])
        found["probability"] = float(probabilities.max())
    return Picture("sample", name=context.name(example), **found)


def _first_person(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """The first person in the middle frame of a skeleton sequence: joints (J, 2), and a mask of known joints (J,).

    Coordinates are scaled so that the joints of the whole sequence span 0.1 to 0.9.
    """
    points = float64(example["points"])[:, 0]
    there = np.asarray(example["score"] if "score" in example else example["points"].any(-1))[:, 0] > 0
    middle = len(points) // 2
    if not there.any():
        return points[middle, :, :2], there[middle]
    low, high = points[there][:, :2].min(0), points[there][:, :2].max(0)
    size = max(float((high - low).max()), 1e-9)
    return 0.5 + 0.8 * (points[middle, :, :2] - (low + high) / 2) / size, there[middle]
