"""Optimizers: an optax rule, a schedule, clipping, and tables of learning-rate multipliers and weight decay.

Parameters are flat dicts of dotted path -> array (`step.TrainState`), so the table's patterns are matched
against the same names that checkpoints use.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from jaxhar.host.errors import Problem, Usage

#: RMSprop as in Keras 2: epsilon stands outside the square root.
keras_rmsprop = functools.partial(optax.rmsprop, decay=0.9, eps=1e-7, eps_in_sqrt=False)
#: SGD with Nesterov momentum, as in deephar's action training.
nesterov = functools.partial(optax.sgd, momentum=0.9, nesterov=True)


def _matrices(params: optax.Params) -> optax.Params:
    """Kernels (1, 1, in, out) as matrices from inputs to outputs; None for every other leaf."""
    matrix = contrib.MuonDimensionNumbers(reduction_axis=2, output_axis=3)
    return jax.tree.map(lambda leaf: matrix if leaf.shape[:-2] == (1, 1) else None, params)


def _kernels(params: optax.Params) -> optax.Params:
    """Kernels (..., in, out) as matrices from all inputs to outputs; None for those of one input and others."""

    def matrix(leaf: jax.Array) -> contrib.MuonDimensionNumbers | None:
        if leaf.ndim < 4 or leaf.shape[-2] == 1:
            return None
        return contrib.MuonDimensionNumbers(reduction_axis=tuple(range(leaf.ndim - 1)), output_axis=leaf.ndim - 1)

    return jax.tree.map(matrix, params)


#: Muon (Jordan et al., 2024) for 1x1 convolutions, with updates of the size of Adam's; Nadam for other parameters.
muon = functools.partial(contrib.muon, consistent_rms=0.2, muon_weight_dimension_numbers=_matrices)
#: The same for convolutions of any window; benchmarks/README.md compares both, and AdamW.
muon_full = functools.partial(contrib.muon, consistent_rms=0.2, muon_weight_dimension_numbers=_kernels)


def _wide(params: optax.Params) -> optax.Params:
    """Which arrays have more than one axis."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def lars(
    momentum: float = 0.9, trust_coefficient: float = 0.001, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """LARS (You et al., 2017) for the linear layers of probes; biases get neither trust ratio nor weight decay.

    As in mae, and unlike `optax.lars`, the momentum is that of the gradients, not of steps at the rates of their time.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=_wide),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), _wide),
        optax.trace(decay=momentum),
    )


#: Argument names for the base learning rate in schedules, in order of preference.
_RATE_NAMES = ("peak_value", "init_value", "value", "learning_rate")
#: Argument names for the length in schedules.
_LENGTH_NAMES = ("decay_steps", "transition_steps", "steps")

#: (pattern, value) pairs: a parameter gets the value of the first pattern that matches its full dotted path.
Table = tuple[tuple[str, float], ...]

Leaves = dict[str, jax.Array]
Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Settings of an optimizer, built as an optax chain.

    Attributes:
      rule: optax factory, e.g. `optax.adamw` or `keras_rmsprop`. It gets the learning rate as argument
        `learning_rate`; a rule without it, e.g. `optax.scale_by_adam`, is scaled by the learning rate afterwards.
      options: further keyword arguments of the rule.
      learning_rate: base learning rate, passed to the schedule as `peak_value`, `init_value`, `value` or
        `learning_rate`, the first of these arguments that it has.
      schedule: schedule factory of optax, or your own. Its length (`decay_steps`, `transition_steps` or `steps`) is
        that of the stage unless it is in `schedule_options`.
      schedule_options: further keyword arguments of the schedule, e.g. {"boundaries_and_scales": {800: 0.2}}.
      clip_norm: maximum global norm of the gradients of the trained leaves; None for no clipping.
      table: learning-rate multipliers by path; 0 freezes the leaf, and with it the running statistics of its module.
      decay: weight decay by path; () for no decay besides that of the rule.
      decoupled: whether decay acts on the update, times the learning rate (AdamW); False adds it to the gradient (L2).
      accumulate: number of parts into which a batch is split to save memory; their gradients are averaged before the
        update. Batch norms use the statistics of each part.
    """

    rule: Callable[..., optax.GradientTransformation] = keras_rmsprop
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    learning_rate: float = 1e-3
    schedule: Callable[..., optax.Schedule] = optax.constant_schedule
    schedule_options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    clip_norm: float | None = None
    table: Table = ((".*", 1.0),)
    decay: Table = ()
    decoupled: bool = True
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise Usage(f"optimizer.accumulate is {self.accumulate}; it must be at least 1")

    @property
    def rule_name(self) -> str:
        """Name of the rule, for display."""
        return _name(self.rule)

    def rate(self, steps: int) -> optax.Schedule:
        """The learning rate at each step of a stage of `steps` steps, counted from 0."""
        arguments = _parameters(self.schedule)
        options = dict(self.schedule_options)
        rate_name = next((n for n in _RATE_NAMES if n in arguments), None)
        if rate_name is None:
            raise Problem(
                f"{_name(self.schedule)} cannot be the optimizer's schedule: it takes no rate to start from; give it "
                f"an argument of one of the names {', '.join(_RATE_NAMES)} and, if it depends on the stage's length, "
                f"one of {', '.join(_LENGTH_NAMES)}"
            )
        options.setdefault(rate_name, self.learning_rate)
        if rate_name == "peak_value":
            options.setdefault("init_value", 0.0)
        for name in _LENGTH_NAMES:
            if name in arguments:
                options.setdefault(name, max(steps, 1))
        try:
            return _call(self.schedule, (), options, "schedule_options")
        except ValueError as error:  # e.g. a warm-up longer than the run
            raise Problem(f"optimizer.schedule does not fit a run of {steps} steps: {error}") from error

    def build(self, paths: Iterable[str], steps: int) -> optax.GradientTransformation:
        """The optax chain for a flat dict of parameters with these paths, and a stage of `steps` steps.

        Raises Problem for a path that no pattern matches, a pattern that is never used, and options that the rule does
        not have.
        """
        paths = list(paths)
        scales = self.multipliers(paths)
        decays = self.decays(paths)
        frozen = {path: scale == 0 for path, scale in scales.items()}
        rate = self.rate(steps)
        parts = []
        if any(frozen.values()):
            # First in the chain, so that frozen leaves do not count in the gradient norm.
            parts.append(optax.masked(optax.set_to_zero(), frozen))
        if self.clip_norm is not None:
            parts.append(optax.clip_by_global_norm(self.clip_norm))
        if decays and not self.decoupled:
            parts.append(_add_decay(decays, lambda count: 1.0))
        if not {"learning_rate", "lr"} & {*_parameters(self.rule)}:
            parts.append(_call(self.rule, (), dict(self.options), "options"))
            parts.append(optax.scale_by_learning_rate(rate))
        else:
            parts.append(_call(self.rule, (rate,), dict(self.options), "options"))
        if decays and self.decoupled:
            parts.append(_add_decay(decays, lambda count: -rate(count)))
        if any(scale != 1 for scale in scales.values()):
            # Last, so that it also applies to weight decay.
            parts.append(optax.stateless(lambda updates, _: {k: u * scales[k] for k, u in updates.items()}))
        return optax.chain(*parts)

    def multipliers(self, paths: Iterable[str]) -> dict[str, float]:
        """The learning-rate multiplier of every path; Problem for unmatched paths and unused patterns."""
        return _decide(self.table, paths, "table")

    def decays(self, paths: Iterable[str]) -> dict[str, float]:
        """The weight decay of every path, {} without any; Problem for unmatched paths and unused patterns."""
        return _decide(self.decay, paths, "decay") if self.decay else {}

    def frozen(self, path: str) -> bool:
        """Whether the parameter or running statistic at this path is frozen; False if no pattern matches."""
        match = _first(self.table, path)
        return match is not None and match[1] == 0


def _first(table: Table, path: str) -> tuple[str, float] | None:
    return next((entry for entry in table if re.fullmatch(entry[0], path)), None)


def _decide(table: Table, paths: Iterable[str], field: str) -> dict[str, float]:
    """The value of every path; Problem for unmatched paths and unused patterns."""
    values: dict[str, float] = {}
    unused = {pattern for pattern, _ in table}
    last = 1.0 if field == "table" else 0.0
    for pattern in unused:
        try:
            re.compile(pattern)
        except re.error as error:
            raise Usage(f"{pattern!r} in optimizer.{field} is no regular expression: {error}") from error
    for path in paths:
        match = _first(table, path)
        if match is None:
            raise Problem(f"no pattern of optimizer.{field} matches the parameter {path}; end it with ('.*', {last})")
        values[path] = match[1]
        unused.discard(match[0])
    if unused:
        raise Problem(
            f"the pattern {min(unused)!r} of optimizer.{field} decides no parameter; "
            f"the first of their names is {min(values, default='(none)')}"
        )
    return values


def _add_decay(
    decays: Mapping[str, float], factor: Callable[[jax.Array], jax.Array | float]
) -> optax.GradientTransformation:
    """Adds `factor(step)` x weight decay x parameter to the updates."""

    def update(
        updates: Leaves, state: optax.ScaleByScheduleState, params: Any = None
    ) -> tuple[Leaves, optax.ScaleByScheduleState]:
        scale = factor(state.count)
        added = {k: u + scale * decays[k] * params[k] if decays[k] else u for k, u in updates.items()}
        return added, optax.ScaleByScheduleState(count=optax.safe_increment(state.count))

    return optax.GradientTransformation(lambda _: optax.ScaleByScheduleState(count=jnp.int32(0)), update)


#: Fast training of narrow networks in a few hundred steps, for the demos.
QUICK = Optimizer(
    muon,
    learning_rate=0.02,
    schedule=optax.warmup_cosine_decay_schedule,
    schedule_options={"warmup_steps": 20},
    clip_norm=10.0,
)
#: The same for networks of wide kernels, such as ResNets.
QUICK_FULL = dataclasses.replace(QUICK, rule=muon_full, learning_rate=0.025)


def _name(function: Callable) -> str:
    return getattr(function, "__name__", None) or _name(getattr(function, "func", type(function)))


def _parameters(function: Callable) -> list[str]:
    return list(inspect.signature(function).parameters)


def _call(function: Callable[..., Made], args: tuple, options: dict[str, object], field: str) -> Made:
    """`function(*args, **options)`, with a Problem in place of the TypeError for unknown options."""
    try:
        inspect.signature(function).bind(*args, **options)
    except TypeError as error:
        takes = ", ".join(_parameters(function)[len(args) :])
        raise Problem(
            f"{_name(function)} does not fit optimizer.{field} = {dict(options)}: {error}; it takes {takes}"
        ) from error
    return function(*args, **options)
