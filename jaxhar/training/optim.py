"""Optimizers: an optax rule, a schedule over the global step, clipping, and a table of learning-rate multipliers.

Parameters are flat dicts of dotted path -> array (`step.TrainState`), so the table's patterns are matched
against the same names that checkpoints use.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import optax
from optax import contrib

from jaxhar.host.errors import Problem

#: RMSprop as in Keras 2: epsilon stands outside the square root.
keras_rmsprop = functools.partial(optax.rmsprop, decay=0.9, eps=1e-7, eps_in_sqrt=False)
#: SGD with Nesterov momentum, the rule of the authors' action training.
nesterov = functools.partial(optax.sgd, momentum=0.9, nesterov=True)


def _matrices(params: Any) -> Any:
    """Kernels (1, 1, in, out) as matrices from inputs to outputs; None for every other leaf."""
    matrix = contrib.MuonDimensionNumbers(reduction_axis=2, output_axis=3)
    return jax.tree.map(lambda leaf: matrix if leaf.shape[:-2] == (1, 1) else None, params)


#: Muon (Jordan et al., 2024) for 1x1 convolutions, with updates of Adam's size; Nadam for all else.
muon = functools.partial(contrib.muon, consistent_rms=0.2, muon_weight_dimension_numbers=_matrices)

#: Names under which optax schedules take the base learning rate, in the order they are looked for.
_RATE_NAMES = ("peak_value", "init_value", "value")
#: Names under which optax schedules take their length.
_LENGTH_NAMES = ("decay_steps", "transition_steps")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A recipe for an optax chain.

    Attributes:
      rule: optax factory whose first argument is the learning rate, e.g. `optax.adamw` or `keras_rmsprop`.
      options: further keyword arguments of the rule.
      learning_rate: base rate; where the schedule has a peak it is the peak.
      schedule: optax schedule factory; its rate argument is `learning_rate`, and its length (decay_steps or
        transition_steps) is the length of the run unless `schedule_options` says otherwise.
      schedule_options: further keyword arguments of the schedule, e.g. {"boundaries_and_scales": {800: 0.2}}.
      clip_norm: largest global norm of the gradients of the trained leaves; None for no clipping.
      table: (pattern, multiplier) pairs. The first pattern that matches a whole dotted parameter path decides its
        learning-rate multiplier; 0 freezes the leaf, and the running statistics of frozen modules with it.
    """

    rule: Callable[..., optax.GradientTransformation] = keras_rmsprop
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate: float = 1e-3
    schedule: Callable[..., optax.Schedule] = optax.constant_schedule
    schedule_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    clip_norm: float | None = None
    table: tuple[tuple[str, float], ...] = ((".*", 1.0),)

    def rate(self, steps: int) -> optax.Schedule:
        """The learning rate as a function of the global step, for a run of `steps` steps."""
        known = _parameters(self.schedule)
        options = dict(self.schedule_options)
        rate_name = next((n for n in _RATE_NAMES if n in known), None)
        if rate_name is None:
            raise Problem(f"{_name(self.schedule)} cannot be the optimizer's schedule: it takes no rate to start from")
        options.setdefault(rate_name, self.learning_rate)
        if rate_name == "peak_value":
            options.setdefault("init_value", 0.0)
        for name in _LENGTH_NAMES:
            if name in known:
                options.setdefault(name, max(steps, 1))
        try:
            return _call(self.schedule, (), options, "schedule_options")
        except ValueError as error:  # e.g. a warm-up longer than the run
            raise Problem(f"optimizer.schedule does not fit a run of {steps} steps: {error}") from error

    def build(self, paths: Iterable[str], steps: int) -> optax.GradientTransformation:
        """The chain for parameters of these dotted paths, held in a flat dict, and a run of `steps` steps.

        Raises Problem for a path that no pattern matches, a pattern that decides no path, and options that the rule
        does not take.
        """
        scales = self.multipliers(paths)
        frozen = {path: scale == 0 for path, scale in scales.items()}
        parts = []
        if any(frozen.values()):
            # First in the chain: frozen leaves must not count in the norm that is clipped.
            parts.append(optax.masked(optax.set_to_zero(), frozen))
        if self.clip_norm is not None:
            parts.append(optax.clip_by_global_norm(self.clip_norm))
        parts.append(_call(self.rule, (self.rate(steps),), dict(self.options), "options"))
        if any(scale != 1 for scale in scales.values()):
            # Last, so that weight decay inside the rule is scaled and frozen with the rest.
            parts.append(optax.stateless(lambda updates, _: {k: u * scales[k] for k, u in updates.items()}))
        return optax.chain(*parts)

    def multipliers(self, paths: Iterable[str]) -> dict[str, float]:
        """The learning-rate multiplier of every path; Problem unless paths and patterns cover each other."""
        scales: dict[str, float] = {}
        unused = {pattern for pattern, _ in self.table}
        for path in paths:
            match = self._first(path)
            if match is None:
                raise Problem(f"no pattern of optimizer.table matches the parameter {path}; end it with ('.*', 1.0)")
            scales[path] = match[1]
            unused.discard(match[0])
        if unused:
            raise Problem(
                f"the pattern {min(unused)!r} of optimizer.table decides no parameter; "
                f"the first of their names is {min(scales, default='(none)')}"
            )
        return scales

    def frozen(self, path: str) -> bool:
        """Whether the leaf at this path is kept as it is; for running statistics, which need no match."""
        match = self._first(path)
        return match is not None and match[1] == 0

    def _first(self, path: str) -> tuple[str, float] | None:
        return next((entry for entry in self.table if re.fullmatch(entry[0], path)), None)


#: `Optimizer.table` by which the pose network, with the copies of its maps that action blocks see, keeps its weights
#: and running statistics.
TRUNK_FROZEN = ((r"pose\..*", 0.0), (".*", 1.0))
#: Brings a narrow network far in a few hundred steps, as in the demos.
QUICK = Optimizer(
    muon,
    learning_rate=0.02,
    schedule=optax.warmup_cosine_decay_schedule,
    schedule_options={"warmup_steps": 20},
    clip_norm=10.0,
)


def _name(function: Callable) -> str:
    return getattr(function, "__name__", None) or _name(getattr(function, "func", type(function)))


def _parameters(function: Callable) -> list[str]:
    return list(inspect.signature(function).parameters)


def _call(function: Callable, args: tuple, options: dict[str, Any], field: str) -> Any:
    """`function(*args, **options)`, with a sentence in place of the TypeError for options it does not take."""
    try:
        inspect.signature(function).bind(*args, **options)
    except TypeError as error:
        takes = ", ".join(_parameters(function)[len(args) :])
        raise Problem(
            f"{_name(function)} does not fit optimizer.{field} = {dict(options)}: {error}; it takes {takes}"
        ) from error
    return function(*args, **options)
