"""The scorer that keeps sample pictures: frames or skeletons with their labels, and what a network sees in them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.pixels import Pixels
from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.action import Action, scores_of_data
from jaxhar.evaluation.metrics import log_softmax
from jaxhar.evaluation.pose import poses
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Picture, Section, words

#: What networks that show what they see read.
_READ = ("points", "score", "mirrored", "frames", "cover")
_SHOWN = (
    "Heat maps of the joints or limbs at some moments of a clip, each cell in the colour of the strongest; or how much "
    "each joint counts for the class at every moment, from the least, dark, to the most."
)
_ROLLOUT = (
    "Frames of a clip and how much each patch counts for the class by the attention of all blocks (attention rollout, "
    "Abnar and Zuidema, ACL'20), from the least to the most of the clip, red."
)
#: Number of samples of which also is shown what the network sees.
_SEEN = 4


@dataclass(frozen=True)
class Samples:
    """Keeps the middle frame of some examples of the first view, chosen at random with a fixed seed.

    Attributes:
      count: number of examples.
    """

    count: int = 12
    reads = ("pose", "visible", "action", "frames")

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
        self._kept: dict[int, tuple[int, Picture, Example]] = {}

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        place = self._offered if self._offered < self._size else int(self._rng.integers(self._offered + 1))
        if place < self._size:
            seen = {key: example[key] for key in _READ if key in example} if self._context.shows else {}
            self._kept[place] = (self._offered, sample(example, preds, self._context), seen)
        self._offered += 1

    def sections(self) -> list[Section]:
        """See `Sums`."""
        kept = sorted(self._kept.values(), key=lambda one: one[0])
        if not kept:
            return []
        frames = any(picture.image is not None for _, picture, _ in kept)
        title, what = (
            ("Frames", "Input crops") if frames else ("Skeletons", "Input skeletons, in the middle of a clip,")
        )
        about = (f"{what} of the network, chosen at random.",)
        found = [Section(title, pictures=tuple(picture for _, picture, _ in kept), about=about)]
        seen = tuple(self._seen([(picture, example) for _, picture, example in kept if example][:_SEEN]))
        shown = _ROLLOUT if any(picture.rollout is not None for picture in seen) else _SHOWN
        return [*found, Section("What the network sees", pictures=seen, about=(shown,))] if seen else found

    def _seen(self, kept: list[tuple[Picture, Example]]) -> Iterator[Picture]:
        """Pictures of the volumes and of the attention for some samples."""
        if not kept or self._context.shows is None:
            return
        batch = {key: np.stack([example[key] for _, example in kept]) for key in kept[0][1]}
        network = self._context.network
        pixels = (network.pixels if network is not None else None) or Pixels.SIGNED
        for key, values in self._context.shows(batch).items():  # type: ignore[arg-type]
            for (picture, example), value in zip(kept, values, strict=True):
                bare = replace(picture, file=key, image=None, true=None, valid=None, pred=None, confidence=None)
                if key == "volume":
                    yield replace(bare, skeleton=self._context.skeleton, volume=value)
                elif key == "attention":
                    yield replace(bare, skeleton=self._context.skeleton, attention=value.sum(1))
                elif key == "rollout":
                    length = len(example["frames"]) // len(value)
                    frames = [pixels.picture(one) for one in example["frames"][length // 2 :: length]]
                    yield replace(bare, skeleton=None, rollout=value, frames=np.stack(frames))


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
        found["true"], found["valid"] = _first_person(example, context.skeleton)
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


def _first_person(example: Example, skeleton: Skeleton | None) -> tuple[np.ndarray, np.ndarray]:
    """The first person in the middle frame of a skeleton sequence: joints (J, 2), and a mask of known joints (J,).

    Coordinates are scaled so that the joints of the whole sequence span 0.1 to 0.9. Joints in space are seen from the
    front, or from behind.
    """
    points = float64(example["points"])[:, 0]
    there = np.asarray(example["score"] if "score" in example else example["points"].any(-1))[:, 0] > 0
    points = _upright(points, there, skeleton)
    middle = len(points) // 2
    if not there.any():
        return points[middle], there[middle]
    low, high = points[there].min(0), points[there].max(0)
    size = max(float((high - low).max()), 1e-9)
    return 0.5 + 0.8 * (points[middle] - (low + high) / 2) / size, there[middle]


def _upright(points: np.ndarray, there: np.ndarray, skeleton: Skeleton | None) -> np.ndarray:
    """Points (T, J, D) as x and y of a picture (T, J, 2).

    Of the axes in space that is vertical along which pelvis and head are farthest apart, and that is horizontal along
    which the shoulders are.
    """
    names = ("pelvis", "head", "l_shoulder", "r_shoulder")
    if points.shape[-1] < 3 or skeleton is None or not {*names} <= {*skeleton.joints}:
        return points[..., :2]
    joints = [skeleton.index(name) for name in names]
    known = points[there[:, joints].all(1)][:, joints]
    if not len(known):
        return points[..., :2]
    pelvis, head, left, right = known.mean(0)
    vertical = int(np.abs(head - pelvis).argmax())
    sideways = np.abs(left - right)
    sideways[vertical] = -1
    sign = -1.0 if head[vertical] > pelvis[vertical] else 1.0
    return np.stack([points[..., int(sideways.argmax())], sign * points[..., vertical]], -1)
