"""The scorer of COCO's keypoint challenge: average precision at thresholds of object keypoint similarity (OKS).

Lin et al., ECCV 2014, and the evaluation code published with COCO, for predictions in the boxes of the labels.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from jaxhar.core.batch import Batch, Preds, to_image
from jaxhar.core.skeleton import COCO
from jaxhar.evaluation.pose import joints_of, poses, same_joints
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Section, Table, Tile, number

#: COCO's standard deviation of each joint, by the name without its side, as a share of the square root of the area.
_SIGMA = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
SIGMAS = {joint: _SIGMA[joint.rpartition("_")[2]] for joint in COCO.joints}
THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
#: Persons of a picture that are scored, those of the highest scores.
_MOST = 20


def oks(pred: np.ndarray, true: np.ndarray, valid: np.ndarray, area: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """(N, M) similarity of N predicted and M labelled persons: exp(-d^2 / (2 area (2 sigma)^2)), averaged over joints.

    Args:
      pred: (N, J, 2) pixels. true: (M, J, 2) pixels. valid: (M, J) bool, labelled joints. area: (M,) square pixels.
      sigmas: (J,).
    """
    squares = ((pred[:, None] - true[None]) ** 2).sum(-1)
    near = np.exp(-squares / (2 * (2 * sigmas) ** 2 * (area[:, None] + np.spacing(1))))
    return np.where(valid, near, 0).sum(-1) / np.maximum(valid.sum(-1), 1)


def match(similarity: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) bool, which predictions of a picture are right: by falling score, each takes the best free person.

    Args:
      similarity: (N, M). scores: (N,).
    """
    right, free = np.zeros(len(scores), bool), np.ones(similarity.shape[1], bool)
    for i in np.argsort(-scores, kind="stable"):
        best = int(np.where(free, similarity[i], -1).argmax())
        if free[best] and similarity[i, best] >= threshold:
            free[best], right[i] = False, True
    return right


def average_precision(scores: np.ndarray, right: np.ndarray, persons: int) -> float:
    """The mean over 101 recalls of the highest precision at this or a higher recall; NaN without persons.

    Args:
      scores: (N,) of all pictures. right: (N,) bool. persons: number of labelled persons.
    """
    if not persons:
        return float("nan")
    hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
    recall, precision = hits / persons, hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    return float(best[np.searchsorted(recall, _RECALLS, side="left")].mean())


@dataclass(frozen=True)
class OKSAP:
    """Average precision of poses, the mean over OKS 0.5, 0.55, ..., 0.95, over all persons of all pictures.

    Joints that COCO lacks are not scored. The score of a person is the mean confidence of its joints. Persons of one
    picture are told by their names, which differ after the last "#" only. The boxes are those of the labels, so that
    figures compare with others for given boxes, not with those for detected ones.
    """

    reads = ("pose", "visible")

    def begin(self, context: Context) -> "_Sums | None":
        """Empty sums; None in "clips" views."""
        return None if context.view.kind == "clips" else _Sums(context)

    def truth(self, batch: Batch, context: Context) -> Preds:
        """See `poses`."""
        return poses(batch)


@dataclass
class _Picture:
    """The persons of a picture, one entry each."""

    pred: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    true: list[np.ndarray] = field(default_factory=list)
    valid: list[np.ndarray] = field(default_factory=list)
    area: list[float] = field(default_factory=list)


class _Sums:
    def __init__(self, context: Context):
        self._context = context
        self._pictures: dict[tuple[str, int], _Picture] = defaultdict(_Picture)

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if not {"pose", "visible"} <= preds.keys() or not {"pose", "area"} <= example.keys():
            return
        skeleton = joints_of(self._context)
        same_joints(preds["pose"], skeleton)
        index = [i for i, joint in enumerate(skeleton.joints) if joint in SIGMAS]
        valid = example["valid"][:, index, :2].all(-1)
        true = to_image(example["affine"], float64(example["pose"]))[:, index]
        pred = to_image(example["affine"], float64(preds["pose"][-1]))[:, index]
        scores = float64(preds["visible"][-1])[:, index].mean(-1)
        name = self._context.name(example)
        for t in np.flatnonzero(valid.any(-1)).tolist():
            picture = self._pictures[name.rpartition("#")[0] or name or str(len(self._pictures)), t]
            picture.pred.append(pred[t])
            picture.scores.append(float(scores[t]))
            picture.true.append(true[t])
            picture.valid.append(valid[t])
            picture.area.append(float(example["area"][t]))

    def sections(self) -> list[Section]:
        """See `Sums`."""
        if not self._pictures:
            return []
        skeleton = joints_of(self._context)
        sigmas = np.array([SIGMAS[joint] for joint in skeleton.joints if joint in SIGMAS])
        scores: list[np.ndarray] = []
        right: list[np.ndarray] = []  # (thresholds, N) of each picture
        persons = 0
        for picture in self._pictures.values():
            found = np.array(picture.scores)
            kept = np.argsort(-found, kind="stable")[:_MOST]
            area, valid = np.array(picture.area), np.stack(picture.valid)
            similarity = oks(np.stack(picture.pred)[kept], np.stack(picture.true), valid, area, sigmas)
            scores.append(found[kept])
            right.append(np.stack([match(similarity, found[kept], threshold) for threshold in THRESHOLDS]))
            persons += len(area)
        together, hits = np.concatenate(scores), np.concatenate(right, 1)
        figures = [average_precision(together, row, persons) for row in hits]
        key = f"oks_ap{self._context.suffix}"
        found_at = {f"oks_ap@{threshold:g}": figures[k] for k, threshold in ((0, 0.5), (5, 0.75))}
        scalars = {key: float(np.mean(figures)), **{f"{k}{self._context.suffix}": v for k, v in found_at.items()}}
        rows = tuple((f"{threshold:g}", number(figure)) for threshold, figure in zip(THRESHOLDS, figures, strict=True))
        size = f"{persons:,} persons in {len(self._pictures):,} pictures, in the boxes of the labels"
        return [
            Section(
                "Persons' joints",
                scalars=scalars,
                units=dict.fromkeys(scalars, "%"),
                tiles=(Tile("AP by OKS", f"{number(scalars[key])} %", size),),
                tables=(Table("Average precision by OKS, %", ("OKS from", "AP"), rows),),
                if_true=dict.fromkeys(scalars, (1.0, 1.0)),
                if_learned={key: (0.9, 1.0)},
            )
        ]
