import dataclasses
import enum
from pathlib import Path
from typing import Any

import optax
import pytest

from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.samples import Samples
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import flatten, override
from jaxhar.training import experiment as config
from jaxhar.training.experiment import Experiment, Stage, Train
from jaxhar.training.optim import Optimizer


class Kind(enum.Enum):
    PLAIN = "plain"
    OTHER_KIND = "other"


@dataclasses.dataclass(frozen=True)
class Inner:
    count: int = 3
    scale: float | None = None


@dataclasses.dataclass(frozen=True)
class Data:
    root: str | None = None
    folder: Path = Path("here")
    size: tuple[int, int] = (4, 5)
    scales: tuple[float, ...] = (1.0,)
    inner: Inner | None = Inner()
    absent: Inner | None = None
    anything: Any = 1
    flag: bool = False
    kind: Kind = Kind.PLAIN
    threads: int = dataclasses.field(default=2, metadata={"free": True})


EXPERIMENT = Experiment("test", model=None, data=Data(), losses=None, optimizer=Optimizer())


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.steps", "10", 10),
        ("train.steps", "10_000", 10000),
        ("optimizer.learning_rate", "1e-4", 1e-4),
        ("optimizer.learning_rate", "2", 2.0),
        ("optimizer.clip_norm", "5", 5.0),
        ("optimizer.clip_norm", "None", None),
        ("train.mixed_precision", "true", True),
        ("data.flag", "False", False),
        ("data.kind", "other", Kind.OTHER_KIND),
        ("data.kind", "other_kind", Kind.OTHER_KIND),
        ("data.root", "/some/dir", "/some/dir"),
        ("data.root", "None", None),
        ("data.folder", "there", Path("there")),
        ("data.size", "(6, 7)", (6, 7)),
        ("data.scales", "[0.5, 2]", (0.5, 2.0)),
        ("data.inner.count", "9", 9),
        ("data.inner.scale", "0.5", 0.5),
        ("data.inner", "None", None),
        ("data.anything", "7", 7),
        ("optimizer.rule", "adamw", optax.adamw),
        ("optimizer.schedule", "cosine_decay_schedule", optax.cosine_decay_schedule),
        ("optimizer.options", "{'b1': 0.5}", {"b1": 0.5}),
        ("optimizer.table", "(('a.*', 0), ('.*', 1))", (("a.*", 0.0), (".*", 1.0))),
        ("init_from", "runs/penn", "runs/penn"),
    ],
)
def test_override_reads_the_fields_type(key, text, value):
    changed = override(EXPERIMENT, {key: text})
    for name in key.split("."):
        changed = getattr(changed, name)
    assert changed == value and type(changed) is type(value)


def test_override_changes_nothing_else():
    changed = override(EXPERIMENT, {"train.steps": "10", "optimizer.options.decay": "0.5"})
    assert changed.optimizer.options == {"decay": 0.5}
    assert dataclasses.replace(changed, train=Train(), optimizer=Optimizer()) == EXPERIMENT
    assert EXPERIMENT.train.steps == 1000


def test_settings_of_stages():
    stages = {"pose": Stage(3), "heads": Stage(2, Optimizer(learning_rate=0.5))}
    experiment = dataclasses.replace(EXPERIMENT, stages=stages, train=Train(steps=None))
    assert experiment.steps == 5 and dataclasses.replace(experiment, train=Train(steps=4)).steps == 4
    assert [stage.optimizer.learning_rate for stage in experiment.plan.values()] == [
        EXPERIMENT.optimizer.learning_rate,
        0.5,
    ]
    changed = override(experiment, {"stages.heads.optimizer.learning_rate": "0.1", "stages.pose.steps": "7"})
    assert changed.plan["heads"].optimizer.learning_rate == 0.1 and changed.steps == 9
    assert changed.stages["heads"].steps == 2 and override(experiment, {"train.steps": "None"}) == experiment
    for key, message in {
        "stages.haeds.steps": "stages has pose, heads; name one of them",
        "stages.pose": "stages has pose, heads; name one of them",
        "stages.pose.stepps": "stages.pose has no 'stepps'; did you mean 'steps'",
        "stages.heads.steps": "must be at least 1",
    }.items():
        with pytest.raises(Usage, match=message):
            override(experiment, {key: "0"})
    with pytest.raises(Usage, match="train.steps is None: without stages"):
        assert dataclasses.replace(EXPERIMENT, train=Train(steps=None)).steps
    with pytest.raises(Usage, match="train.steps is 6, but the stages have 5"):
        assert dataclasses.replace(experiment, train=Train(steps=6)).plan


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("train.stepps", "10", "train has no 'stepps'; did you mean 'steps'"),
        ("trian.steps", "10", "the experiment has no 'trian'; did you mean 'train'"),
        ("data.inner.cuont", "10", "data.inner has no 'cuont'; did you mean 'count'"),
        ("data.absent.count", "10", "data.absent is None"),
        ("train.steps.more", "10", "train.steps is 1000"),
        ("train.steps", "1.5", "expected int"),
        ("train.steps", "many", "expected int"),
        ("train.steps", "-1", "at least 0"),
        ("train.mixed_precision", "1", "expected bool"),
        ("data.size", "(1, 2, 3)", r"expected tuple\[int, int\]"),
        ("data.size", "('a', 2)", r"expected tuple\[int, int\]"),
        ("data.kind", "third", "expected Kind"),
        ("data.size", "5", r"expected tuple\[int, int\]"),
        ("train", "5", "set one of its own settings"),
        ("optimizer.rule", "adamww", "optax has no such function; did you mean 'adamw'"),
        ("optimizer.options", "3", "expected"),
    ],
)
def test_override_explains_what_is_wrong(key, text, message):
    with pytest.raises(Usage, match=message):
        override(EXPERIMENT, {key: text})


def test_flatten_is_the_same_in_every_process():
    flat = flatten(EXPERIMENT)
    assert flat["train.steps"] == "1000" and flat["data.inner.count"] == "3"
    assert flat["optimizer.rule"].endswith("rmsprop(decay=0.9, eps=1e-07, eps_in_sqrt=False)")
    assert "data.threads" not in flat
    assert not any(" at 0x" in value for value in flatten({"x": object()}).values())


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_load_calls_get_config(tmp_path):
    path = write(tmp_path / "x.py", "def get_config(arg='plain'):\n    return arg\n")
    assert config.load(path) == "plain" and config.load(f"{path}:demo") == "demo"


@pytest.mark.parametrize(
    ("text", "suffix", "kind", "message"),
    [
        (None, "", Usage, "no config file"),
        ("x = 1\n", "", Usage, "no function get_config"),
        ("def get_config():\n    return 1\n", ":demo", Usage, "takes no argument"),
        ("import does_not_exist\n", "", Problem, "ModuleNotFoundError"),
        ("def (:\n", "", Problem, "SyntaxError"),
    ],
)
def test_load_explains_what_is_wrong(tmp_path, text, suffix, kind, message):
    path = str(tmp_path / "x.py") if text is None else write(tmp_path / "x.py", text)
    with pytest.raises(kind, match=message):
        config.load(path + suffix)


CONFIG = """
from jaxhar.training.experiment import Experiment, Stage, Train
from jaxhar.training.optim import Optimizer


def get_config():
    stages = {"pose": Stage(3, data={"size": 2}), "heads": Stage(4, Optimizer(learning_rate=0.5))}
    return Experiment("x", None, None, None, Optimizer(), Train(steps=None), stages)
"""


def test_a_change_that_a_stage_does_not_see_is_said(tmp_path, capsys):
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    experiment = config.load(str(path), {"optimizer.learning_rate": "1e-5"})
    assert experiment.plan["pose"].optimizer.learning_rate == 1e-5
    assert experiment.plan["heads"].optimizer.learning_rate == 0.5
    said = capsys.readouterr().out
    assert "--config.optimizer.learning_rate does not affect heads" in said
    assert "--config.stages.heads.optimizer.learning_rate" in said
    assert config.unreached(experiment, {"data.size": "3"}) == [
        "--config.data.size does not affect pose, which has its own value; use --config.stages.pose.data.size"
    ]
    assert not config.unreached(experiment, {"train.seed": "3"})


def test_a_stage_that_takes_the_experiments_optimizer_can_be_given_a_changed_copy(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    experiment = config.load(str(path), {"stages.pose.optimizer.learning_rate": "1e-5"})
    assert experiment.plan["pose"].optimizer.learning_rate == 1e-5
    assert experiment.optimizer.learning_rate == Optimizer().learning_rate


def test_figures_by_deephars_rules_had_another_name():
    assert Train(best="accuracy/multi/authors").best == "accuracy/multi/deephar"
    assert Train(best="mpjpe (authors' camera)").best == "mpjpe (deephar's camera)"


def test_the_best_checkpoint_has_the_most_or_the_least_of_a_figure():
    figures = {"mpjpe": 50.0, "pck@0.2": 0.9}
    assert Train().goodness(figures) is None
    assert Train(best="pck@0.2").goodness(figures) == 0.9
    assert Train(best="-mpjpe").goodness(figures) == -50.0
    with pytest.raises(Problem, match="train.best is '-mpjpee', but the evaluation gives mpjpe, pck@0.2"):
        Train(best="-mpjpee").goodness(figures)


def test_evaluations_are_changed_by_name():
    evals = {"a": Eval(scorers=(Samples(),)), "b": Eval(batch=2)}
    found = override(dataclasses.replace(EXPERIMENT, evals=evals), {"evals.a.batch": "4", "evals.b.views": "('x','y')"})
    assert found.evals["a"] == Eval(scorers=(Samples(),), batch=4) and found.evals["b"] == Eval(("x", "y"), batch=2)
    with pytest.raises(Usage, match="did you mean 'batch'?"):
        override(dataclasses.replace(EXPERIMENT, evals=evals), {"evals.a.bacth": "4"})
