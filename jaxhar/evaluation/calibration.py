"""Fits the temperatures of a network's confidences on a split, and says what they gain."""

from dataclasses import dataclass

import numpy as np
from flax import nnx
from scipy.optimize import minimize_scalar

from jaxhar.core.calibration import Calibration, of_actions, of_joints
from jaxhar.core.prepared import Prepared
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.action import scores_of_data
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import log_softmax
from jaxhar.evaluation.pose import Pose, judge, judged
from jaxhar.evaluation.reliability import Reliability
from jaxhar.host.errors import Problem

#: Lowest and highest temperature.
_RANGE = 0.05, 20.0
#: Least probability in a logarithm.
_LEAST = 1e-12


@dataclass(frozen=True)
class Fit:
    """A fitted temperature.

    Attributes:
      temperature: fitted on all answers.
      before, after: expected calibration error without a temperature, and with temperatures fitted on the other half of
        the sequences than those on which it is measured.
      count: number of answers.
    """

    temperature: float
    before: float
    after: float
    count: int

    def sentence(self, what: str) -> str:
        """What was gained; `what` names the answers."""
        return (
            f"{what}: temperature {self.temperature:.2f}, calibration error {self.before:.1%} before and "
            f"{self.after:.1%} after (each half of {self.count:,} answers with the temperature of the other half)"
        )


@dataclass(frozen=True)
class Answers:
    """Probabilities and what was right, of N answers.

    Attributes:
      values: (N,) probabilities of joints, or (N, A) of classes.
      right: (N,) whether each joint was a hit, or the true class.
      sequence: (N,) the sequence that each is from.
    """

    values: np.ndarray
    right: np.ndarray
    sequence: np.ndarray

    def part(self, mask: np.ndarray) -> "Answers":
        return Answers(self.values[mask], self.right[mask], self.sequence[mask])

    def cost(self, temperature: float) -> float:
        """Mean negative log-likelihood with this temperature."""
        if self.values.ndim == 1:
            p = of_joints(self.values, temperature).astype(np.float64)
            return float(-np.log(np.maximum(np.where(self.right, p, 1 - p), _LEAST)).mean())
        p = of_actions(self.values, temperature).astype(np.float64)
        return float(-np.log(np.maximum(p[np.arange(len(p)), self.right], _LEAST)).mean())

    def reliability(self, temperature: float) -> Reliability:
        """Of the answers with this temperature."""
        if self.values.ndim == 1:
            return Reliability.of(of_joints(self.values, temperature), self.right)
        p = of_actions(self.values, temperature)
        return Reliability.of(p.max(-1), p.argmax(-1) == self.right)

    def best(self) -> float:
        """The temperature of least `cost`."""
        low, high = np.log(_RANGE)
        return float(np.exp(minimize_scalar(lambda t: self.cost(np.exp(t)), bounds=(low, high), method="bounded").x))


def fit(answers: Answers) -> Fit:
    """The temperature of some answers; Problem unless they are of two sequences at least."""
    odd = np.unique(answers.sequence, return_inverse=True)[1] % 2 == 1
    if odd.all() or not odd.any():
        raise Problem("a temperature is fitted on answers of two sequences at least; this split has fewer")
    halves = answers.part(odd), answers.part(~odd)
    crossed = [one.reliability(other.best()) for one, other in (halves, halves[::-1])]
    before, after = answers.reliability(1.0).error, crossed[0].merge(crossed[1]).error
    return Fit(answers.best(), before, after, len(answers.right))


def of_data(
    model: nnx.Module, prepared: Prepared, plan: Eval, classes: tuple = ()
) -> tuple[Calibration, dict[str, Fit]]:
    """Temperatures from the first view of an evaluation, and their fits by name: joints, actions.

    Joints are right where the plan's first PCK counts a hit. Classes are those of the last head, for each clip. `model`
    and `classes` are as in `evaluate.run`. Without joint probabilities, or classes, their temperature is 1.
    """
    prepared, split, views = evaluate.views_of(plan, prepared)
    context = evaluate.context_of(prepared, split, views, views[0], model, classes)
    metric = judge([one for scorer in plan.scorers if isinstance(scorer, Pose) for one in scorer.metrics])
    joints: list[Answers] = []
    actions: list[Answers] = []
    reads = ("pose", "visible", "action")
    for number, (example, preds) in enumerate(
        evaluate.predictions(model, prepared, split, views[0], reads, plan.batch, False)
    ):
        sequence = int(example.get("sequence", number))
        if metric and context.skeleton and {"pose", "visible"} <= preds.keys() and {"pose", "norm"} <= example.keys():
            valid = example["valid"][..., :2].all(-1)
            joints.append(_answers(*judged(metric, example, preds, valid, context.skeleton), sequence))
        if "action" in preds and int(example.get("action", -1)) >= 0:
            logits, _ = scores_of_data(preds["action"], context)
            if logits is not None:
                probabilities = np.exp(log_softmax(logits[-1]))[None]
                actions.append(_answers(probabilities, np.array([int(example["action"])]), sequence))
    fits = {name: fit(_together(found)) for name, found in (("joints", joints), ("actions", actions)) if found}
    return Calibration(**{name: found.temperature for name, found in fits.items()}), fits


def _answers(values: np.ndarray, right: np.ndarray, sequence: int) -> Answers:
    return Answers(values, right, np.full(len(right), sequence))


def _together(parts: list[Answers]) -> Answers:
    return Answers(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.sequence for part in parts]),
    )
