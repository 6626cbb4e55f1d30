"""The stages of an experiment and the steps of the run that they cover."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import optax

from jaxhar.core.batch import Batch
from jaxhar.core.prepared import Prepared
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import defaults as settings_defaults
from jaxhar.host.settings import flatten
from jaxhar.nn import platform
from jaxhar.training.experiment import Experiment, Stage, Train
from jaxhar.training.step import Augment, TrainState, make_step
from jaxhar.weights import net, transfer
from jaxhar.weights.flat import by_module
from jaxhar.weights.net import Flat, Net


@dataclasses.dataclass(frozen=True)
class Part:
    """A stage with all fields filled; it covers the steps before + 1 to last."""

    name: str
    stage: Stage
    number: int
    before: int
    last: int

    def optimizer(self, net: Net) -> optax.GradientTransformation:
        """The optimizer for the parameters of a network; its schedule starts at the first step of the stage."""
        return self.stage.optimizer.build(net.params, self.stage.steps)

    def augment(self, seed: int) -> Augment | None:
        """What draws the mixtures of its batches from the seed of the run; None if it has none.

        Raises:
          Problem: they do not suit the network.
        """
        mixing, network = self.stage.mixing, self.stage.model
        if mixing is None or not mixing.active:
            return None
        mixing.check(network)

        def drawn(step: jax.Array, stream: int, batch: Batch) -> Batch:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), stream)
            return mixing(key, batch, network)

        return drawn

    def step(self, net: Net, train: Train) -> platform.jit:
        """The jitted step of a network, see `training.step.make_step`."""
        recipe, losses, optimizer = self.stage.optimizer, self.stage.losses, self.optimizer(net)
        parts, augment = recipe.accumulate, self.augment(train.seed)
        return make_step(net, losses, optimizer, recipe.frozen, parts, train.norm_groups, augment, train.recompute)

    def rate(self, step: int) -> float:
        """The learning rate at a step of the run."""
        return float(self.stage.optimizer.rate(self.stage.steps)(step - self.before - 1))


def parts(experiment: Experiment) -> list[Part]:
    """The stages in order, up to the last step of the run; at least one."""
    found: list[Part] = []
    before = 0
    for number, (name, stage) in enumerate(experiment.plan.items()):
        if not found or before < experiment.steps:
            last = min(before + stage.steps, experiment.steps)
            found.append(Part(name, stage, number, before, last))
        before += stage.steps
    return found


def check(part: Part, net: Net, data: Prepared, train: Train) -> None:
    """Problem unless optimizer, mixtures, data and network of a stage have what its settings ask for."""
    try:
        part.optimizer(net)
        part.augment(train.seed)
    except Problem as problem:
        if not part.name:
            raise
        raise type(problem)(f"stage {part.name!r}: {problem}") from problem
    data_of(data, part)
    if train.recompute:
        net.recomputing()


def data_of(data: Prepared, part: Part) -> Prepared:
    """The data of a stage; Usage with the name of the stage if it changes an unknown setting."""
    try:
        return data.changed(**part.stage.data) if part.stage.data else data
    except (TypeError, ValueError, Problem) as error:
        raise Usage(f"the data of stage {part.name!r}: {error}") from error


def networks(experiment: Experiment, found: Net) -> list[Net]:
    """The network of every stage; `found` is that of `experiment.model`. Stages of equal settings share one.

    Raises:
      Problem: the weights of a stage do not fit the next one.
    """
    made, train, plan = [(experiment.model, found)], experiment.train, parts(experiment)
    for part in plan:
        if not any(config == part.stage.model for config, _ in made):
            made.append((part.stage.model, net.create(part.stage.model, train.seed, train.mixed_precision)))
    nets = [next(one for config, one in made if config == part.stage.model) for part in plan]
    for part, before, own in zip(plan[1:], nets, nets[1:], strict=False):
        weights = _weights(before, before.params, before.stats)
        there, wanted = (
            {path: array.shape for path, array in one.items()} for one in (weights, own.params | own.stats)
        )
        transfer.check_positions(there, wanted, part.stage.model, _source(part))
        own.fitting(weights, _source(part), transfer.of_family(part.stage.model))
    return nets


def taken_over(part: Part, own: Net, before: Net, state: TrainState) -> TrainState:
    """The state of the stage before with the network `own` of this one, filled as the family's table permits."""
    weights = _weights(before, state.params, state.stats)
    fresh = own.load(weights, _source(part), transfer.of_family(part.stage.model))
    if fresh:
        print(
            f"stage {part.name!r} starts with initial values in {', '.join(by_module(fresh, own.params | own.stats))}"
        )
    return dataclasses.replace(state, params=own.params, stats=own.stats, opt=())


def _weights(net: Net, params: Flat, stats: Flat) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in net.weights(params, stats).items()}


def _source(part: Part) -> str:
    return f"the weights of the network before stage {part.name!r}"


def settings(experiment: Experiment) -> dict[str, str]:
    """Settings that must not change when a run is resumed, in the form of `jaxhar.host.settings.flatten`."""
    train = experiment.train
    flat = {
        "train.seed": str(train.seed),
        "train.mixed_precision": str(train.mixed_precision),
        "train.norm_groups": str(train.norm_groups),
    }
    for name, part in _fixed(experiment).items():
        flat |= flatten(part, name)
    if experiment.stages:
        del flat[f"stages.{list(experiment.stages)[-1]}.steps"]  # the last stage may be extended
    return flat


def check_steps(done: int, experiment: Experiment, workdir: Path, option: str = "--workdir") -> None:
    """Problem if a run has more steps behind it than the experiment has: nothing can give the network of fewer."""
    if done > experiment.steps:
        raise Problem(
            f"{workdir} holds a run of {done} steps, and now it is to have {experiment.steps}; give at least {done}, "
            f"or another {option}"
        )


def begun(flat: Mapping[str, str], experiment: Experiment, step: int) -> dict[str, str]:
    """The `settings` that affect the first `step` steps of a run, i.e. without those of later stages."""
    later = [f"stages.{part.name}." for part in parts(experiment) if part.before >= max(step, 1)]
    return {name: value for name, value in flat.items() if not name.startswith(tuple(later))}


def table(experiment: Experiment) -> list[str]:
    """Lines of a table of the stages: steps, optimizer, learning rate, frozen leaves, changes to the data."""
    rows = [("stage", "steps", "rule", "rate", "frozen", "data")]
    for part in parts(experiment):
        optimizer = part.stage.optimizer
        frozen = [pattern for pattern, factor in optimizer.table if factor == 0]
        data = ", ".join(f"{name}={value}" for name, value in part.stage.data.items())
        tried = {part.before + 1 + i * max(part.last - part.before - 1, 0) // 100 for i in range(101)}
        rates = [part.rate(step) for step in sorted(tried)]
        rate = f"{rates[0]:.3g}" if len({*rates}) == 1 else f"at most {max(rates):.3g}, at the end {rates[-1]:.3g}"
        steps = f"{part.before + 1} to {part.last}"
        rows.append((part.name, steps, optimizer.rule_name, rate, ", ".join(frozen) or "nothing", data or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def defaults(experiment: Experiment) -> dict[str, str]:
    """Default values by the names of `settings`, for runs of older versions that lack a setting."""
    found = {"train.norm_groups": str(Train.norm_groups)}
    for name, part in _fixed(experiment).items():
        found |= settings_defaults(part, name)
    return found


def _fixed(experiment: Experiment) -> dict[str, object]:
    named = {"model": experiment.model, "data": experiment.data, "losses": experiment.losses}
    stages = {f"stages.{name}": stage for name, stage in experiment.stages.items()}
    return {**named, "optimizer": experiment.optimizer, "mixing": experiment.mixing, **stages}
