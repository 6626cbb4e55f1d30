"""What joints alone tell of classes: small networks trained from scratch, and the logistic regression, in folds."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import optax
from flax import nnx

from jaxhar import zoo
from jaxhar.core.batch import Batch
from jaxhar.core.skeleton import Skeleton
from jaxhar.data.pyskl import views
from jaxhar.evaluation.action import ActionFigure
from jaxhar.finetune import folds, joint_regression
from jaxhar.finetune.features import chosen_copies
from jaxhar.finetune.heads import Trainer
from jaxhar.inference import infer
from jaxhar.models.poseconv.network import PoseConvConfig
from jaxhar.models.skeleton.network import SkeletonTransformerConfig
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer

#: Training batches show a random part of the square about the persons, at least this share of each side.
_LEAST_SHARE = 0.8
#: Height and width of the volume of the small PoseConv3D, in cells.
SIZE = 16
#: Side of a picture in pixels, in whose units `views` looks for persons.
_SIDE = 1000
Config = PoseConvConfig | SkeletonTransformerConfig


@dataclasses.dataclass(frozen=True)
class Skeletons:
    """The joints of N clips, each in some copies.

    Attributes:
      points: (N, copies, T, M, J, 2) in units of a square about the persons. score: (N, copies, T, M, J), 0 where a
        joint is missing. The first copy is that of tests.
      labels: (N,) classes.
    """

    points: np.ndarray
    score: np.ndarray
    labels: np.ndarray

    @classmethod
    def one_person(cls, points: np.ndarray, score: np.ndarray, labels: np.ndarray) -> "Skeletons":
        """From points (N, copies, T, J, D >= 2) in any square picture and score (N, copies, T, J) of one person."""
        every = points[..., None, :, :2].reshape(-1, *points.shape[2:3], 1, *points.shape[3:4], 2)
        score = score[..., None, :]
        found = [in_square(*one) for one in zip(every, score.reshape(every.shape[:-1]), strict=True)]
        return cls(np.stack(found).reshape(*score.shape, 2), score, labels)

    def draw(self, config: Config, numbers: Sequence[int], batch: int, rng: np.random.Generator) -> Batch:
        """A training batch of these clips, as `config` reads it."""
        chosen, copies = chosen_copies(self.labels, numbers, self.points.shape[1], batch, rng)
        share = rng.uniform(_LEAST_SHARE, 1, (batch, 1, 1, 1, 2))
        points = (self.points[chosen, copies] - (1 - share) * rng.uniform(size=share.shape)) / share
        given = _inputs(config, points, self.score[chosen, copies])
        return {**given, "action": self.labels[chosen].astype(np.int32)}  # type: ignore[return-value,typeddict-item]

    def test(self, model: nnx.Module, numbers: Sequence[int]) -> np.ndarray:
        """The probabilities (N, A) of the classes of these clips by a network."""
        chosen = [*numbers]
        given = _inputs(model.config, self.points[chosen, 0], self.score[chosen, 0])  # type: ignore[attr-defined]
        return np.asarray(infer(model, given)["action"][-1], np.float64)


def _inputs(config: Config, points: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    """Points and scores for a PoseConv3D; for a transformer x, y about the middle and the score, 0 where missing."""
    if isinstance(config, PoseConvConfig):
        return {"points": points.astype(np.float32), "score": score.astype(np.float32)}
    known = np.concatenate([2 * points - 1, score[..., None]], -1)
    return {"points": np.where(score[..., None] > 0, known, 0).astype(np.float32)}


def in_square(points: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Points (T, M, J, 2) in units of the square about all of them whose score is above 0; see `views.person_box`."""
    there = np.where(score[..., None] > 0, points * _SIDE, 0).swapaxes(0, 1)
    seen = views.compact(views.Joints(there, score.swapaxes(0, 1), (_SIDE, _SIDE)))
    return (seen.points / np.array(seen.shape[::-1])).swapaxes(0, 1)


def poseconv(skeleton: Skeleton, shape: tuple[int, int], classes: int) -> PoseConvConfig:
    """A narrow PoseConv3D for the joints of a skeleton; `shape`: T and M."""
    sides = tuple((j, int(other)) for j, other in enumerate(skeleton.flip) if j < other)
    return PoseConvConfig(
        base=8,
        blocks=(1, 1, 1),
        num_actions=classes,
        num_joints=len(skeleton),
        num_frames=shape[0],
        num_persons=shape[1],
        sides=sides,
        size=SIZE,
        eval_size=None,
        dropout=0.2,
    )


def transformer(skeleton: Skeleton, shape: tuple[int, int], classes: int) -> SkeletonTransformerConfig:
    """A narrow transformer over the joints of a skeleton; `shape`: T and M."""
    return SkeletonTransformerConfig(
        num_frames=shape[0],
        num_persons=shape[1],
        num_joints=len(skeleton),
        width=32,
        depth=2,
        heads=2,
        num_actions=classes,
    )


class SkeletonTrainer(Trainer):
    """Trains a network on `Skeletons` from scratch."""

    def __init__(self, config: Config, steps: int, seed: int):
        optimizer = Optimizer(
            optax.adam,
            learning_rate=3e-3 if isinstance(config, PoseConvConfig) else 2e-3,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": min(20, steps // 2)},
            clip_norm=10.0 if isinstance(config, PoseConvConfig) else 1.0,
        )
        model = zoo.create(config, rngs=nnx.Rngs(seed))
        super().__init__(model, Multitask(), optimizer, steps, seed)
        self.config = config

    def train(
        self, skeletons: Skeletons, numbers: Sequence[int], batch: int, title: str, progress: bool = True
    ) -> nnx.Module:
        """A network trained on these clips, in evaluation mode. Problem if the loss is not finite."""
        return self.run(partial(skeletons.draw, self.config, numbers, batch), title, progress)


@dataclasses.dataclass(frozen=True)
class Methods:
    """The methods that see joints alone, each fitted and tested in the same folds.

    Attributes:
      clips: the joints. vectors: (N, copies, F) input of the logistic regression.
      names, classes: of the clips and of their labels.
      trainers: view of `folds.TITLES` -> what trains the network of that name.
    """

    clips: Skeletons
    vectors: np.ndarray
    names: Sequence[str]
    classes: tuple[str, ...]
    trainers: Mapping[str, SkeletonTrainer]

    @property
    def views(self) -> tuple[str, ...]:
        """The views of `figures`."""
        return ("baseline", *self.trainers)

    def figures(
        self, numbers: Sequence[int], test: Sequence[int], batch: int, title: str, progress: bool = True
    ) -> list[ActionFigure]:
        """The figures of every method, fitted on the clips `numbers` and tested on `test`; the regression is first."""
        labels, copies = self.clips.labels, self.vectors.shape[1]
        fitted = joint_regression.fit(np.concatenate(self.vectors[[*numbers]]), np.repeat(labels[[*numbers]], copies))
        found = [joint_regression.probabilities(fitted, self.vectors[[*test], 0], len(self.classes))]
        for trainer in self.trainers.values():
            model = trainer.train(self.clips, numbers, batch, title, progress)
            found.append(self.clips.test(model, test))
        said = [folds.predictions(self.names, labels, test, one) for one in found]
        return [folds.result(view, ("m",), p, len(self.classes)) for view, p in zip(self.views, said, strict=True)]
