"""The stages of an experiment laid end to end over the steps of a run."""

import dataclasses

import optax

from jaxhar.host.settings import flatten
from jaxhar.training.experiment import Experiment, Stage
from jaxhar.weights.net import Net


@dataclasses.dataclass(frozen=True)
class Part:
    """A stage with nothing left open, and its place in the run: the steps after `before`, up to and with `last`."""

    name: str
    stage: Stage
    number: int
    before: int
    last: int

    def optimizer(self, net: Net) -> optax.GradientTransformation:
        """For the parameters of this network; its schedule counts from the first step of the stage."""
        return self.stage.optimizer.build(net.params, self.stage.steps)

    def rate(self, step: int) -> float:
        """The learning rate of a step of the run."""
        return float(self.stage.optimizer.rate(self.stage.steps)(step - self.before - 1))


def parts(experiment: Experiment) -> list[Part]:
    """The stages in order, as far as the run goes; at least the first."""
    found: list[Part] = []
    before = 0
    for number, (name, stage) in enumerate(experiment.plan.items()):
        if not found or before < experiment.steps:
            last = min(before + stage.steps, experiment.steps)
            found.append(Part(name, stage, number, before, last))
        before += stage.steps
    return found


def settings(experiment: Experiment) -> dict[str, str]:
    """What must stay the same for a run to go on exactly, as `config.flatten` writes it."""
    named = {name: getattr(experiment, name) for name in ("model", "data", "losses", "optimizer")}
    flat = {"train.seed": str(experiment.train.seed), "train.mixed_precision": str(experiment.train.mixed_precision)}
    for name, part in named.items():
        flat |= flatten(part, name)
    for name, stage in experiment.stages.items():
        flat |= flatten(stage, f"stages.{name}")
    if experiment.stages:
        del flat[f"stages.{list(experiment.stages)[-1]}.steps"]  # the last one may be made longer
    return flat
