"""The scorer of 3-D poses in world coordinates, in millimetres."""

from dataclasses import dataclass

import numpy as np

from jaxhar.core.batch import Batch, Preds, to_image
from jaxhar.core.camera import Camera
from jaxhar.evaluation.metrics import State
from jaxhar.evaluation.metrics_3d import MPJPE, WorldMetric
from jaxhar.evaluation.pose import PoseFigure, joints_of, poses, same_joints, section
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Section
from jaxhar.host.errors import Problem


@dataclass(frozen=True)
class World:
    """Scores 3-D poses by block and by class: `world` if predicted, else `pose` converted by the camera.

    Attributes:
      metrics: each adds figures such as "mpjpe" and "mpjpe/walking", see `PoseFigure.scalars`.
    """

    metrics: tuple[WorldMetric, ...] = (MPJPE(),)
    reads = ("pose", "world")

    def begin(self, context: Context) -> "WorldSums | None":
        """Empty sums; None in "clips" views, which are for actions only."""
        return None if context.view.kind == "clips" else WorldSums(self.metrics, context)

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The labels as predictions of a network with two blocks."""
        if "world" in batch:
            return {"world": np.repeat(np.asarray(batch["world"])[None], 2, 0)}
        return poses(batch)


def in_world(example: Example, pose: np.ndarray, deephar: bool = False) -> np.ndarray:
    """Convert poses (..., T, J, 3) from units of the crop to world coordinates in mm, of the same shape.

    Args:
      example: with affine, depth, depth_range and camera.
      deephar: invert lens distortion by deephar's formula, see `Camera.unproject`.
    """
    uvd = np.array(pose, np.float64)
    uvd[..., :2] = to_image(example["affine"], uvd)
    depth = np.asarray(example["depth"], np.float64)[:, None]
    uvd[..., 2] = depth + float(example["depth_range"]) * (uvd[..., 2] - 0.5)
    cameras = [Camera.from_vector(vector) for vector in example["camera"]]
    return np.stack([c.unproject(uvd[..., t, :, :], deephar) for t, c in enumerate(cameras)], axis=-3)


class WorldSums:
    """Sums of 3-D pose metrics, in total and by class.

    Attributes:
      figures: one for each metric; () before the first example.
    """

    def __init__(self, metrics: tuple[WorldMetric, ...], context: Context, suffix: str = ""):
        """`suffix`: appended to the view's suffix in the names of the figures."""
        self._metrics, self._context, self._suffix = metrics, context, context.suffix + suffix
        self._states: list[State] = []
        self._by_class: list[list[State | None]] = [[None] * len(context.classes) for _ in metrics]

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if not self._metrics or not ({"pose", "world"} & preds.keys() and {"pose", "world"} & example.keys()):
            return
        label = int(example.get("action", -1))
        found = [self._score(metric, example, preds) for metric in self._metrics]
        self._states = [a.merge(b) for a, b in zip(self._states, found, strict=True)] if self._states else found
        for sums, state in zip(self._by_class, found, strict=True):
            if 0 <= label < len(sums):
                before = sums[label]
                sums[label] = state if before is None else before.merge(state)

    def _score(self, metric: WorldMetric, example: Example, preds: Predicted) -> State:
        skeleton = joints_of(self._context)
        if "world" in preds and "world" in example:
            pred, true = float64(preds["world"])[:, None], float64(example["world"])[None]
            same_joints(pred, skeleton)
            valid = example["valid"].all(-1).any(0)[None] if "valid" in example else np.ones(true.shape[:-1], bool)
            return metric.get(pred, true, valid, None, skeleton)
        if "pose" not in preds or "pose" not in example or example["pose"].shape[-1] != 3 or "camera" not in example:
            raise Problem(f"{metric.name} needs data with cameras and depths, such as Human3.6M; remove this metric")
        if preds["pose"].shape[-1] != 3:
            raise Problem(f"{metric.name} needs a network that predicts depth; this network does not")
        same_joints(preds["pose"], skeleton)
        pred, true = in_world(example, float64(preds["pose"]), metric.deephar), in_world(example, example["pose"])
        return metric.get(pred, true, example["valid"].all(-1), None, skeleton)

    @property
    def figures(self) -> tuple[PoseFigure, ...]:
        if not self._states:
            return ()
        skeleton, classes = joints_of(self._context), self._context.classes
        return tuple(
            PoseFigure(metric, state, skeleton, self._suffix, classes, _stacked(state, sums))
            for metric, state, sums in zip(self._metrics, self._states, self._by_class, strict=True)
        )

    def sections(self) -> list[Section]:
        """See `Sums`."""
        figures = self.figures
        return [section("Pose in space", figures)] if figures else []


def _stacked(total: State, sums: list[State | None]) -> State | None:
    """(A, K, J), or None if there are no sums by class."""
    if not any(sums):
        return None
    none = State(np.zeros_like(total.total), np.zeros_like(total.count))
    return State(np.stack([(s or none).total for s in sums]), np.stack([(s or none).count for s in sums]))
