"""The scorer of person boxes: average precision at a threshold of intersection over union.

Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010, with all points of the curve; the ignored
boxes are those of COCO (Lin et al., ECCV 2014).
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.boxes import area, overlap
from jaxhar.core.centres import STRIDE, encode
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Section, Table, Tile, number

#: Logits of certain answers.
_SURE = 25.0
#: Scores at which the table shows recall and precision.
_SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def match(
    boxes: np.ndarray, scores: np.ndarray, true: np.ndarray, ignored: np.ndarray, threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Which predicted boxes of one picture are persons: in the order of their scores, each takes the best free one.

    Args:
      boxes: (N, 4), scores: (N,). true: (M, 4) the persons. ignored: (I, 4) boxes in which predictions do not count.
      threshold: smallest intersection over union.

    Returns:
      (N,) bool, which are right; (N,) bool, which count. A prediction that is no person does not count if it has this
      overlap with an ignored box, or lies in it with this share of its area.
    """
    right, counts = np.zeros(len(boxes), bool), np.ones(len(boxes), bool)
    if not len(boxes):
        return right, counts
    ious = overlap(boxes, true)
    free = np.ones(len(true), bool)
    for i in np.argsort(-scores, kind="stable"):
        best = int(np.where(free, ious[i], -1).argmax()) if len(true) else -1
        if best >= 0 and free[best] and ious[i, best] >= threshold:
            free[best], right[i] = False, True
    if len(ignored):
        counts = right | ~(np.maximum(overlap(boxes, ignored), _inside(boxes, ignored)) >= threshold).any(-1)
    return right, counts


def _inside(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, I) share of each box (N, 4) that lies in each of the others (I, 4)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return area(np.concatenate([low, high], -1)) / np.maximum(area(boxes)[:, None], 1e-12)


def curve(scores: np.ndarray, right: np.ndarray, persons: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recall and precision when predictions from a score on are taken, and these scores, from the highest down.

    Args:
      scores: (N,) of all pictures. right: (N,) bool. persons: number of persons in all pictures.
    """
    levels, place = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(place, right, len(levels)))
    taken = np.cumsum(np.bincount(place, minlength=len(levels)))
    return hits / max(persons, 1), hits / np.maximum(taken, 1), -levels


def average_precision(scores: np.ndarray, right: np.ndarray, persons: int) -> float:
    """The area under the curve of precision over recall, where precision is the largest at this or a higher recall.

    Arguments as of `curve`. NaN without persons.
    """
    if not persons:
        return float("nan")
    recall, precision, _ = curve(scores, right, persons)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * best).sum())


@dataclass(frozen=True)
class BoxesAP:
    """Average precision of boxes, over all persons of all pictures.

    Attributes:
      threshold: smallest intersection over union of a right box.
      least: boxes with lower scores are left out, to save time.
    """

    threshold: float = 0.5
    least: float = 0.01
    reads = ("boxes", "scores")

    def begin(self, context: Context) -> "_Sums | None":
        """Empty sums; None in "clips" views."""
        return None if context.view.kind == "clips" else _Sums(self, context)

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The labels as predictions, with the maps of a person detector; {} without boxes."""
        if not {"boxes", "boxed", "ignored", "frames"} <= batch.keys():
            return {}
        boxed = np.asarray(batch["boxed"])
        height, width = (side // STRIDE for side in np.shape(batch["frames"])[2:4])
        target = encode(jnp.asarray(batch["boxes"]), jnp.asarray(boxed), jnp.asarray(batch["ignored"]), (height, width))
        logits = np.where(np.asarray(target.heat) == 1, _SURE, -_SURE).astype(np.float32)
        return {
            "boxes": np.where(boxed[..., None], batch["boxes"], 0)[None],
            "scores": boxed.astype(np.float32)[None],
            "centres": logits[None],
            "extent": np.asarray(target.extent)[None],
        }


class _Sums:
    def __init__(self, settings: BoxesAP, context: Context):
        self._settings, self._context = settings, context
        self._scores: list[np.ndarray] = []
        self._right: list[np.ndarray] = []
        self._persons = self._pictures = 0

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if "boxes" not in preds or "boxes" not in example:
            return
        for t in range(len(example["boxes"])):
            scores = float64(preds["scores"][-1, t])
            kept = scores >= self._settings.least
            boxes, scores, true = float64(preds["boxes"][-1, t])[kept], scores[kept], float64(example["boxes"][t])
            persons = true[example["boxed"][t]]
            right, counts = match(boxes, scores, persons, true[example["ignored"][t]], self._settings.threshold)
            self._scores.append(scores[counts])
            self._right.append(right[counts])
            self._persons += len(persons)
            self._pictures += 1

    def sections(self) -> list[Section]:
        """See `Sums`."""
        if not self._pictures:
            return []
        scores, right = np.concatenate(self._scores), np.concatenate(self._right)
        key = f"ap@{self._settings.threshold:g}{self._context.suffix}"
        found = average_precision(scores, right, self._persons)
        rows = []
        for score in _SCORES:
            hits, taken = int(right[scores >= score].sum()), int((scores >= score).sum())
            recall = hits / self._persons if self._persons else np.nan
            precision = hits / taken if taken else np.nan
            rows.append((f"{score:g}", f"{taken:,}", number(recall), number(precision)))
        size = f"{self._persons:,} persons in {self._pictures:,} pictures"
        return [
            Section(
                "Persons",
                scalars={key: found},
                units={key: "%"},
                tiles=(Tile(f"AP at IoU {self._settings.threshold:g}", f"{number(found)} %", size),),
                tables=(
                    Table(
                        f"Boxes with IoU from {self._settings.threshold:g} on, %",
                        ("score from", "boxes", "recall", "precision"),
                        tuple(rows),
                        soft=(1,),
                    ),
                ),
                if_true={key: (1.0, 1.0)},
                if_learned={key: (0.9, 1.0)},
            )
        ]
