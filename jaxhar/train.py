"""The training loop: a pure jitted step over flat dicts of arrays, spread over the local devices, exactly resumable.

A run killed at any moment and started again writes the same metrics.jsonl as one never killed, because a checkpoint
holds everything the next step depends on (weights, running statistics, optimizer, data iterator, the figures not yet
averaged into a row) and is complete before the next batch is drawn. On GPUs this takes deterministic kernels too
(XLA_FLAGS=--xla_gpu_deterministic_ops=true).
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tqdm import tqdm

from jaxhar import checkpoint, config, files, history, port, process
from jaxhar.batch import Batch
from jaxhar.config import Experiment
from jaxhar.errors import Problem
from jaxhar.net import Flat, Net, leaves

Batches = Mapping[str, Batch]
Losses = Callable[[Any, Batch], dict[str, jax.Array]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything a step reads and writes.

    Attributes:
      params: dotted path -> trained array.
      stats: dotted path -> every other variable of the network (running statistics, random number keys).
      opt: optax state.
      step: () int32, steps done.
    """

    params: Flat
    stats: Flat
    opt: Any
    step: jax.Array


def make_step(
    net: Net,
    losses: Losses,
    optimizer: optax.GradientTransformation,
    frozen: Callable[[str], bool] = lambda path: False,
) -> Callable[[TrainState, Batches], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step (state, {stream: batch}) -> (state, metrics); the old state's buffers are given up.

    The streams are used one after the other, in the order of their names: gradients add up, and running statistics
    move once per stream. Metrics are () float32: "loss", one "stream/term" each, "gradient_norm".

    Args:
      frozen: dotted path of a running statistic -> whether it is kept as it is.
    """

    def stream_loss(params: Flat, stats: Flat, batch: Batch) -> tuple[jax.Array, tuple[Flat, dict]]:
        model = net.merge(params, stats)
        terms = losses(model(batch["frames"], action="action" in batch), batch)
        if "mask" in batch:
            mask = batch["mask"]
            terms = {k: jnp.where(mask, v, 0).sum() / jnp.maximum(mask.sum(), 1) for k, v in terms.items()}
        else:
            terms = {k: v.mean() for k, v in terms.items()}
        changed = leaves(nnx.state(model, nnx.Not(nnx.Param)))
        return jnp.asarray(sum(terms.values()), jnp.float32), (changed, terms)

    def step(state: TrainState, batches: Batches) -> tuple[TrainState, dict[str, jax.Array]]:
        stats, loss = state.stats, jnp.float32(0)
        metrics: dict[str, jax.Array] = {}
        grads = jax.tree.map(jnp.zeros_like, state.params)
        for stream, batch in sorted(batches.items()):
            (value, (stats, terms)), grad = jax.value_and_grad(stream_loss, has_aux=True)(state.params, stats, batch)
            loss, grads = loss + value, jax.tree.map(jnp.add, grads, grad)
            metrics |= {f"{stream}/{term}": v for term, v in terms.items()}
        stats = {name: state.stats[name] if frozen(name) else array for name, array in stats.items()}
        updates, opt = optimizer.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, **metrics, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(params, stats, opt, state.step + 1), metrics

    return jax.jit(step, donate_argnums=0)


def run(
    experiment: Experiment,
    workdir: Path,
    model: nnx.Module,
    data: Any,
    evaluate: Callable[[nnx.Module], dict[str, float]] | None = None,
    progress: bool = True,
) -> nnx.Module:
    """Trains, or goes on where the checkpoints in `workdir` end; a finished run is only loaded.

    Writes metrics.jsonl, tensorboard/ and checkpoints/ there. On SIGTERM or Ctrl-C it saves and raises SystemExit(0).

    Args:
      experiment: `losses`, `optimizer`, `train` and `init_from` are used; the rest is compared on resuming.
      model: in training mode, with `.config`; left as it is.
      data: has `skeleton`, `actions` and `train_stream(seed)`, an endless iterator of {stream: Batch} with `get_state`,
        `set_state` and perhaps `close`.
      evaluate: called with the network in evaluation mode every `train.eval_every` steps and after the last.

    Returns: the trained network in evaluation mode.

    Raises:
      Problem: the loss is not finite, the checkpoints are damaged or of other settings, a write fails.
    """
    train = experiment.train
    workdir = Path(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"cannot make the working directory {workdir}: {error.strerror}") from error
    lock = process.lock(workdir)
    stream = None
    try:
        net = Net(model)
        optimizer = experiment.optimizer.build(net.params, train.steps)
        mesh = _mesh(train.devices)
        store = checkpoint.Store(workdir, train.keep_last, keep_best=bool(train.best))
        stream = data.train_stream(train.seed)
        settings = _settings(experiment)
        window: list[dict[str, float]] = []
        state = TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0))
        saved = store.restore()
        if saved is not None:
            config.check_same(saved.record["settings"], settings, str(workdir))
            state = _unpack(saved.arrays, state)
            stream.set_state(saved.record["stream"])
            window = saved.record["window"]
        elif experiment.init_from is not None:
            arrays, saved_model = checkpoint.load_flat(Path(experiment.init_from))
            other_actions = bool(data.actions) and saved_model["actions"] != list(data.actions)
            fresh = net.load(arrays, experiment.init_from, partial=other_actions)
            if fresh:
                fresh = port.by_module(fresh, net.params | net.stats)
                print(f"{experiment.init_from} has the pose part; at their initial values stay {', '.join(fresh)}")
            state = dataclasses.replace(state, params=net.params, stats=net.stats)
        start = int(state.step)
        # The copy keeps the arrays of `model` out of the donated buffers.
        state = jax.device_put(jax.tree.map(jnp.copy, state), NamedSharding(mesh, PartitionSpec()))
        if start < train.steps:
            description = checkpoint.describe(model.config, data.skeleton, data.actions)  # type: ignore[attr-defined]
            step = make_step(net, experiment.losses, optimizer, experiment.optimizer.frozen)
            loop = _Loop(experiment, workdir, net, step, mesh, store, stream, evaluate, settings, description, window)
            state = loop.run(state, start, progress)
    finally:
        if stream is not None and hasattr(stream, "close"):
            stream.close()
        lock.close()
    return _evaluation_view(net, state)


@dataclasses.dataclass
class _Loop:
    """The loop of `run`, once everything it needs is there.

    Attributes:
      settings, description: of the run and of its model, for the checkpoints.
      window: figures of the steps since the last row of metrics.jsonl.
      pending: the step that is dispatched and not looked at: its number, its metrics, its batches.
    """

    experiment: Experiment
    workdir: Path
    net: Net
    step: Callable[[TrainState, Batches], tuple[TrainState, dict[str, jax.Array]]]
    mesh: jax.sharding.Mesh
    store: checkpoint.Store
    stream: Any
    evaluate: Callable[[nnx.Module], dict[str, float]] | None
    settings: dict[str, str]
    description: dict[str, Any]
    window: list[dict[str, float]]
    pending: tuple[int, dict[str, jax.Array], Batches] | None = None
    compiled: bool = False

    def run(self, state: TrainState, start: int, progress: bool) -> TrainState:
        """Steps `start` + 1 to the last, in a fixed order."""
        train = self.experiment.train
        self.history = history.History(self.workdir, start)
        self.bar = tqdm(
            total=train.steps,
            initial=start,
            desc="compiling",
            disable=not progress,
            bar_format="{desc}: {n_fmt}/{total_fmt} |{bar}| {rate_noinv_fmt} {remaining} left{postfix}",
            unit="step",
        )
        self.clock = time.monotonic()
        try:
            with process.StopRequest() as stop:
                for step in range(start + 1, train.steps + 1):
                    # 1. Draw a batch; the iterator's state now points at the next one.
                    batches = self._draw(step)
                    # 2. Dispatch the step; the device works on while the host goes on.
                    state, metrics = self.step(state, self._put(batches))
                    # 3. Look at the step before: stop on NaN, log. By now its figures are there or nearly so.
                    self._settle()
                    self.pending = (step, metrics, batches)
                    # 4. Evaluate and save, before the next batch is drawn. Both settle this step first.
                    last = step == train.steps
                    figures = self._evaluate(state, step) if last or _every(train.eval_every, step) else None
                    if figures or last or stop.requested or _every(train.checkpoint_every, step):
                        self._save(state, step, figures)
                    # 5. Leave when asked to.
                    if stop.requested and not last:
                        self.bar.close()
                        print(f"stopped at step {step} of {train.steps}; the same command goes on from there")
                        raise SystemExit(0)
            return state
        finally:
            self.bar.close()
            self.history.close()

    def _draw(self, step: int) -> Batches:
        batches = next(self.stream, None)
        if batches is None:
            raise Problem(f"the training data ended at step {step}; a training stream must be endless")
        return batches

    def _put(self, batches: Batches) -> Batches:
        devices = self.mesh.size
        for stream, batch in batches.items():
            if len(batch["frames"]) % devices:
                raise Problem(
                    f"a batch of {len(batch['frames'])} {stream} cannot be spread over {devices} devices; "
                    "change its size or set --config.train.devices"
                )
        return jax.device_put(batches, NamedSharding(self.mesh, PartitionSpec("data")))

    def _settle(self) -> None:
        """Fetches the figures of the pending step, checks them, and logs when a row is complete."""
        if self.pending is None:
            return
        step, metrics, batches = self.pending
        train = self.experiment.train
        self.pending = None
        fetched = {name: float(value) for name, value in jax.device_get(metrics).items()}
        values = {"loss": fetched.pop("loss"), **fetched}
        bad = [name for name, value in values.items() if not np.isfinite(value)]
        if bad:
            terms = [name for name in bad if name != "loss"]
            path = _save_batch(self.workdir / f"nonfinite-step{step}.npz", batches)
            raise Problem(
                f"{' and '.join(terms or bad)} became {values[(terms or bad)[0]]} at step {step}; the batch is saved "
                f"in {path}; lower the learning rate or look at that batch"
            )
        self.window.append(values)
        if not self.compiled:
            self.compiled = True
            self.bar.unpause()  # compiling says nothing about the time left
            self.bar.set_description_str(self.experiment.name, refresh=False)
        self.bar.update()
        if step % train.log_every == 0 or step == train.steps:
            row = history.mean(self.window)
            rate = self.experiment.optimizer.rate(train.steps)
            now = time.monotonic()
            clock = {"steps_per_second": len(self.window) / max(now - self.clock, 1e-9)}
            self.history.add(step, {**row, "learning_rate": float(rate(step - 1))}, clock)
            self.bar.set_postfix({k: f"{v:.3g}" for k, v in row.items() if k != "gradient_norm"}, refresh=False)
            self.clock = now
            self.window.clear()

    def _evaluate(self, state: TrainState, step: int) -> dict[str, float] | None:
        """The figures of this step, which become a row; None if this run has no evaluations."""
        if self.evaluate is None or not self.experiment.train.eval_every:
            return None
        self._settle()
        figures = self.evaluate(_evaluation_view(self.net, state))
        best = self.experiment.train.best
        if best and best not in figures:
            raise Problem(f"train.best is {best!r}, but the evaluation gives {', '.join(sorted(figures))}")
        self.history.add(step, {f"eval/{name}": float(value) for name, value in figures.items()})
        self.clock = time.monotonic()
        self.bar.unpause()
        return figures

    def _save(self, state: TrainState, step: int, figures: dict[str, float] | None) -> None:
        # A step that turned out NaN must not be saved, and its row must be on the disk before the checkpoint is.
        self._settle()
        self.history.sync()
        record = {"settings": self.settings, "stream": self.stream.get_state(), "window": self.window}
        best = self.experiment.train.best
        figure = float(figures[best]) if figures and best else None
        self.store.save(checkpoint.Saved(step, _pack(state), record, figure), self.description)


def _every(every: int, step: int) -> bool:
    """Whether something done every so many steps, 0 for never, is due."""
    return every > 0 and step % every == 0


def _evaluation_view(net: Net, state: TrainState) -> nnx.Module:
    model = net.merge(state.params, state.stats)
    model.eval()
    return model


def _mesh(devices: int) -> jax.sharding.Mesh:
    local = jax.local_devices()
    if devices > len(local):
        raise Problem(f"train.devices is {devices}, but this machine has {len(local)}")
    local = local[: devices or len(local)]
    return jax.make_mesh((len(local),), ("data",), axis_types=(AxisType.Auto,), devices=local)


def _pack(state: TrainState) -> dict[str, np.ndarray]:
    """A flat dict of plain arrays: the model's own under their dotted paths, then those of the optimizer."""
    arrays = {f"{checkpoint.MODEL_PREFIX}{n}": a for n, a in (state.params | state.stats).items()}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state.opt)[0]:
        arrays[f"opt{jax.tree_util.keystr(path)}"] = leaf
    arrays["step"] = state.step
    return {n: np.asarray(jax.random.key_data(a) if _is_key(a) else a) for n, a in arrays.items()}


def _unpack(arrays: Mapping[str, np.ndarray], template: TrainState) -> TrainState:
    """The inverse of `_pack`, for a state like `template`."""
    wanted = {name: array.shape for name, array in _pack(template).items()}
    complaints = port.compare({name: array.shape for name, array in arrays.items()}, wanted)
    if complaints:
        raise Problem(f"the checkpoint does not fit the experiment: {'; '.join(complaints[:5])}")

    def take(name: str, like: jax.Array) -> jax.Array:
        array = jnp.asarray(arrays[name])
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like)) if _is_key(like) else array

    prefix = checkpoint.MODEL_PREFIX
    leaves, tree = jax.tree_util.tree_flatten_with_path(template.opt)
    return TrainState(
        {n: take(prefix + n, a) for n, a in template.params.items()},
        {n: take(prefix + n, a) for n, a in template.stats.items()},
        jax.tree.unflatten(tree, [take(f"opt{jax.tree_util.keystr(path)}", leaf) for path, leaf in leaves]),
        take("step", template.step),
    )


def _is_key(array: Any) -> bool:
    return jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)


def _settings(experiment: Experiment) -> dict[str, str]:
    """What must stay the same for a run to go on exactly."""
    parts = {name: getattr(experiment, name) for name in ("model", "data", "losses", "optimizer")}
    flat = {"train.seed": str(experiment.train.seed), "train.mixed_precision": str(experiment.train.mixed_precision)}
    for name, part in parts.items():
        flat |= config.flatten(part, name)
    return flat


def _save_batch(path: Path, batches: Batches) -> Path:
    arrays = {f"{stream}.{key}": np.asarray(a) for stream, batch in batches.items() for key, a in batch.items()}
    try:
        with files.atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise Problem(f"the loss is not finite, and its batch cannot be saved to {path}: {error.strerror}") from error
    return path
