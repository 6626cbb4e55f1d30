"""Experiments as frozen dataclasses, and the command line's way to change one setting of them.

A file in configs/ builds real objects in `get_config()`; `--config.train.steps=10` replaces one field. A name that
does not exist is an error that says which name is nearest. Nothing heavy is imported here.
"""

import ast
import dataclasses
import difflib
import enum
import importlib.util
import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxhar.errors import Problem, Usage


@dataclasses.dataclass(frozen=True)
class Train:
    """How long and how to train.

    Attributes:
      steps: optimizer steps in all. With stages, at most so many of theirs; None for all.
      seed: of the initial weights and of the data order.
      log_every: steps averaged into one line of metrics.jsonl.
      eval_every: steps between evaluations, each followed by a checkpoint; 0 for none.
      checkpoint_every: steps between checkpoints; 0 for none but the last.
      keep_last: checkpoints kept besides the best one.
      best: name of the evaluation figure to maximise, "" to keep no best checkpoint.
      mixed_precision: compute in bfloat16; weights, statistics and losses stay float32.
      devices: local devices to spread each batch over, 0 for all of them.
    """

    steps: int | None = 1000
    seed: int = 0
    log_every: int = 10
    eval_every: int = 0
    checkpoint_every: int = 500
    keep_last: int = 2
    best: str = ""
    mixed_precision: bool = False
    devices: int = 0

    def __post_init__(self) -> None:
        for name, low in {"steps": 0, "log_every": 1, "eval_every": 0, "checkpoint_every": 0, "keep_last": 1}.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise Usage(f"train.{name} is {value}; it must be at least {low}")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run. What it leaves open is the experiment's.

    Attributes:
      steps: its length.
      optimizer: begins anew with the stage, as does its schedule; its table says what is frozen.
      losses: in place of the experiment's.
      data: fields of the experiment's data that differ, those that say what a batch is made of, e.g.
        {"clips_per_batch": 0, "stills_per_batch": 24}.
    """

    steps: int
    optimizer: Any = None
    losses: Any = None
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise Usage(f"the steps of a stage are {self.steps}; they must be at least 1")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How a further data set is evaluated; fields as those of `Experiment`."""

    metrics: tuple[Any, ...] = ()
    protocols: tuple[str, ...] = ("single",)
    published: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything a run needs.

    Attributes:
      name: also the default working directory, runs/<name>.
      model: the network's frozen Config (`jaxhar.zoo.config`).
      data: a data set object with `prepare(workdir)`, e.g. `jaxhar.data.penn.Penn`.
      losses: callable (preds, batch) -> dict of (B,) terms, e.g. `jaxhar.losses.Multitask`.
      optimizer: `jaxhar.optim.Optimizer`.
      train: schedule of the loop.
      stages: name -> `Stage`, one after the other; none for one stage of `train.steps`.
      metrics: metric objects for `jaxhar.evaluate`.
      protocols: names of the evaluation protocols to run at the end, "single" and "multi".
      eval_batch: clips per evaluation batch.
      init_from: model checkpoint to start from, or None. It must fit exactly, except that a pose network's, or that of
        an action network with other classes, starts what it can; what then stays at its initial values is printed.
      published: the figures to compare with, printed in the report: `jaxhar.scores.Published`, or a sentence each.
      also: name of another set of a `jaxhar.data.mixed.Mixed` -> how it is evaluated at the end, into its own folder.
      banner: printed first; for a demo, what it is and how to run the real thing.
    """

    name: str
    model: Any
    data: Any
    losses: Any
    optimizer: Any
    train: Train = Train()
    stages: Mapping[str, Stage] = dataclasses.field(default_factory=dict)
    metrics: tuple[Any, ...] = ()
    protocols: tuple[str, ...] = ("single",)
    eval_batch: int = 8
    init_from: str | None = None
    published: tuple[Any, ...] = ()
    also: Mapping[str, Evaluation] = dataclasses.field(default_factory=dict)
    banner: str = ""

    @property
    def plan(self) -> dict[str, Stage]:
        """The stages with nothing left open; "" is the name of a single one.

        Usage if `train.steps` is missing, or more than they have.
        """
        stages = self.stages or {"": Stage(self.train.steps or 1)}
        total = sum(stage.steps for stage in stages.values())
        if self.train.steps is None and not self.stages:
            raise Usage("train.steps is None: without stages it must say how long to train")
        if self.stages and (self.train.steps or 0) > total:
            raise Usage(f"train.steps is {self.train.steps}, but the stages have {total}; set their own steps")
        return {
            name: dataclasses.replace(s, optimizer=s.optimizer or self.optimizer, losses=s.losses or self.losses)
            for name, s in stages.items()
        }

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        own = self.train.steps
        return own if own is not None else sum(stage.steps for stage in self.plan.values())


def load(spec: str) -> Experiment:
    """Runs `get_config()` of a config file; "configs/x.py:arg" passes the argument on. Usage if there is none."""
    name, _, arg = spec.rpartition(":") if ".py:" in spec else (spec, "", "")
    path = Path(name)
    if not path.is_file():
        raise Usage(f"no config file at {path}; --config takes the path of a Python file, e.g. configs/penn.py")
    module_spec = importlib.util.spec_from_file_location(f"jaxhar_config_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise Usage(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Problem:
        raise
    except Exception as error:
        raise Problem(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    get_config = getattr(module, "get_config", None)
    if get_config is None:
        raise Usage(f"{path} has no function get_config()")
    if arg and not inspect.signature(get_config).parameters:
        raise Usage(f"{path} takes no argument, but got {arg!r} after the colon")
    return get_config(arg) if arg else get_config()


def pick(which: str, homes: Sequence[str], **variants: Callable[[], Experiment]) -> Experiment:
    """One of a config file's experiments by the word after its colon.

    Without a word it is "paper" if all folders `homes` are in $JAXHAR_DATA, else "demo", which says so first. Usage
    for another word.
    """
    home = os.environ.get("JAXHAR_DATA")
    found = bool(home) and all((Path(str(home)) / name).is_dir() for name in homes)
    which = which or ("paper" if found else "demo")
    if which not in variants:
        raise Usage(f"there is no experiment :{which}; there are only {', '.join(f':{name}' for name in variants)}")
    experiment = variants[which]()
    if which != "demo":
        return experiment
    names = ", ".join(homes)
    banner = (
        "EMBEDDED DEMO: a narrow network learns from generated data.\n"
        f"For the paper's experiment put {names} into one folder, name it in JAXHAR_DATA, and choose :paper.\n"
    )
    return dataclasses.replace(experiment, banner=banner)


def override(experiment: Any, changes: Mapping[str, str]) -> Any:
    """A copy with dotted fields replaced by values parsed from text, e.g. {"train.steps": "10"}.

    Text is read as the field's declared type: numbers, true/false, None, tuples and dicts as Python literals, and for
    a field holding an optax function its name in optax. Raises Usage for an unknown name or an unfit value.
    """
    for key, text in changes.items():
        experiment = _replace(experiment, key.split("."), text, key)
    return experiment


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Dotted name -> printed value of every setting in nested dataclasses, for comparing two configurations.

    Fields with metadata {"free": True} are left out: those that change no result, such as a path or a thread count.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if not f.metadata.get("free")}
    elif isinstance(value, Mapping):
        items = {str(k): v for k, v in value.items()}
    else:
        return {prefix: _describe(value)}
    flat: dict[str, str] = {}
    for name, item in items.items():
        flat |= flatten(item, f"{prefix}.{name}" if prefix else name)
    return flat


def check_same(saved: Mapping[str, str], now: Mapping[str, str], workdir: str, option: str = "--workdir") -> None:
    """Raises Problem with the differences between two `flatten`ed configurations of one run in `workdir`."""
    names = [name for name in sorted(saved.keys() | now.keys()) if saved.get(name) != now.get(name)]
    if names:
        changes = "; ".join(f"{n} was {saved.get(n, 'absent')}, now {now.get(n, 'absent')}" for n in names[:5])
        more = f"; and {len(names) - 5} more" if len(names) > 5 else ""
        raise Problem(
            f"{workdir} holds a run with other settings ({changes}{more}); use the same ones to go on, "
            f"or another {option}"
        )


def _describe(value: Any) -> str:
    """A text that is the same in every process: functions by name, other objects by class, never by address."""
    if hasattr(value, "func") and hasattr(value, "keywords"):
        options = ", ".join(f"{k}={_describe(v)}" for k, v in sorted(value.keywords.items()))
        return f"{_describe(value.func)}({options})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    return f"{type(value).__module__}.{type(value).__qualname__}" if " at 0x" in text else text


def _replace(owner: Any, names: list[str], text: str, key: str) -> Any:
    name, rest = names[0], names[1:]
    where = ".".join(key.split(".")[: -len(names)]) or "the experiment"
    if isinstance(owner, Mapping):
        if rest and name in owner:
            return {**owner, name: _replace(owner[name], rest, text, key)}
        if any(dataclasses.is_dataclass(item) for item in owner.values()):
            raise Usage(f"--config.{key}: {where} has {', '.join(owner)}; name one of them and a setting of it")
        if rest:
            raise Usage(f"--config.{key}: {where} has no nested settings")
        return {**owner, name: _literal(text)}
    if not dataclasses.is_dataclass(owner):
        raise Usage(f"--config.{key}: {where} is {_describe(owner)} and has no settings")
    fields = [f.name for f in dataclasses.fields(owner) if f.init]
    if name not in fields:
        near = difflib.get_close_matches(name, fields, 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise Usage(f"--config.{key}: {where} has no {name!r}; {hint}it has {', '.join(fields)}")
    current = getattr(owner, name)
    value = _replace(current, rest, text, key) if rest else _parse(text, current, _annotation(owner, name), key)
    try:
        return dataclasses.replace(owner, **{name: value})  # type: ignore[type-var]
    except (TypeError, ValueError) as error:
        raise Usage(f"--config.{key}={text}: {error}") from error


def _annotation(owner: Any, name: str) -> Any:
    try:
        return typing.get_type_hints(type(owner)).get(name, Any)
    except NameError:  # a name imported for type checkers only
        return Any


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _parse(text: str, current: Any, annotation: Any, key: str) -> Any:
    """`text` as the declared type, or as the type of the current value where the declaration leaves it open."""
    allowed = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if text == "None" and (type(None) in allowed or (annotation is Any and current is None)):
        return None
    kinds = [a for a in allowed if a is not type(None)]
    if Any in kinds or not kinds:
        kinds = [type(current)] if current is not None else []
    if callable(current) and not isinstance(current, type) and not dataclasses.is_dataclass(current):
        return _optax(text, key)
    if dataclasses.is_dataclass(current):
        fields = ", ".join(f.name for f in dataclasses.fields(current))
        raise Usage(f"--config.{key}={text}: set one of its own settings instead, --config.{key}.NAME: {fields}")
    for kind in kinds:
        try:
            return _as(kind, text)
        except (ValueError, SyntaxError, TypeError, KeyError):
            continue
    if not kinds:
        return _literal(text)
    names = " or ".join(k.__name__ if isinstance(k, type) else str(k) for k in kinds)
    raise Usage(f"--config.{key}={text}: expected {names}, as in the current value {current!r}")


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _as(annotation: Any, text: str) -> Any:
    """`text` as one type; ValueError, SyntaxError, TypeError or KeyError if it is not one."""
    kind = typing.get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind[text.upper()] if text.upper() in kind.__members__ else kind(text)
    if kind is bool:
        return {"true": True, "false": False}[text.lower()]
    if kind in (str, Path):
        return kind(text)
    if kind is int:
        return int(text.replace("_", ""))
    if kind is float:
        return float(text)
    value = ast.literal_eval(text)
    if kind is tuple and isinstance(value, tuple | list):
        items = [a for a in typing.get_args(annotation) if a is not ...]
        if len(items) > 1 and len(items) != len(value):
            raise ValueError(f"{len(items)} values expected")
        items = items * len(value) if len(items) == 1 else items
        return (
            tuple(_as(a, v if isinstance(v, str) else repr(v)) for a, v in zip(items, value, strict=True))
            if items
            else tuple(value)
        )
    if not isinstance(value, kind):
        raise TypeError(f"not a {kind}")
    return value


def _optax(name: str, key: str) -> Any:
    import optax

    found = getattr(optax, name, None) if not name.startswith("_") else None
    if callable(found):
        return found
    known = [n for n in dir(optax) if not n.startswith("_") and callable(getattr(optax, n))]
    near = difflib.get_close_matches(name, known, 1, 0.3)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise Usage(f"--config.{key}={name}: optax has no such function{hint}")
