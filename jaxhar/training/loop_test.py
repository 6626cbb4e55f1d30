"""The loop on a small network and data made in memory; `python -m jaxhar.training.loop_test DIR` is one run of it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache as cache

from jaxhar import zoo
from jaxhar.core.family import Family
from jaxhar.core.pixels import Pixels
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import pipeline
from jaxhar.host import cluster
from jaxhar.host.errors import Problem
from jaxhar.training import loop as train
from jaxhar.training.experiment import Experiment, Stage, Train
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer
from jaxhar.weights.net import Net


@dataclasses.dataclass(frozen=True)
class TinyConfig:
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    predicts: ClassVar[tuple[str, ...]] = ("pose", "visible", "action")
    pixels: ClassVar[Pixels] = Pixels.SIGNED
    frames_apart: ClassVar[bool] = False

    num_joints: int = 3
    num_actions: int = 4
    dropout: float = 0.1

    @property
    def pose_shape(self):
        return self.num_joints, 2

    @property
    def classes(self):
        return (self.num_actions,)

    def inputs(self, batch, frames=None):
        return {"frames": jax.ShapeDtypeStruct((batch, frames or 1, 6, 6, 3), jnp.float32)}


class Tiny(nnx.Module):
    """A convolution, batch normalisation and dropout, a pose head with one block, an action head."""

    def __init__(self, config: TinyConfig = TinyConfig(), seed: int = 0):
        rngs = nnx.Rngs(seed)
        self.config = config
        self.conv = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)
        self.pose = nnx.List([nnx.Linear(8, config.num_joints * 2, rngs=rngs)])
        self.action = nnx.Linear(8, config.num_actions, rngs=rngs)

    def __call__(self, batch):
        frames = Pixels.SIGNED(batch)
        x = nnx.relu(self.norm(self.conv(frames))).mean((2, 3))
        x = self.dropout(x)  # (B, T, C)
        pose = nnx.sigmoid(self.pose[0](x)).reshape(1, *x.shape[:2], self.config.num_joints, 2)
        preds = {"pose": pose, "visible": pose.mean(-1)}
        if "action" in batch or self.dropout.deterministic:
            preds["action"] = self.action(x.mean(1))[None]
        return preds


# By this name its checkpoints know it.
zoo.register(Family("tiny", TinyConfig, lambda config, *, dtype, rngs: Tiny(config)))


class Stream:
    """Endless, a function of its seed and position; batch `poison` is NaN. Of several processes each has some rows."""

    def __init__(self, seed, size, poison=None, length=None, index=0, count=1):
        self.seed, self.size, self.poison, self.length, self.position = seed, size, poison, length, 0
        self.rows = pipeline.share(size, index, count)

    def __iter__(self):
        return self

    def __next__(self):
        if self.position == self.length:
            raise StopIteration
        rng = np.random.default_rng((self.seed, self.position))
        self.position += 1
        batches = {"stills": self._batch(rng, 1), "clips": self._batch(rng, 3)}
        del batches["stills"]["action"]
        if self.position == self.poison:
            batches["stills"]["frames"][0, 0, 0, 0, 0] = np.nan
        return {
            name: {key: a[self.rows.start : self.rows.stop] for key, a in batch.items()}
            for name, batch in batches.items()
        }

    def _batch(self, rng, frames):
        action = rng.integers(0, 4, self.size).astype(np.int32)
        image = rng.normal(0, 0.3, (self.size, frames, 8, 8, 3)) + action[:, None, None, None, None] / 2
        pose = np.broadcast_to(action[:, None, None, None] / 4, (self.size, frames, 3, 2))
        return {
            "frames": image.astype(np.float32),
            "pose": pose.astype(np.float32),
            "visible": np.ones((self.size, frames, 3), np.float32),
            "valid": np.ones((self.size, frames, 3, 2), bool),
            "action": action,
            "mask": np.ones(self.size, bool),
        }

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]

    def close(self):
        pass


@dataclasses.dataclass(frozen=True)
class Data:
    size: int = 4
    poison: int | None = None
    length: int | None = None
    root: str = dataclasses.field(default="/one/place", metadata={"free": True})
    skeleton = Skeleton("3j", ("a", "b", "c"))
    actions = ("p", "q", "r", "s")

    @property
    def parts(self):
        return {"drawn": self}

    def train_stream(self, seed, index=0, count=1):
        return Stream(seed, self.size, self.poison, self.length, index, count)

    def changed(self, **fields):
        return dataclasses.replace(self, **fields)


ADAM = Optimizer(optax.adam, learning_rate=1e-2, clip_norm=1.0)
SGD = Optimizer(optax.sgd, learning_rate=0.05)


def experiment(steps=12, data=Data(), optimizer=ADAM, **options):
    options = {"log_every": 2, "eval_every": 5, "checkpoint_every": 3, "best": "score", **options}
    return Experiment("tiny", TinyConfig(), data, Multitask(), optimizer, Train(steps, **options))


HEADS = Optimizer(optax.sgd, learning_rate=0.05, table=((r"(conv|norm|pose)\..*", 0.0), (".*", 1.0)))


def staged(**options):
    """Pose on batches of 2, action heads on a frozen trunk, then everything: 4, 3 and 5 steps."""
    stages = {
        "pose": Stage(4, losses=Multitask(action=0.0), data={"size": 2}),
        "heads": Stage(3, HEADS),
        "all": Stage(5, SGD),
    }
    return dataclasses.replace(experiment(None, best="", **options), stages=stages)


def score(model, step):
    return {"score": float(model.norm.mean[...].mean())}


def run(workdir, exp=None, evaluate=score, model=None):
    exp = exp or experiment()
    return train.run(exp, workdir, model or Tiny(), exp.data, evaluate, progress=False)


def rows(workdir):
    return [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]


def main(workdir, **options):
    """One run in its own process; `crash` ends it without any cleaning up when that batch is drawn.

    With `port` it is process `index` of `count`; with `whole` each draws whole batches: 1 knows the processes, 2 not.
    """
    options = {k: int(v) for k, v in options.items()}
    port, index, count = (options.pop(k, 0) for k in ("port", "index", "count"))
    crash, slow, size, sgd, stages = (options.pop(k, 0) for k in ("crash", "slow", "limit", "sgd", "stages"))
    whole = options.pop("whole", 0)
    # Adam magnifies rounding noise in gradients that are 0 but for it, such as a bias in front of a normalisation.
    exp = staged(**options) if stages else experiment(**options, optimizer=SGD if sgd else ADAM)
    drawn = [0]

    class Crashing(Stream):
        def __next__(self):
            batches = super().__next__()
            drawn[0] += 1
            if drawn[0] == crash:
                os._exit(9)
            time.sleep(slow / 1000)
            return batches

    class Crashed(Data):
        def train_stream(self, seed, index=0, count=1):
            if whole:  # a data set of somebody who did not think of several processes
                index, count = 0, 1
            return Crashing(seed, self.size, index=index, count=count)

    class Alone(Data):
        def train_stream(self, seed):
            return Crashing(seed, self.size)

    if size:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        with cluster.joined(cluster.Member(f"localhost:{port}", count, index) if port else None):
            train.run(exp, Path(workdir), Tiny(), Alone() if whole == 2 else Crashed(), score, progress=False)
    except Problem as problem:
        sys.exit(f"Problem: {problem}")


def command(workdir, **options):
    return [sys.executable, "-m", "jaxhar.training.loop_test", str(workdir), *(f"{k}={v}" for k, v in options.items())]


@pytest.fixture(scope="module", autouse=True)
def shared_compilation(tmp_path_factory):
    """Every run compiles the same step: the runs of this file, in this process and in others, share the result."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    options = {"jax_compilation_cache_dir": folder, "jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
        del os.environ[name.upper()]
    cache.reset_cache()


def environment(**changes):
    return {**os.environ, "JAX_PLATFORMS": "cpu", **changes}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The metrics of a run that is never interrupted."""
    workdir = tmp_path_factory.mktemp("whole")
    run(workdir)
    return (workdir / "metrics.jsonl").read_bytes()


def test_the_loss_falls_and_everything_is_written(tmp_path):
    model = run(tmp_path, experiment(60, log_every=10, eval_every=30, checkpoint_every=0))
    written = rows(tmp_path)
    losses = [row["loss"] for row in written if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    assert set(written[0]) >= {"step", "clips/pose", "clips/visible", "clips/action", "stills/pose", "learning_rate"}
    assert "stills/action" not in written[0]
    assert [row["step"] for row in written if "eval/score" in row] == [30, 60]
    assert list((tmp_path / "tensorboard").iterdir())
    assert model.norm.use_running_average is not False and model.dropout.deterministic


def test_terms_add_up_to_the_loss(tmp_path):
    run(tmp_path, experiment(1, log_every=1))
    row = rows(tmp_path)[0]
    assert row["loss"] == pytest.approx(sum(v for k, v in row.items() if "/" in k), rel=1e-6)


@pytest.mark.parametrize(
    "crash", [pytest.param(2, marks=pytest.mark.slow), 5, pytest.param(11, marks=pytest.mark.slow)]
)
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, whole, crash):
    killed = subprocess.run(command(tmp_path, crash=crash), env=environment(), timeout=120)
    assert killed.returncode == 9
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 1')  # torn by the kill
    model = run(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
    again = run(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
    jax.tree.map(np.testing.assert_array_equal, Net(model).params, Net(again).params)


def test_kill_9_at_a_random_moment(tmp_path):
    process = subprocess.Popen(command(tmp_path, steps=400, slow=5, checkpoint_every=7), env=environment())
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("checkpoints/*/record")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.37)
    process.kill()
    process.wait()
    reached = max(int(p.parent.name) for p in tmp_path.glob("checkpoints/*/record") if p.parent.name.isdigit())
    assert 0 < reached < 400
    steps = reached + 10
    # The window is averaged where the run ends, so both are asked for the same end.
    run(tmp_path, experiment(steps, checkpoint_every=7))
    run(tmp_path / "whole", experiment(steps, checkpoint_every=7))
    assert (tmp_path / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


def test_sigterm_saves_and_leaves(tmp_path):
    options = {"checkpoint_every": 0, "eval_every": 0, "steps": 300}
    process = subprocess.Popen(
        command(tmp_path, slow=20, **options), env=environment(), stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not (tmp_path / "metrics.jsonl").exists() or not rows(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped at step" in out
    step = int(out.split("stopped at step ")[1].split()[0])
    assert (tmp_path / f"checkpoints/{step}").is_dir()
    run(tmp_path, experiment(step + 5, checkpoint_every=0, eval_every=0))
    run(tmp_path / "whole", experiment(step + 5, checkpoint_every=0, eval_every=0))
    assert (tmp_path / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    "poison", [pytest.param(1, marks=pytest.mark.slow), 6, pytest.param(12, marks=pytest.mark.slow)]
)
def test_nan_stops_with_step_term_and_batch(tmp_path, poison):
    with pytest.raises(Problem, match=rf"stills/pose.* became nan at step {poison};.*nonfinite-step{poison}.npz"):
        run(tmp_path, experiment(data=Data(poison=poison)))
    saved = np.load(tmp_path / f"nonfinite-step{poison}.npz")
    assert np.isnan(saved["stills.frames"]).sum() == 1 and np.isfinite(saved["clips.frames"]).all()
    assert not (tmp_path / f"checkpoints/{poison}").exists()
    assert all(row["step"] < poison for row in rows(tmp_path))


def test_a_gradient_that_overflows_is_named(tmp_path):
    class Steep:
        def __call__(self, preds, batch):
            zero = preds["pose"].mean((0, 2, 3, 4)) * 0
            return {"root": jnp.sqrt(zero)}

    with pytest.raises(Problem, match="gradient_norm became nan at step 1"):
        run(tmp_path, dataclasses.replace(experiment(), losses=Steep()))


def test_other_settings_are_refused_and_other_places_are_not(tmp_path, capsys):
    run(tmp_path, experiment(3))
    with pytest.raises(Problem, match="train.seed was 0, now 1"):
        run(tmp_path, experiment(4, seed=1))
    with pytest.raises(Problem, match="data.size was 4, now 2.*--workdir"):
        run(tmp_path, experiment(4, data=Data(size=2)))
    with pytest.raises(Problem, match="optimizer.learning_rate was 0.01, now 0.5"):
        run(tmp_path, experiment(4, optimizer=Optimizer(optax.adam, learning_rate=0.5, clip_norm=1.0)))
    run(tmp_path, experiment(4, data=Data(root="/another/place")))
    assert rows(tmp_path)[-1]["step"] == 4
    with pytest.raises(Problem, match="holds a run of 4 steps, and now it is to have 3; give at least 4, or another"):
        run(tmp_path, experiment(3))
    capsys.readouterr()
    run(tmp_path, dataclasses.replace(experiment(4), init_from="other"))
    assert capsys.readouterr().out == "init_from=other is not read: this run began from None and goes on\n"


def test_keeps_the_last_and_the_best(tmp_path):
    scores = {2: 0.1, 4: 0.9, 6: 0.3, 8: 0.2, 10: 0.5}
    run(tmp_path, experiment(10, eval_every=2), evaluate=lambda model, step: {"score": scores[step]})
    assert {p.stem for p in (tmp_path / "checkpoints").iterdir()} == {"4", "9", "10"}
    with pytest.raises(Problem, match="'score', but the evaluation gives other"):
        run(tmp_path / "b", experiment(10, eval_every=2), evaluate=lambda model, step: {"other": 1.0})


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, whole, capsys):
    run(tmp_path)
    newest = tmp_path / "checkpoints/12"
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-100] ^= 1
    largest.write_bytes(content)
    run(tmp_path)
    assert "checkpoints/12 is damaged" in capsys.readouterr().err
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
    assert newest.exists() and newest.with_suffix(".damaged").exists()


def test_a_full_disk_is_a_problem_and_the_checkpoint_before_it_stays_good(tmp_path, whole):
    def broken(model, step):
        raise RuntimeError(f"at step {step}")

    with pytest.raises(RuntimeError, match="at step 5"):
        run(tmp_path, evaluate=broken)
    before = {p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()}
    failed = subprocess.run(
        command(tmp_path, limit=4000), env=environment(), timeout=120, capture_output=True, text=True
    )
    assert failed.returncode == 1, failed.stderr
    assert "Problem: cannot write" in failed.stderr and "Traceback" not in failed.stderr
    assert before and {p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()} == before
    run(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_four_devices_train_as_one_does(tmp_path):
    run(tmp_path / "one", experiment(optimizer=SGD))
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(command(tmp_path / "four", sgd=1, devices=4), env=environment(**flags), timeout=120)
    assert done.returncode == 0
    for one, four in zip(rows(tmp_path / "one"), rows(tmp_path / "four"), strict=True):
        assert one.keys() == four.keys()
        np.testing.assert_allclose(list(four.values()), list(one.values()), rtol=1e-5, atol=1e-7)


def test_devices_must_exist_and_divide_the_batch(tmp_path):
    with pytest.raises(Problem, match="train.devices is 64, but this machine has"):
        run(tmp_path, experiment(devices=64))
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
    failed = subprocess.run(command(tmp_path), env=environment(**flags), timeout=120, capture_output=True, text=True)
    assert "a batch of 4 stills cannot be split over 3 devices" in failed.stderr


def test_one_run_at_a_time_in_a_folder(tmp_path):
    def again(model, step):
        run(tmp_path)
        return {"score": 1.0}

    with pytest.raises(Problem, match="another process is training in"):
        run(tmp_path, evaluate=again)
    run(tmp_path)


def test_a_stream_that_ends_is_a_problem(tmp_path):
    with pytest.raises(Problem, match="the training data ended at step 4"):
        run(tmp_path, experiment(data=Data(length=3)))


if __name__ == "__main__":
    main(sys.argv[1], **dict(argument.split("=") for argument in sys.argv[2:]))
