"""The training loop: jitted steps on the devices of all processes, with logging, evaluation and exact resumption.

A run that is killed and resumed writes the same metrics.jsonl as one without interruption: a checkpoint contains
everything that later steps depend on (weights, running statistics, optimizer, data iterator, metrics not yet averaged)
and is taken before the next batch is drawn, then written in the background. On GPUs this also needs deterministic
kernels (XLA_FLAGS=--xla_gpu_deterministic_ops=true).
"""

import dataclasses
import inspect
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from tqdm import tqdm

from jaxhar.core.network import NetworkConfig
from jaxhar.core.prepared import Prepared, TrainStream
from jaxhar.host import cluster, files, process
from jaxhar.host.errors import Problem
from jaxhar.host.settings import check_same
from jaxhar.training import devices, history, stages
from jaxhar.training.experiment import Experiment, Train
from jaxhar.training.learned import Learned
from jaxhar.training.packing import pack, unpack
from jaxhar.training.step import Batches, TrainState, check
from jaxhar.weights import checkpoint, start, store, transfer
from jaxhar.weights.flat import by_module
from jaxhar.weights.net import Net


def run(
    experiment: Experiment,
    workdir: Path,
    model: nnx.Module,
    data: Prepared,
    evaluate: Callable[[nnx.Module, int], dict[str, float]] | None = None,
    progress: bool = True,
) -> nnx.Module:
    """Trains a network, or resumes from the checkpoints in `workdir`; a finished run is only loaded.

    Writes metrics.jsonl, tensorboard/ and checkpoints/ there. On SIGTERM or Ctrl-C it saves a checkpoint and raises
    SystemExit(0).

    Args:
      experiment: its stages, `train` and `init_from` are used; on resuming, all settings are compared.
      model: a network in training mode, with `.config`; it is not modified.
      data: prepared data for training.
      evaluate: called with the network in evaluation mode and the number of steps that are done, every
        `train.eval_every` steps and after the last step.

    Returns: the trained network in evaluation mode.

    Raises:
      Problem: the loss is not finite, the checkpoints are damaged, or have other settings or more steps, or a write
        fails.
    """
    train = experiment.train
    workdir = Path(workdir)
    files.make_folder(workdir)
    lock = process.lock(workdir) if cluster.first() else None
    loop = None
    try:
        experiment = dataclasses.replace(experiment, model=model.config)  # type: ignore[attr-defined]
        parts, net = stages.parts(experiment), Net(model)
        nets = stages.networks(experiment, net)
        for part in parts:  # fail early on errors in later stages
            stages.check(part, nets[part.number], data, train)
        mesh = devices.mesh(train.devices)
        checkpoints = store.Store(workdir, train.keep_last, keep_best=bool(train.best))
        fixed = stages.settings(experiment)
        saved, learned = checkpoints.restore(), Learned()
        part = next((part for part in parts if saved is None or saved.step <= part.last), parts[-1])
        net, network = nets[part.number], part.stage.model
        state = TrainState(net.params, net.stats, (), jnp.int32(0))
        if saved is not None:
            begun = [stages.begun(flat, experiment, saved.step) for flat in (saved.record["settings"], fixed)]
            check_same(begun[0], begun[1], str(workdir), defaults=stages.defaults(experiment))
            stages.check_steps(saved.step, experiment, workdir)
            before = saved.record.get("init_from", experiment.init_from)
            if before != experiment.init_from:
                print(
                    f"init_from={experiment.init_from} is not read: this run began from {before} and goes on",
                    flush=True,
                )
            # It is absent in checkpoints of the earlier form. Process 0 alone goes on counting from it.
            learned = Learned(**saved.record.get("learned", {"actions": True})) if cluster.first() else Learned()
            state = dataclasses.replace(state, opt=part.optimizer(net).init(net.params))
            state = unpack(saved, state)
        elif experiment.init_from is not None:
            learned = _begin(net, network, experiment, data, tested=evaluate is not None and not experiment.steps)
            state = dataclasses.replace(state, params=net.params, stats=net.stats)
        # A copy, because the training step reuses the memory of its input state.
        state = devices.copies(state, mesh)
        if int(state.step) < parts[-1].last:
            if progress and experiment.stages:
                print("\n".join(stages.table(experiment)), flush=True)
            for part in parts:
                if int(state.step) < part.before:  # the first stage is checked by running it
                    _check_stage(part, nets[part.number], data, train, mesh)
            loop = _Loop(experiment, workdir, nets, parts, mesh, checkpoints, data, evaluate, fixed, learned)
            state = loop.run(state, saved.record if saved else None, progress)
    finally:
        if loop is not None:
            loop.close_stream()
        if lock is not None:
            lock.close()
    return _evaluation_view(nets[-1] if loop is not None else net, state)


def _begin(net: Net, config: NetworkConfig, experiment: Experiment, data: Prepared, tested: bool) -> Learned:
    """Gives a network the weights of `init_from`; returns what they have learned.

    Args:
      tested: whether the network is evaluated as it is, without training.

    Raises:
      Problem: the weights do not fit, or a network to be tested gets weights for a part of it only.
    """
    assert experiment.init_from is not None
    arrays, source = start.load(experiment.init_from, config)
    fresh = net.load(arrays, experiment.init_from, experiment.init_table or transfer.of_family(config))
    learned = Learned(actions=not fresh and source.get("trained", {"actions": True})["actions"])
    if not fresh and data.skeleton is not None:
        unseen = source.get("trained", {}).get("unseen_joints", [])
        learned.joints = [name not in unseen for name in data.skeleton.joints]
    if fresh:
        names = ", ".join(by_module(fresh, net.params | net.stats))
        if tested:
            raise Problem(
                f"{experiment.init_from} has no weights of {names}, and nothing is trained: random values would be "
                "tested; start from a network that was trained for this"
            )
        print(f"{experiment.init_from} fills part of the network; initial values are kept in {names}")
    elif tested:
        checkpoint.check_same_classes(source.get("actions", []), data.actions, experiment.init_from)
    return learned


@dataclasses.dataclass
class _Loop:
    """State and steps of the loop of `run`.

    Attributes:
      nets: the network of every stage.
      settings: settings of the run, for the checkpoints.
      part: the current stage; `step` and `stream` are its step function and its data.
      window: metrics of the steps since the last row of metrics.jsonl.
      pending: the last dispatched step, whose metrics were not fetched yet: number, metrics, batches.
      learned: the action labels of the steps so far.
    """

    experiment: Experiment
    workdir: Path
    nets: list[Net]
    parts: list[stages.Part]
    mesh: Mesh
    checkpoints: store.Store
    data: Prepared
    evaluate: Callable[[nnx.Module, int], dict[str, float]] | None
    settings: dict[str, str]
    learned: Learned
    part: stages.Part | None = None
    step: Callable[[TrainState, Batches], tuple[TrainState, dict[str, jax.Array]]] | None = None
    stream: TrainStream | None = None
    window: list[dict[str, float]] = dataclasses.field(default_factory=list)
    pending: tuple[int, dict[str, jax.Array], Batches] | None = None
    compiled: bool = False
    rows: history.History | None = None

    def run(self, state: TrainState, record: dict[str, Any] | None, progress: bool) -> TrainState:
        """Runs all steps after that of `state`; `record` is the record of its checkpoint, None for a new run."""
        train, start, end = self.experiment.train, int(state.step), self.parts[-1].last
        if record is not None:
            self.window = record["window"]
        if cluster.first():
            loggers = tuple(make(self.workdir, start) for make in train.outputs)
            self.rows = history.History(self.workdir, start, loggers)
        self.bar = tqdm(
            total=end,
            initial=start,
            desc="compiling",
            disable=not progress or not cluster.first(),
            bar_format="{desc}: {n_fmt}/{total_fmt} |{bar}| {rate_noinv_fmt} {remaining} left{postfix}",
            unit="step",
        )
        self.clock = time.monotonic()
        try:
            with process.StopRequest() as stop:
                for step in range(start + 1, end + 1):
                    # 0. Start or resume a stage.
                    if self.part is None or step > self.part.last:
                        state = self._start_stage(state, step, record)
                    # 1. Draw a batch; the data iterator now points to the next one.
                    batches = self._draw(step)
                    # 2. Dispatch the step; it runs asynchronously.
                    state, metrics = self._dispatch(state, batches)
                    # 3. Fetch the metrics of the previous step: stop on NaN, log.
                    self._settle()
                    self.pending = (step, metrics, batches)
                    # 4. Evaluate and save before the next batch is drawn. Both fetch the metrics of this step first.
                    last, stopping = step == end, stop.after(step)
                    figures = self._evaluate(state, step) if last or _every(train.eval_every, step) else None
                    if figures or last or stopping or _every(train.checkpoint_every, step):
                        self._save(state, step, figures)
                    self.checkpoints.check()
                    # 5. Stop on request.
                    if stopping and not last:
                        self.bar.close()
                        self.checkpoints.wait()
                        print(f"stopped at step {step} of {end}; the same command resumes from there")
                        raise SystemExit(0)
            self.checkpoints.wait()
            return state
        finally:
            self.bar.close()
            if self.rows is not None:
                self.rows.close()
            self.checkpoints.close()

    def _start_stage(self, state: TrainState, step: int, record: dict[str, Any] | None) -> TrainState:
        """Prepares step function and data for the stage of `step`; at its first step the optimizer state is fresh."""
        self._settle()
        self.close_stream()
        self.part = part = next(part for part in self.parts if step <= part.last)
        before, net = next((one for one in self.parts if step <= one.last + 1), part), self.nets[part.number]
        if self.nets[before.number] is not net:
            state = stages.taken_over(part, net, self.nets[before.number], devices.own(state))
            state = devices.copies(state, self.mesh)
        optimizer = part.optimizer(net)
        self.step = part.step(net, self.experiment.train)
        self.stream = _stream(self.data, part, self.experiment.train.seed)
        self.compiled = False
        if step > part.before + 1:
            assert record is not None
            self.stream.set_state(record["stream"])
            return state
        fresh = optimizer.init(devices.own(state.params))
        return dataclasses.replace(state, opt=devices.copies(fresh, self.mesh))

    def close_stream(self) -> None:
        """Closes the data stream and its threads."""
        if self.stream is not None:
            self.stream.close()
        self.stream = None

    def _draw(self, step: int) -> Batches:
        assert self.stream is not None
        batches = next(self.stream, None)
        if batches is None:
            raise Problem(f"the training data ended at step {step}; a training stream must be endless")
        if not self.compiled and self.pending is None:
            # Before the first step of a stage: beside a step that runs, an exchange between processes could block both.
            assert self.part is not None
            devices.check_apart(batches, partial(_stream, self.data, self.part, self.experiment.train.seed, ()))
        return batches

    def _dispatch(self, state: TrainState, batches: Batches) -> tuple[TrainState, dict[str, jax.Array]]:
        assert self.step is not None and self.part is not None
        try:
            return self.step(state, self._put(batches))
        except (KeyError, TypeError, ValueError):
            # Problem if the settings are the cause, as `_check_stage` says it of later stages
            check(
                self.nets[self.part.number],
                self.part.stage.losses,
                batches,
                self.part.augment(self.experiment.train.seed),
            )
            raise

    def _put(self, batches: Batches) -> Batches:
        assert self.part is not None
        parts, groups = self.part.stage.optimizer.accumulate, self.experiment.train.norm_groups
        devices.check_divides(batches, self.mesh, parts, groups)
        return devices.spread(batches, self.mesh)

    def _settle(self) -> None:
        """Fetches the metrics of the pending step, checks them, and writes a row every `log_every` steps."""
        if self.pending is None or self.part is None:
            return
        step, metrics, batches = self.pending
        self.pending = None
        fetched = {name: float(value) for name, value in jax.device_get(metrics).items()}
        values = {"loss": fetched.pop("loss"), **fetched}
        bad = [name for name, value in values.items() if not np.isfinite(value)]
        if bad:
            terms = [name for name in bad if name != "loss"]
            mark = f"-process{cluster.index()}" if cluster.count() > 1 else ""
            path = _save_batch(self.workdir / f"nonfinite-step{step}{mark}.npz", batches)
            raise Problem(
                f"{' and '.join(terms or bad)} became {values[(terms or bad)[0]]} at step {step}; the batch is saved "
                f"in {path}; lower the learning rate or inspect that batch"
            )
        self.window.append(values)
        self.learned.add(batches)
        if not self.compiled:
            self.compiled = True
            self.bar.unpause()  # do not count compilation in the remaining time
            self.bar.set_description_str(f"{self.experiment.name} {self.part.name}".strip(), refresh=False)
        self.bar.update()
        if step % self.experiment.train.log_every == 0 or step == self.part.last:
            row = history.mean(self.window)
            now = time.monotonic()
            clock = {"steps_per_second": len(self.window) / max(now - self.clock, 1e-9)}
            self._write(step, {**row, "learning_rate": self.part.rate(step)}, clock)
            self.bar.set_postfix({k: f"{v:.3g}" for k, v in row.items() if k != "gradient_norm"}, refresh=False)
            self.clock = now
            self.window.clear()

    def _write(self, step: int, values: dict[str, float], clock: dict[str, float] | None = None) -> None:
        """Adds a row to metrics.jsonl, by process 0."""
        if self.rows is not None:
            self.rows.add(step, values, clock)

    def _evaluate(self, state: TrainState, step: int) -> dict[str, float] | None:
        """Evaluates and writes the scores as a row; None if the run has no evaluations."""
        if self.evaluate is None or not self.experiment.train.eval_every:
            return None
        self._settle()
        assert self.part is not None
        figures = self.evaluate(_evaluation_view(self.nets[self.part.number], state), step)
        self.experiment.train.goodness(figures)  # raises Problem for an unknown score
        self._write(step, {f"eval/{name}": float(value) for name, value in figures.items()})
        self.clock = time.monotonic()
        self.bar.unpause()
        return figures

    def _save(self, state: TrainState, step: int, figures: dict[str, float] | None) -> None:
        # A step with NaN must not be saved, and its row must be on the disk before the checkpoint.
        self._settle()
        if self.rows is not None:
            self.rows.sync()
        assert self.stream is not None and self.part is not None
        record = {"settings": self.settings, "stream": self.stream.get_state(), "window": self.window}
        record["init_from"] = self.experiment.init_from
        learned = Learned.of_all(cluster.gather(self.learned))
        record["learned"] = dataclasses.asdict(learned)
        figure = self.experiment.train.goodness(figures) if figures else None
        network = self.part.stage.model
        about = checkpoint.describe(network, self.data.skeleton, self.data.actions if network.classes else ())
        description = {**about, "trained": self._trained(step, learned)}
        self.checkpoints.save(store.Saved(step, *pack(state), record, figure), description)

    def _trained(self, step: int, all_learned: Learned) -> dict[str, Any]:
        """What the weights were trained on, for whoever predicts with them."""
        stages = {part.name: max(0, min(step, part.last) - part.before) for part in self.parts}
        data = {name: value for name, value in self.settings.items() if name.startswith("data.")}
        run = {"experiment": self.experiment.name, "step": step, "steps": self.parts[-1].last, "stages": stages}
        learned = {"actions": all_learned.actions, "unseen_classes": all_learned.unseen(self.data.actions)}
        if self.data.skeleton is not None:
            learned["unseen_joints"] = all_learned.unseen_joints(self.data.skeleton.joints)
        cameras = {"cameras": all_learned.cameras} if all_learned.cameras else {}
        return {**run, "sets": list(self.data.parts), **learned, **cameras, "data": data}


def _stream(data: Prepared, part: stages.Part, seed: int, rows: tuple[int, ...] | None = None) -> TrainStream:
    """The stream of a stage; `rows` are the number of a process and the number of all, None for those of the run."""
    if rows is None:
        rows = (cluster.index(), cluster.count()) if cluster.count() > 1 else ()
    start = stages.data_of(data, part).train_stream
    try:
        inspect.signature(start).bind(seed, *rows)
    except TypeError as error:
        raise Problem(
            f"train_stream of the data takes no process_index and process_count, so that {cluster.count()} processes "
            "cannot share it; see Prepared in jaxhar/core/prepared.py"
        ) from error
    return start(seed + 100 * part.number, *rows)


def _check_stage(part: stages.Part, net: Net, data: Prepared, train: Train, mesh: Mesh) -> None:
    """Checks that devices, network and losses accept a batch of the stage; Problem with the name of the stage."""
    try:
        stream = _stream(data, part, train.seed)
        try:
            batches = next(stream, None)
        finally:
            stream.close()
        if batches is not None:
            devices.check_divides(batches, mesh, part.stage.optimizer.accumulate, train.norm_groups)
            check(net, part.stage.losses, batches, part.augment(train.seed))
    except Problem as problem:
        raise type(problem)(f"stage {part.name!r}: {problem}") from problem


def _every(every: int, step: int) -> bool:
    """Whether `step` is a multiple of `every`; False if `every` is 0."""
    return every > 0 and step % every == 0


def _evaluation_view(net: Net, state: TrainState) -> nnx.Module:
    model = net.merge(devices.own(state.params), devices.own(state.stats))
    model.eval()
    return model


def _save_batch(path: Path, batches: Batches) -> Path:
    arrays = {f"{stream}.{key}": np.asarray(a) for stream, batch in batches.items() for key, a in batch.items()}
    try:
        with files.atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise Problem(f"the loss is not finite, and its batch cannot be saved to {path}: {error.strerror}") from error
    return path
