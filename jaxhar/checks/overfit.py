"""What `jaxhar overfit` does: train on a few samples until the network has learned them by heart.

This is a quick test of data, network, losses, gradients and scorers together: one fixed batch, no augmentation, no
shuffling. A correct experiment learns a few samples perfectly; one with swapped joints, a wrong crop or a broken
gradient does not.

The experiment defines when the samples are learned: its scorers have bounds for their figures (`Section.if_learned`),
and its losses a value with a limit (`HasFit`; see `jaxhar.training.losses.multitask.Multitask.fit` for poses).

Batch norms run with momentum 0, so their running statistics are those of the batch in the previous step. A running
average would need hundreds of steps to converge.
"""

import dataclasses
import io
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from jaxhar import inference, zoo
from jaxhar.checks.doctor import perfect, within
from jaxhar.core.batch import Batch, Preds, batch_size, to_image
from jaxhar.core.network import NetworkConfig, frame_size, inputs_of
from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import PA16, Skeleton
from jaxhar.data import pipeline
from jaxhar.data.example import torso
from jaxhar.data.mpii import settings as mpii
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PCK, PCKh
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.scorer import Context, Scorer
from jaxhar.evaluation.sections import Section
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.training.experiment import Experiment
from jaxhar.training.losses import HasFit, fitted
from jaxhar.training.step import Losses, TrainState, make_step
from jaxhar.viz import draw as viz
from jaxhar.weights.net import Net

CONFIG = "configs/penn.py:demo"
_PICTURE = 320  # side of the crops in the picture


@dataclasses.dataclass(frozen=True)
class FixedSamples:
    """The samples to learn, and their scorers.

    Attributes:
      batch: without padding. Joints outside of the crop are not valid, since networks predict positions inside.
      names: of the examples.
      context, scorers: to score predictions.
      pictures: (B, H, W, 3) uint8, the middle frame of each example, to draw poses on; None without poses.
    """

    batch: Batch
    names: tuple[str, ...]
    context: Context
    scorers: tuple[Scorer, ...]
    pictures: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of `run`.

    Attributes:
      passed: whether the loss is within its limit, and all figures within their bounds.
      figures: name -> value of the figures with bounds. units: name -> "%" for a fraction, else its unit.
      loss: of the last prediction, from `HasFit.fit`; None for losses without it.
      mark: limit of the loss.
      steps, seconds: of training, with compilation.
      picture: file with true and predicted poses, or None.
    """

    passed: bool
    figures: dict[str, float]
    units: dict[str, str]
    loss: float | None
    mark: float
    steps: int = 0
    seconds: float = 0.0
    picture: Path | None = None


def run(
    experiment: Experiment,
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
    """Train the experiment's network, with its losses and optimizer rule, on one batch until it has learned it.

    The learning rate follows a cosine from the experiment's rate to zero over `steps`. Training stops as soon as an
    evaluation passes.

    Args:
      photos: a folder of MPII in the common JSON form, to learn only poses in single frames, scored by PCKh@0.5. None
        takes one example, e.g. the middle clip, of each of the experiment's first training sequences, scored by its
        first evaluation.
      samples: number of samples; None for all photos, or two of the experiment.
      every: steps between evaluations.
      seed: of the initial weights.
      out: folder for overfit.png, which shows poses; None for no picture.
      workdir: folder for the experiment's packed data; None for that of its training, runs/NAME.
      progress: whether to print the figures of every evaluation.

    Raises:
      Usage: `samples` or `steps` below 1, more samples than there are.
      Problem: the data cannot be read or does not fit the network, `out` cannot be made, the loss is not finite.
    """
    if steps < 1 or every < 1 or (samples is not None and samples < 1):
        raise Usage(f"samples, steps and every must be at least 1, not {samples}, {steps} and {every}")
    if out is not None:
        files.make_folder(out)
    if photos is not None:
        chosen = from_photos(Path(photos), samples, experiment.model)
    else:
        chosen = from_experiment(experiment, samples or 2, workdir or Path("runs") / experiment.name)
    if progress:
        more = ", ..." if len(chosen.names) > 8 else ""
        print(f"samples to learn by heart: {', '.join(chosen.names[:8])}{more}")
    return learn(experiment, chosen, steps=steps, every=every, seed=seed, out=out, progress=progress)


def from_photos(root: Path, samples: int | None, config: NetworkConfig) -> FixedSamples:
    """The first `samples` persons of an MPII folder, in crops of the network's size."""
    if config.pose_shape is None:
        raise Usage("--photos is for networks that predict poses, and this one does not; leave the option out")
    persons = mpii.read(root)
    if samples is not None and samples > len(persons):
        raise Usage(f"{samples} samples are asked for, but {root} annotates {len(persons)} persons")
    persons, size = persons[:samples], max(frame_size(config))
    batch = pipeline.stack([mpii.to_example(p, size=size) for p in persons])
    large = [mpii.to_example(person, size=max(size, _PICTURE))["frames"][0] for person in persons]
    names = tuple(person.image.name for person in persons)
    batch["sequence"] = np.arange(len(persons), dtype=np.int32)
    context = Context(View("single", "each"), skeleton=PA16, names=names, network=config)
    return FixedSamples(batch, names, context, (Pose((PCKh(0.5),)),), np.stack(large))


def from_experiment(experiment: Experiment, samples: int, workdir: Path) -> FixedSamples:
    """One example of each of the first `samples` training sequences, scored as the experiment's first evaluation."""
    config: NetworkConfig = experiment.model
    plan = next(iter(experiment.evals.values()), Eval())
    prepared, _, _ = evaluate.views_of(plan, experiment.data.prepare(workdir))
    names = prepared.sequence_names("train")
    if samples > len(names):
        raise Usage(f"{samples} samples are asked for, but the training split has {len(names)} sequences")
    views = list(prepared.views("train").values())
    view = next((one for one in views if one.kind == "each"), views[0])
    batch = next(iter(prepared.eval_stream(split="train", view=view.name, batch=samples))).copy()
    if not config.classes:
        batch.pop("action", None)
    context = evaluate.context_of(prepared, "train", [view], view)
    context = dataclasses.replace(context, network=config)
    scorers, pictures = plan.scorers, None
    if config.pose_shape is not None and "pose" in batch and prepared.skeleton is not None:
        batch = _learnable(batch, prepared.skeleton)
        if not _bounds_poses(scorers, batch, context):
            scorers = (*scorers, Pose((PCK(0.2),)))
        if "frames" in batch:
            frames = batch["frames"]
            pictures = Pixels.SIGNED.picture(frames[:, frames.shape[1] // 2])
    return FixedSamples(batch, tuple(names[:samples]), context, scorers, pictures)


def _learnable(batch: Batch, skeleton: Skeleton) -> Batch:
    """The batch with joints outside of the crop marked as not valid, and with a reference length."""
    inside = (batch["pose"] > 0) & (batch["pose"] < 1)
    batch = {**batch, "valid": batch["valid"] & inside & inside[..., :2].all(-1, keepdims=True)}
    if not np.any(batch.get("norm", 0)):
        points = to_image(batch["affine"], batch["pose"])
        pairs = zip(points, batch["valid"][..., :2].all(-1), strict=True)
        batch["norm"] = np.stack([torso(p, v, skeleton) for p, v in pairs])
    return batch


def _bounds_poses(scorers: tuple[Scorer, ...], batch: Batch, context: Context) -> bool:
    """Whether a scorer has bounds for the share of correct joints in the image."""
    _, found = evaluate.score(scorers, context, _pairs(batch, perfect(scorers, batch, context)))
    return any(
        section.units[key] == "%"
        for scorer, sections in zip(scorers, found, strict=True)
        for section in sections
        for key in section.if_learned
        if "pose" in scorer.reads
    )


def learn(
    experiment: Experiment,
    samples: FixedSamples,
    *,
    steps: int,
    every: int,
    seed: int,
    out: Path | None,
    progress: bool,
) -> Result:
    """The training of `run` on given samples."""
    config: NetworkConfig = experiment.model
    skeleton, shape = samples.context.skeleton, config.pose_shape
    if shape is not None and skeleton is not None and shape[0] != len(skeleton):
        raise Problem(f"the network has {shape[0]} joints, but the samples have {len(skeleton)}")
    dtype = jnp.bfloat16 if experiment.train.mixed_precision else jnp.float32
    model = zoo.create(config, rngs=nnx.Rngs(seed), dtype=dtype)
    net = Net(nnx.with_attributes(model, only=nnx.BatchNorm, raise_if_not_found=False, momentum=0.0))
    recipe = dataclasses.replace(
        experiment.optimizer, schedule=optax.cosine_decay_schedule, schedule_options={"decay_steps": steps}
    )
    optimizer = recipe.build(net.params, steps)
    losses = fitted(experiment.losses, config)
    update = make_step(net, losses, optimizer)
    # A copy, because a step reuses the memory of its old state, and `net` still needs its arrays.
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
            preds = predict(net.merge(state.params, state.stats), samples.batch)
            result = score(preds, samples, losses, step, time.monotonic() - start)
            bar.set_description("overfit", refresh=False)
            bar.update(step - bar.n)
            if progress:
                tqdm.write(_row(result, values))
            if result.passed:
                break
    finally:
        bar.close()
    if out is not None and samples.pictures is not None:
        result = dataclasses.replace(result, picture=_save_picture(out / "overfit.png", samples, preds))
    return result


def predict(model: Any, batch: Batch) -> Preds:
    """Predictions of a network in evaluation mode, action as logits."""
    inputs = inputs_of(model.config, batch)
    return jax.tree.map(np.asarray, inference.forward(*inference.prepare(model), inputs))


def score(preds: Preds, samples: FixedSamples, losses: Losses, steps: int = 0, seconds: float = 0.0) -> Result:
    """Score predictions (K, B, ...) for the samples, with action as logits, and check all bounds."""
    _, found = evaluate.score(samples.scorers, samples.context, _pairs(samples.batch, preds))
    sections: list[Section] = list(itertools.chain.from_iterable(found))
    bounds = {key: bound for section in sections for key, bound in section.if_learned.items()}
    figures = {key: section.scalars[key] for section in sections for key in section.if_learned}
    units = {key: section.units.get(key, "") for section in sections for key in section.if_learned}
    loss, mark = losses.fit(preds, samples.batch) if isinstance(losses, HasFit) else (None, math.inf)
    if loss is None and not bounds:
        raise Problem("neither a scorer nor the loss of the experiment has a bound for learned samples")
    empty = [key for key, value in figures.items() if math.isnan(value)]
    if empty:
        raise Problem(f"none of the samples has a label that {empty[0]} can score; choose others")
    passed = all(within(figures[key], bound) for key, bound in bounds.items()) and (loss is None or loss <= mark)
    return Result(passed, figures, units, loss, mark, steps, seconds)


def _pairs(batch: Batch, preds: Preds) -> Iterator[tuple[dict[str, object], dict[str, object]]]:
    """Yields each example with its predictions, without the batch axis."""
    for b in range(batch_size(batch)):
        example = {key: np.asarray(value)[b] for key, value in batch.items()}
        yield example, jax.tree.map(lambda value, b=b: value[:, b], {**preds})


def shown(result: Result) -> list[str]:
    """The loss and the figures as text."""
    loss = [] if result.loss is None else [f"loss {result.loss:.4f}"]
    pairs = [(key, value, result.units[key]) for key, value in result.figures.items()]
    return loss + [f"{key} {value:.1%}" if unit == "%" else f"{key} {value:.4g} {unit}" for key, value, unit in pairs]


def _row(result: Result, terms: dict[str, float]) -> str:
    named = "  ".join(f"{name} {value:.4f}" for name, value in terms.items() if name not in ("loss", "gradient_norm"))
    return f"step {result.steps:5d}  {'  '.join(shown(result))}  (training: {named})  {result.seconds:.0f} s"


def _save_picture(path: Path, samples: FixedSamples, preds: Preds) -> Path:
    """Draw a sheet with two crops per sample, true pose left and predicted pose right."""
    assert samples.pictures is not None and samples.context.skeleton is not None
    crops = []
    batch, skeleton = samples.batch, samples.context.skeleton
    middle = batch["pose"].shape[1] // 2
    for b, crop in enumerate(samples.pictures):
        side = max(*crop.shape[:2], _PICTURE)
        if crop.shape[:2] != (side, side):
            crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC)
        true = np.where(batch["valid"][b, middle], batch["pose"][b, middle], np.nan)[:, :2]
        pred = preds["pose"][-1, b, middle, :, :2].astype(np.float64)
        confidence = preds["visible"][-1, b, middle] if "visible" in preds else None
        for title, pose, scores in (("truth", true, None), ("prediction", pred, confidence)):
            drawn = Image.fromarray(viz.draw_skeleton(crop, pose * side, skeleton, scores))
            pen = ImageDraw.Draw(drawn)
            pen.text((8, 6), title, (255, 255, 255), ImageFont.load_default(16), stroke_width=2, stroke_fill=(0, 0, 0))
            crops.append(np.asarray(drawn))
    buffer = io.BytesIO()
    Image.fromarray(viz.contact_sheet(crops, columns=2 if len(samples.names) < 4 else 4)).save(buffer, "PNG")
    files.write(path, buffer.getvalue())
    return path
