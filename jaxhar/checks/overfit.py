"""Learn a few samples by heart: the quickest proof that data, network, losses, gradients and metrics fit together.

One fixed batch, no augmentation, no shuffling. A chain without a mistake in it learns a handful of samples to the
last joint; one with swapped joints, a wrong crop map or a broken gradient does not.

The loss that is compared with the mark is that of the last prediction block in evaluation mode: per sample, the mean
over labelled coordinates of |d| + d^2 in crop units, plus 0.01 times the joints' mean cross-entropy of visibility. It
lacks the cross-entropy on coordinates that training adds: that term does not vanish for a perfect prediction (it is
the entropy of the label, up to 0.007 after its weight), so no mark could be set on it.

Poses are scored in the image, by the experiment's first PCK; those with a depth and a camera by their error in the
world as well.

Batch normalisation runs with momentum 0: its running statistics are those of the fixed batch at the step before, in
place of an average that takes hundreds of steps to settle.
"""

import dataclasses
import functools
import io
import time
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from jaxhar import zoo
from jaxhar.core import geometry
from jaxhar.core.batch import picture
from jaxhar.core.skeleton import PA16, Skeleton
from jaxhar.data import pipeline
from jaxhar.data.example import torso
from jaxhar.data.mpii import settings as mpii
from jaxhar.evaluation.metrics import AUC, PCK, PCKh, State, accuracy
from jaxhar.evaluation.metrics_3d import MPJPE
from jaxhar.evaluation.world import in_world
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.inference import infer
from jaxhar.training.experiment import Experiment
from jaxhar.training.losses import multitask as losses
from jaxhar.training.step import TrainState, make_step
from jaxhar.viz import draw as viz
from jaxhar.weights.net import Net

CONFIG = "configs/penn.py:demo"
#: Largest loss that counts as learned, for one sample and for more.
MARK_ONE, MARK_MANY = 0.005, 0.03
#: Largest MPJPE that counts as learned, in mm: the bound at which a joint is right in Mehta et al., 3DV 2017.
MARK_MM = 150.0
_PICTURE = 320  # side of the crops in the picture


@dataclasses.dataclass(frozen=True)
class Samples:
    """What is to be learned.

    Attributes:
      batch: every example real, joints outside of the crop not valid: no network can point there.
      names: of the examples.
      pictures: (B, H, W, 3) uint8, the middle frame of each, to draw on.
      skeleton: of the batch.
      metric: a `jaxhar.evaluation.metrics.PCK`, for the pose in the image.
    """

    batch: dict[str, np.ndarray]
    names: tuple[str, ...]
    pictures: np.ndarray
    skeleton: "Skeleton"
    metric: "PCK"


@dataclasses.dataclass(frozen=True)
class Result:
    """How it ended.

    Attributes:
      passed: whether loss, pck, accuracy and mpjpe all met their marks.
      loss: of the last block, see the module's text. mark: what it must not exceed.
      metric: name of the pose metric. pck: its value for the last block, a fraction of the labelled joints.
      accuracy: fraction of the clips whose action the last head names; None without actions.
      mpjpe: of the last block in mm, relative to the root; None without depths or cameras.
      steps, seconds: taken, compilation included.
      picture: the file with truth and prediction, if one was asked for.
    """

    passed: bool
    loss: float
    mark: float
    metric: str
    pck: float
    accuracy: float | None
    steps: int
    seconds: float
    picture: Path | None
    mpjpe: float | None = None


def run(
    experiment: "Experiment",
    *,
    photos: Path | None = None,
    samples: int | None = None,
    steps: int = 1000,
    every: int = 25,
    seed: int = 0,
    out: Path | None = None,
    workdir: Path | None = None,
    progress: bool = True,
) -> Result:
    """Train the experiment's network, by its losses and optimizer rule, on one batch until it knows it.

    The learning rate starts at the experiment's and falls to zero over `steps` along a cosine. It ends as soon as an
    evaluation passes.

    Args:
      photos: a folder of MPII in the common JSON form: pose alone, T = 1, scored by PCKh@0.5. None takes the
        centred clips, or the photos, of the experiment's first training sequences: pose and, of clips, action.
      samples: how many; None for all photos, or two of the experiment.
      every: steps between evaluations.
      seed: of the initial weights.
      out: folder for overfit.png; None for no picture.
      workdir: where the experiment's data prepares itself; None for that of its training, runs/NAME.
      progress: whether to print the figures as they come.

    Raises:
      Usage: `samples` or `steps` below 1, more samples than there are.
      Problem: the data cannot be read or does not fit the network, `out` cannot be made, the loss is not finite.
    """
    if steps < 1 or every < 1 or (samples is not None and samples < 1):
        raise Usage(f"samples, steps and every must be at least 1, not {samples}, {steps} and {every}")
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Problem(f"the folder {out} for the picture cannot be made ({error.strerror})") from error
    if photos is not None:
        chosen = from_photos(Path(photos), samples, experiment.model.image_size)
    else:
        chosen = from_experiment(experiment, samples or 2, workdir or Path("runs") / experiment.name)
    if progress:
        more = ", ..." if len(chosen.names) > 8 else ""
        print(f"learning by heart: {', '.join(chosen.names[:8])}{more}")
    return learn(experiment, chosen, steps=steps, every=every, seed=seed, out=out, progress=progress)


def from_photos(root: Path, samples: int | None, size: int) -> Samples:
    """The first `samples` persons of an MPII folder, in crops of side `size`."""

    persons = mpii.read(root)
    if samples is not None and samples > len(persons):
        raise Usage(f"{samples} samples are asked for, but {root} annotates {len(persons)} persons")
    persons = persons[:samples]
    batch: dict[str, np.ndarray] = {**pipeline.stack([mpii.to_example(p, size=size) for p in persons])}  # type: ignore[dict-item]
    large = [mpii.to_example(person, size=max(size, _PICTURE))["frames"][0] for person in persons]
    names = tuple(person.image.name for person in persons)
    batch["sequence"] = np.arange(len(persons), dtype=np.int32)
    return Samples(batch, names, np.stack(large), PA16, PCKh(0.5))


def from_experiment(experiment: "Experiment", samples: int, workdir: Path) -> Samples:
    """The centred clips, or the photos, of the first `samples` training sequences."""

    prepared = experiment.data.prepare(workdir)
    names = prepared.sequence_names("train")
    if samples > len(names):
        raise Usage(f"{samples} samples are asked for, but the training split has {len(names)} sequences")
    batch = {k: np.array(v) for k, v in next(iter(prepared.eval_stream("train", "single", samples))).items()}
    inside = (batch["pose"] > 0) & (batch["pose"] < 1)
    batch["valid"] = batch["valid"] & inside & inside[..., :2].all(-1, keepdims=True)
    if not experiment.model.num_actions:
        batch.pop("action", None)
    if not batch["norm"].any():
        batch["norm"] = _torsos(batch, prepared.skeleton)
    frames = batch["frames"]
    pictures = picture(frames[:, frames.shape[1] // 2])
    pck = (m for m in experiment.metrics if isinstance(m, PCK) and not isinstance(m, AUC))
    return Samples(batch, tuple(names[:samples]), pictures, prepared.skeleton, next(pck, PCK(0.2)))


def _torsos(batch: dict[str, np.ndarray], skeleton: "Skeleton") -> np.ndarray:
    """(B, T) reference lengths in the image, for data that brings none."""

    points = geometry.apply(geometry.invert(batch["affine"]), batch["pose"][..., :2].astype(np.float64))
    return np.stack([torso(p, v[..., :2].all(-1), skeleton) for p, v in zip(points, batch["valid"], strict=True)])


def learn(
    experiment: "Experiment",
    samples: Samples,
    *,
    steps: int,
    every: int,
    seed: int,
    out: Path | None,
    progress: bool,
) -> Result:
    """The training of `run`, once the batch is there."""

    config = experiment.model
    if config.num_joints != len(samples.skeleton):
        raise Problem(f"the network has {config.num_joints} joints, but the samples have {len(samples.skeleton)}")
    dtype = jnp.bfloat16 if experiment.train.mixed_precision else jnp.float32
    model = zoo.create(config, rngs=nnx.Rngs(seed), dtype=dtype)
    net = Net(nnx.with_attributes(model, only=nnx.BatchNorm, raise_if_not_found=False, momentum=0.0))
    recipe = dataclasses.replace(
        experiment.optimizer, schedule=optax.cosine_decay_schedule, schedule_options={"decay_steps": steps}
    )
    optimizer = recipe.build(net.params, steps)
    update = make_step(net, experiment.losses, optimizer)
    # The copy keeps the arrays of `net` out of the donated buffers.
    state = jax.tree.map(jnp.copy, TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0)))
    batches = {"fixed": jax.device_put(samples.batch)}

    start = time.monotonic()
    bar = tqdm(total=steps, desc="compiling", unit="step", disable=not progress)
    try:
        for step in range(1, steps + 1):
            state, terms = update(state, batches)
            if step % every and step < steps:
                continue
            values = {name.removeprefix("fixed/"): float(value) for name, value in terms.items()}
            if not np.isfinite(values["loss"]):
                raise Problem(f"the loss became {values['loss']} by step {step}; lower optimizer.learning_rate")
            trained = net.merge(state.params, state.stats)
            preds = infer(trained, samples.batch["frames"])
            result = score(preds, samples, step, time.monotonic() - start)
            bar.set_description("overfit", refresh=False)
            bar.update(step - bar.n)
            if progress:
                tqdm.write(_row(result, values))
            if result.passed:
                break
    finally:
        bar.close()
    if out is not None:
        result = dataclasses.replace(result, picture=_save_picture(out / "overfit.png", samples, preds))
    return result


def score(preds: dict[str, np.ndarray], samples: Samples, steps: int = 0, seconds: float = 0.0) -> Result:
    """Judge the predictions, action as probabilities, for a batch."""

    batch, metric = samples.batch, samples.metric
    deep = "camera" in batch and "depth" in batch and preds["pose"].shape[-1] == 3
    states: list[State] = []
    spaces: list[State] = []
    for b in range(len(samples.names)):
        example = {name: values[b] for name, values in batch.items()}
        pred, true = preds["pose"][-1:, b].astype(np.float64), example["pose"].astype(np.float64)
        to_image = geometry.invert(example["affine"])
        seen, shown = geometry.apply(to_image, pred[..., :2]), geometry.apply(to_image, true[..., :2])
        states.append(metric.get(seen, shown, example["valid"][..., :2].all(-1), example["norm"], samples.skeleton))
        if deep:
            world = in_world(example, pred), in_world(example, true)
            spaces.append(MPJPE().get(*world, example["valid"].all(-1), None, samples.skeleton))
    total = functools.reduce(State.merge, states)
    if not total.count.any():
        raise Problem(f"none of the samples has a labelled joint that {metric.name} can score; choose others")
    right = None
    if "action" in batch and "action" in preds:
        right = float(State(*accuracy(preds["action"], batch["action"])).compute()[-1])
    error = float(functools.reduce(State.merge, spaces).pooled()[-1]) if spaces else None
    pck, loss = float(total.pooled()[-1]), last_block_loss(preds, batch)
    mark = MARK_ONE if len(samples.names) == 1 else MARK_MANY
    passed = loss <= mark and pck == 1 and right in (None, 1.0) and (error is None or error <= MARK_MM)
    return Result(passed, loss, mark, metric.name, pck, right, steps, seconds, None, error)


def last_block_loss(preds: dict[str, np.ndarray], batch: dict[str, np.ndarray]) -> float:
    """The loss that the mark is for, see the module's text."""

    pose, visible = jnp.asarray(preds["pose"][-1]), jnp.asarray(preds["visible"][-1])
    pose = losses.pose(pose, jnp.asarray(batch["pose"]), jnp.asarray(batch["valid"]), coordinate_bce=0.0)
    visible = losses.visible(visible, jnp.asarray(batch["visible"]))
    return float((pose + 0.01 * visible).mean())


def others(result: Result, before: str) -> str:
    action = "" if result.accuracy is None else f"{before}action {result.accuracy:.1%}"
    return action + ("" if result.mpjpe is None else f"{before}MPJPE {result.mpjpe:.1f} mm")


def _row(result: Result, terms: dict[str, float]) -> str:
    named = "  ".join(f"{name} {terms[name]:.4f}" for name in ("pose", "visible", "action") if name in terms)
    return (
        f"step {result.steps:5d}  loss {result.loss:.4f}  {result.metric} {result.pck:.1%}{others(result, '  ')}  "
        f"(training: {named})  {result.seconds:.0f} s"
    )


def _save_picture(path: Path, samples: Samples, preds: dict[str, np.ndarray]) -> Path:
    """A sheet with two crops per sample, truth left and prediction right."""

    crops = []
    middle = samples.batch["frames"].shape[1] // 2
    for b, crop in enumerate(samples.pictures):
        side = max(len(crop), _PICTURE)
        if len(crop) < side:
            crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC)
        true = np.where(samples.batch["valid"][b, middle], samples.batch["pose"][b, middle], np.nan)[:, :2]
        pred = preds["pose"][-1, b, middle, :, :2].astype(np.float64)
        sure = preds["visible"][-1, b, middle]
        for title, pose, confidence in (("truth", true, None), ("prediction", pred, sure)):
            drawn = Image.fromarray(viz.draw_skeleton(crop, pose * side, samples.skeleton, confidence))
            pen = ImageDraw.Draw(drawn)
            pen.text((8, 6), title, (255, 255, 255), ImageFont.load_default(16), stroke_width=2, stroke_fill=(0, 0, 0))
            crops.append(np.asarray(drawn))
    buffer = io.BytesIO()
    Image.fromarray(viz.contact_sheet(crops, columns=2 if len(samples.names) < 4 else 4)).save(buffer, "PNG")
    files.write(path, buffer.getvalue())
    return path
