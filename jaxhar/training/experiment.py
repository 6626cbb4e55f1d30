"""Experiments as frozen dataclasses, loaded from config files, with changes from the command line.

A file in configs/ builds an `Experiment` in `get_config()`; `--config.train.steps=10` changes one field. An unknown
name is an error that suggests the most similar one.
"""

import dataclasses
import importlib.util
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxhar.core.family import Transfer
from jaxhar.core.network import NetworkConfig
from jaxhar.core.prepared import Prepared
from jaxhar.evaluation.evaluate import Eval
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import override
from jaxhar.training.augment import Mixing
from jaxhar.training.loggers import NAMED, Logger, TensorBoard
from jaxhar.training.losses import fitted
from jaxhar.training.optim import Optimizer
from jaxhar.training.step import Losses


class Data(Protocol):
    """What an experiment asks of the settings of its data."""

    def prepare(self, workdir: Path) -> Prepared:
        """The data, ready to stream."""


@dataclasses.dataclass(frozen=True)
class Train:
    """How long and how to train.

    Attributes:
      steps: total number of optimizer steps. With stages, an upper limit; None for all stages.
      seed: random seed of the initial weights and the data order.
      log_every: number of steps averaged in one line of metrics.jsonl.
      eval_every: steps between evaluations, each followed by a checkpoint; 0 for none.
      checkpoint_every: steps between checkpoints; 0 for only the last one.
      keep_last: number of latest checkpoints to keep, besides the best one.
      best: name of the score of the first evaluation by which the best checkpoint is chosen; larger is better, or
        smaller with a "-" in front, e.g. "-mpjpe"; "" to keep no best checkpoint.
      calibrate: fit temperatures of the confidences on the split of the first evaluation, see
        `jaxhar.evaluation.calibration`; they are kept with the best checkpoint, and `jaxhar predict` uses them.
      mixed_precision: compute in bfloat16; weights, statistics and losses stay float32.
      devices: number of devices of each process over which a batch is split; 0 for all.
      norm_groups: number of groups of each batch whose normalisation statistics are computed apart, as the processes of
        a run in PyTorch do; 1 for statistics of the whole batch, whatever the number of devices and processes.
      loggers: further outputs for the metrics besides metrics.jsonl: functions (working directory, last completed step)
        -> `jaxhar.training.loggers.Logger`.
      log: name of one more of them: "wandb" for Weights & Biases, "" for none.
      recompute: keep only what goes into and out of each block of the network for the backward pass, and compute the
        rest again there: less memory for one more forward pass. The values are the same.
    """

    steps: int | None = 1000
    seed: int = 0
    log_every: int = 10
    eval_every: int = 0
    checkpoint_every: int = 500
    keep_last: int = 2
    best: str = ""
    calibrate: bool = False
    mixed_precision: bool = False
    devices: int = 0
    norm_groups: int = 1
    loggers: tuple[Callable[[Path, int], Logger], ...] = (TensorBoard,)
    log: str = ""
    recompute: bool = False

    def __post_init__(self) -> None:
        lowest = {"steps": 0, "log_every": 1, "eval_every": 0, "checkpoint_every": 0, "keep_last": 1, "norm_groups": 1}
        for name, low in lowest.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise Usage(f"train.{name} is {value}; it must be at least {low}")
        if self.log and self.log not in NAMED:
            raise Usage(f"train.log is {self.log!r}; it must be {' or '.join(NAMED)}, or empty")
        # "authors" is the old word for deephar in names of scores
        best = self.best.replace("authors'", "deephar's").replace("authors", "deephar")
        object.__setattr__(self, "best", best)

    @property
    def outputs(self) -> tuple[Callable[[Path, int], Logger], ...]:
        """`loggers` and that of `log`."""
        return (*self.loggers, NAMED[self.log]) if self.log else self.loggers

    def goodness(self, figures: Mapping[str, float]) -> float | None:
        """The value of `best`, negated if smaller is better; None if `best` is "". Problem for an unknown score."""
        if not self.best:
            return None
        name = self.best.removeprefix("-")
        if name not in figures:
            raise Problem(f"train.best is {self.best!r}, but the evaluation gives {', '.join(sorted(figures))}")
        return -float(figures[name]) if self.best.startswith("-") else float(figures[name])


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run. A field that is None takes the experiment's value.

    Attributes:
      steps: number of steps.
      optimizer: its state is fresh in each stage, and its schedule counts from the stage's first step; a multiplier of
        0 in its table freezes a leaf. `--config.optimizer.*` does not change it.
      losses: losses of the stage.
      data: changes to settings of the data that affect batches, e.g. {"clips_per_batch": 0, "stills_per_batch": 24}.
      model: settings of its network, where that is another one, e.g. of a pretraining. The next stage takes over the
        weights that the table of its network's family lets it; the others start fresh.
      mixing: mixtures of its clips.
    """

    steps: int
    optimizer: Any = None
    losses: Any = None
    data: Mapping[str, object] = dataclasses.field(default_factory=dict)
    model: Any = None
    mixing: Mixing | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise Usage(f"the steps of a stage are {self.steps}; they must be at least 1")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Variants of an experiment, which are run one after the other with several seeds, and compared in one report.

    Attributes:
      arms: name -> a function from the experiment to the variant.
      seeds: number of seeds of each, from `train.seed` on.
      view: a view of the first evaluation; its accuracies are compared.
    """

    arms: Mapping[str, Callable[["Experiment"], "Experiment"]]
    seeds: int = 3
    view: str = "single"

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise Usage(f"compare.seeds is {self.seeds}; it must be at least 1")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All settings of a run.

    Attributes:
      name: name of the experiment; the default working directory is runs/NAME.
      model: the network's frozen Config (`jaxhar.zoo.config`); with stages of several networks, that of the last one.
      data: a data set object with `prepare(workdir)`, e.g. `jaxhar.data.penn.Penn`.
      losses: callable (preds, batch) -> dict of (B,) terms, e.g. `jaxhar.training.losses.multitask.Multitask`.
      optimizer: `jaxhar.training.optim.Optimizer`.
      train: length, evaluation and checkpoints of the training.
      stages: name -> `Stage`, in order; empty for a single stage of `train.steps` steps.
      evals: name -> `jaxhar.evaluation.evaluate.Eval`. The report of the first one is in the working directory, and its
        first view is also evaluated during training; the others have a folder with their name.
      init_from: model checkpoint to start from, or None. Layers without matching weights start fresh and are listed.
      init_table: renames and permitted differences for `init_from`; None for those of the network's family, which only
        permit heads for other classes to differ.
      then: called with the working directory at the end of a run, e.g. to train classes of one's own on its network.
      banner: printed first; for a demo, what it is and how to run the real thing.
      mixing: mixup, CutMix, random erasing and label smoothing in the training step.
      compare: variants that are run and compared in place of the experiment itself.
    """

    name: str
    model: NetworkConfig
    data: Data
    losses: Losses
    optimizer: Optimizer
    train: Train = Train()
    stages: Mapping[str, Stage] = dataclasses.field(default_factory=dict)
    evals: Mapping[str, Eval] = dataclasses.field(default_factory=dict)
    init_from: str | None = None
    init_table: Transfer | None = None
    then: Callable[[Path], object] | None = None
    banner: str = ""
    mixing: Mixing = Mixing()
    compare: Comparison | None = None

    @property
    def plan(self) -> dict[str, Stage]:
        """The stages with all fields filled; a single stage has the name "".

        Losses that depend on the network (`jaxhar.training.losses.OfNetwork`) are those of the stage's network.

        Raises:
          Usage: `train.steps` is missing or larger than the sum of the stages; losses are no function.
          Problem: losses do not fit the network of their stage.
        """
        stages = self.stages or {"": Stage(self.train.steps or 1)}
        total = sum(stage.steps for stage in stages.values())
        if self.train.steps is None and not self.stages:
            raise Usage("train.steps is None: without stages it must say how long to train")
        if self.stages and (self.train.steps or 0) > total:
            raise Usage(f"train.steps is {self.train.steps}, but the stages have {total}; set their own steps")
        for name, losses in {"": self.losses, **{name: stage.losses for name, stage in self.stages.items()}}.items():
            if losses is not None and not callable(losses):
                where = f"stages.{name}.losses" if name else "losses"
                raise Usage(
                    f"{where} is {losses!r}, which is no function of predictions and a batch: change it in the config "
                    "file, e.g. to Multitask() of jaxhar.training.losses.multitask, or one of its settings, "
                    f"{where}.NAME"
                )
        return {
            name: dataclasses.replace(
                s,
                optimizer=s.optimizer or self.optimizer,
                losses=fitted(s.losses or self.losses, s.model or self.model),
                model=s.model or self.model,
                mixing=self.mixing if s.mixing is None else s.mixing,
            )
            for name, s in stages.items()
        }

    @property
    def steps(self) -> int:
        """Total number of optimizer steps."""
        steps = self.train.steps
        return steps if steps is not None else sum(stage.steps for stage in self.plan.values())


def load(spec: str, changes: Mapping[str, str] | None = None) -> Experiment:
    """The experiment of a config file, "configs/x.py" or "configs/x.py:arg", with some settings changed.

    Prints a note for changes that do not affect some stages because these have their own value.

    Args:
      changes: dotted name -> value as text, see `jaxhar.host.settings.override`. For a field of a stage that is None,
        e.g. stages.pose.optimizer.learning_rate, a copy of the experiment's value is changed.

    Raises:
      Usage: no such file or function, an unknown name or an invalid value.
    """
    experiment = _from_file(spec)
    for note in unreached(experiment, changes or {}):
        print(note)
    return changed(experiment, changes or {})


def changed(experiment: Experiment, changes: Mapping[str, str]) -> Experiment:
    """The experiment with some settings changed; arguments and errors as of `load`."""
    of_stages = {key: text for key, text in changes.items() if key.startswith("stages.")}
    experiment = override(experiment, {key: text for key, text in changes.items() if key not in of_stages})
    for key in of_stages:
        match key.split("."):
            case ["stages", name, ("optimizer" | "losses" | "mixing") as field, _, *_] if name in experiment.stages:
                stage = experiment.stages[name]
                if vars(stage)[field] is None:
                    copy: Any = vars(experiment)[field]
                    stages = {**experiment.stages, name: dataclasses.replace(stage, **{field: copy})}
                    experiment = dataclasses.replace(experiment, stages=stages)
    return override(experiment, of_stages)


def unreached(experiment: Experiment, changes: Mapping[str, str]) -> list[str]:
    """A sentence for every changed setting for which some stages have their own value."""
    notes = []
    for key in changes:
        part, _, rest = key.partition(".")
        stages = experiment.stages.items()
        if part in ("optimizer", "losses", "mixing"):
            unaffected = [name for name, stage in stages if vars(stage)[part] is not None]
        elif part == "data":
            unaffected = [name for name, stage in stages if rest.split(".")[0] in stage.data]
        else:
            continue
        if unaffected:
            example = f"--config.stages.{unaffected[0]}.{key}"
            names = ", ".join(unaffected)
            notes.append(f"--config.{key} does not affect {names}, which has its own value; use {example}")
    return notes


def _from_file(spec: str) -> Experiment:
    name, colon, arg = spec.partition(".py:")
    path = Path(f"{name}.py" if colon else name)
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
    """An experiment of a config file by the argument after the colon; Usage for an unknown one.

    Without an argument it is "paper" if all folders `homes` exist in $JAXHAR_DATA, else "demo", which prints a banner.
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
    real = "paper" if "paper" in variants else next(name for name in variants if name != "demo")
    banner = (
        "EMBEDDED DEMO: a narrow network learns from generated data.\n"
        f"For the paper's experiment put {names} into one folder, name it in JAXHAR_DATA, and choose :{real}.\n"
    )
    return dataclasses.replace(experiment, banner=banner)
