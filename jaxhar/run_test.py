"""The launcher, on a small network of the zoo and data made in memory."""

import importlib.util
import json
from pathlib import Path

import pytest
from absl import flags

from jaxhar.host.errors import Usage
from jaxhar.weights import checkpoint

CONFIG = """
import dataclasses
import numpy as np
import optax
from jaxhar.core import skeleton
from jaxhar.training.experiment import Experiment, Train
from jaxhar.host.errors import Problem
from jaxhar.training.losses.multitask import Multitask
from jaxhar.core.prepared import View
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.samples import Samples
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.training.optim import Optimizer


@dataclasses.dataclass(frozen=True)
class Noise:
    root: str | None = dataclasses.field(default=None, metadata={"free": True})
    skeleton = skeleton.PA16
    actions = ("a", "b")
    notes = ()
    eval_split = "test"

    @property
    def parts(self):
        return {"noise": self}

    def views(self, split):
        return {"single": View("single", "each")}

    def prepare(self, workdir):
        if self.root:
            raise Problem(f"{self.root} is not a data set")
        return self

    def batch(self, seed):
        rng = np.random.default_rng(seed)
        return {
            "frames": rng.uniform(-1, 1, (2, 1, 32, 32, 3)).astype(np.float32),
            "pose": rng.uniform(0, 1, (2, 1, 16, 2)).astype(np.float32),
            "visible": np.ones((2, 1, 16), np.float32),
            "valid": np.ones((2, 1, 16, 2), bool),
            "mask": np.ones(2, bool),
            "affine": np.broadcast_to(np.eye(3, dtype=np.float32), (2, 1, 3, 3)),
            "norm": np.ones((2, 1), np.float32),
            "sequence": np.arange(2, dtype=np.int32),
            "flipped": np.zeros(2, bool),
        }

    def train_stream(self, seed):
        return Stream(self, seed)

    def eval_stream(self, split="test", view="single", batch=2):
        return [self.batch(99)]

    def eval_length(self, split="test", view="single", batch=2):
        return 1

    def sequence_names(self, split="test"):
        return ["one", "two"]


class Stream:
    def __init__(self, data, seed):
        self.data, self.seed, self.position = data, seed, 0

    def __next__(self):
        self.position += 1
        return {"stills": self.data.batch((self.seed, self.position))}

    def get_state(self):
        return self.position

    def set_state(self, state):
        self.position = state

    def close(self):
        pass


def get_config(banner="hello"):
    return Experiment(
        name="noise",
        model=ReceptionConfig(image_size=32, num_blocks=1, width=16, stem_width=4, num_context=0),
        data=Noise(),
        losses=Multitask(),
        optimizer=Optimizer(optax.sgd, learning_rate=1e-3),
        train=Train(steps=2, log_every=1, eval_every=1, best="pck@0.2"),
        evals={"noise": Eval(scorers=(Pose(), Samples()), batch=2), "again": Eval(scorers=(Pose(),), part="noise")},
        banner=banner,
    )
"""


@pytest.fixture(scope="module")
def launch():
    path = Path(__file__).parents[1] / "launch.py"
    spec = importlib.util.spec_from_file_location("launch", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def command(tmp_path, launch, monkeypatch):
    """Runs the launcher in an empty folder with a config file; returns the exit code."""
    monkeypatch.chdir(tmp_path)
    Path("noise.py").write_text(CONFIG)
    Path("broken.py").write_text("{}[0]")

    def run(*words: str) -> int:
        for name in ("config", "workdir", "mode", "debug"):
            flags.FLAGS[name].unparse()  # they outlive a call when it is not the end of the process
        return launch.main(["launch.py", *words])

    return run


def test_train_resume_and_evaluate(command, capfd):
    assert command("--config=noise.py:goodbye", "--config.train.steps", "3") == 0
    assert capfd.readouterr().out.startswith("goodbye\n")
    rows = [json.loads(line) for line in Path("runs/noise/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3]
    assert [row["step"] for row in rows if "eval/pck@0.2" in row] == [1, 2, 3]
    for folder in ("runs/noise", "runs/noise/again"):
        assert Path(folder, "report.html").stat().st_size > 1000
        assert json.loads(Path(folder, "results.json").read_text())["scalars"]["pck@0.2"] >= 0
    before = Path("runs/noise/metrics.jsonl").read_text()
    assert command("--config=noise.py", "--config.train.steps=3", "--mode=eval") == 0
    assert command("--config=noise.py", "--config.train.steps=3") == 0
    assert Path("runs/noise/metrics.jsonl").read_text() == before


def test_mixed_precision_keeps_the_weights_in_float32(command):
    options = ("--config.train.steps=1", "--config.train.eval_every=0", "--config.train.best=")
    assert command("--config=noise.py", "--config.train.mixed_precision=true", "--workdir=half", *options) == 0
    assert command("--config=noise.py", "--workdir=full", *options) == 0
    half, full = (checkpoint.load_flat(Path(name))[0] for name in ("half", "full"))
    assert {array.dtype.name for array in half.values()} == {"float32"}
    differences = [abs(half[name] - full[name]).max() for name in full]
    assert 0 < max(differences) < 0.05


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "no experiment is given"),
        (("--config=absent.py",), 2, "no config file at absent.py"),
        (("--config=noise.py", "--config.train.stepps=3"), 2, "did you mean 'steps'?"),
        (("--config=noise.py", "--config.train.steps=many"), 2, "expected int"),
        (("--config=noise.py", "--config.train.steps"), 2, "--config.train.steps has no value"),
        (("--config=noise.py", "--mode=sing"), 2, "mode"),
        (("--config=noise.py", "--wrkdir=x"), 2, "wrkdir"),
        (("--config=noise.py", "--import=absent"), 2, "--import absent: there is no such module"),
        (("--import", "broken", "--config=noise.py"), 1, "--import broken: it cannot be imported: KeyError"),
        (("--config=noise.py", "extra"), 2, "'extra' is not an option"),
        (("--config=noise.py", "--workdir=noise.py/x"), 1, "cannot write in the working directory noise.py/x"),
        (("--config=noise.py", "--config.data.root=place"), 1, "place is not a data set"),
        (("--config=noise.py", "--config.train.best=pck@0.3"), 1, "train.best is 'pck@0.3', but the evaluation gives"),
        (("--config=noise.py", "--config.evals.again.part=x"), 2, "the data has no part 'x' to evaluate; it has noise"),
        (("--config=noise.py", "--config.evals.noise.views=('many',)"), 2, "no view 'many'; it has single"),
        (("--config=noise.py", "--workdir=new", "--mode=eval"), 1, "new holds neither"),
    ],
)
def test_errors_are_one_line(command, capfd, words, code, message):
    assert command(*words) == code
    err = capfd.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_network_of_no_known_family_is_told_before_any_data_is_made(command, capfd):
    own = "class Own(ReceptionConfig):\n    pass\n\n\nReceptionConfig = Own\n\n\ndef get_config"
    Path("own.py").write_text(CONFIG.replace("def get_config", own))
    assert command("--config=own.py", "--config.data.root=place") == 1
    err = capfd.readouterr().err
    assert "Own" in err and "jaxhar.zoo.register" in err and "--import MODULE" in err and "place" not in err


def test_overrides_are_taken_out_of_the_command_line(launch):
    rest, overrides = launch.split_overrides(["x", "--config=a.py", "--config.a.b=c=d", "--config.e", "-1", "--debug"])
    assert rest == ["x", "--config=a.py", "--debug"]
    assert overrides == {"a.b": "c=d", "e": "-1"}
    with pytest.raises(Usage):
        launch.split_overrides(["x", "--config.e", "--debug"])
