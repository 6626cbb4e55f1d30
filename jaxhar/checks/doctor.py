"""What `jaxhar doctor` does: check an experiment by treating the labels of its data as predictions.

The labels are converted to a network's output (`Scorer.truth`) and passed to the losses, and through crop and camera
to the scorers in every view of the experiment. Figures must be within the bounds for perfect predictions (100 %, 0 mm:
`Section.if_true`), and losses at their smallest value (`floor`). Anything else is a mistake in the data, the settings
or the code. `jaxhar.checks.examples` checks the examples themselves. Nothing is trained.
"""

import dataclasses
import functools
import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image, ImageDraw, ImageFont

from jaxhar import zoo
from jaxhar.checks import examples
from jaxhar.checks.examples import Case, Finding, joints_in_frames
from jaxhar.core import geometry
from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import NetworkConfig, Reconstructing
from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import Prepared, View
from jaxhar.data import dataset
from jaxhar.data.records import pictures
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PixelError
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.results import Published
from jaxhar.evaluation.scorer import Context, Scorer
from jaxhar.evaluation.sections import Section
from jaxhar.host import files
from jaxhar.training.experiment import Experiment
from jaxhar.training.losses import HasFloor
from jaxhar.training.step import Losses
from jaxhar.viz import draw as viz

#: Largest relative error of the losses of the labels.
FLOOR = 1e-4
_BATCH = 8
_TILE = 240
#: Keys of a batch that `valid` masks.
_MASKED = ("pose",)

Arrays = dict[str, jax.Array]


def examine(
    experiment: Experiment, workdir: Path, count: int = 48, seed: int = 0, out: Path | None = None
) -> list[tuple[str, Finding]]:
    """Run all checks; returns the findings, each with the name of its data set or part of the experiment.

    Args:
      workdir: folder for the packed data.
      count: number of training and of evaluation examples to check.
      out: folder for doctor_NAME.png, pictures of crops and frames with their joints; None draws nothing.

    Raises:
      Problem: the data cannot be read.
    """
    prepared, config = experiment.data.prepare(workdir), experiment.model
    findings: list[tuple[str, Finding]] = []
    for name, part in prepared.parts.items():
        found, cases = _examples(part, count, seed, len(part.actions) in config.classes)
        if out is not None and any(can_be_drawn(case) for case in cases):
            sheet(out / f"doctor_{name}.png", [case for case in cases if can_be_drawn(case)], part)
        findings += [(name, finding) for finding in found]
    sections: dict[str, list[list[Section]]] = {}
    for name, plan in experiment.evals.items():
        finding, sections[name] = scores(prepared, plan, config, count)
        findings.append((plan.part or name or "evaluation", finding))
    scorers = tuple(scorer for plan in experiment.evals.values() for scorer in plan.scorers)
    for name, stage in experiment.plan.items():
        learner = stage.model
        context = Context(
            View("training", "each"), skeleton=prepared.skeleton, classes=tuple(prepared.actions), network=learner
        )
        drawn = prepared.changed(**stage.data).train_stream(seed)
        batches = next(drawn)
        drawn.close()
        for kind, batch in batches.items():
            where, truth = f"{name} {kind}".strip(), perfect(scorers, batch, context)
            findings += [(where, finding) for finding in training(stage.losses, batch, truth, learner.pixels)]
            findings.append((where, network(learner, batch, truth)))
    findings.append(("settings", names(experiment, sections, prepared.actions)))
    return findings


def _examples(part: Prepared, count: int, seed: int, trained: bool) -> tuple[list[Finding], list[Case]]:
    """Findings on the examples of a data set; only on its splits if it is not a `PreparedSet`."""
    if isinstance(part, dataset.PreparedSet):
        return examples.check_examples(part, count, seed, trained)
    return [examples.splits(part)], []


def perfect(scorers: Iterable[Scorer], batch: Batch, context: Context) -> Preds:
    """The labels of a batch as predictions (K, B, ...) of a network, for all keys that the scorers know."""
    found: dict[str, object] = {}
    for scorer in scorers:
        found |= scorer.truth(batch, context)
    return found  # type: ignore[return-value]


class _FirstBatches:
    """A prepared data set whose evaluation streams end after a number of batches."""

    def __init__(self, prepared: Prepared, batches: int):
        self._prepared, self._batches = prepared, batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prepared, name)

    def eval_stream(self, **which: Any) -> Iterator[Batch]:
        return itertools.islice(self._prepared.eval_stream(**which), self._batches)

    def eval_length(self, **which: Any) -> int:
        return min(self._batches, self._prepared.eval_length(**which))


def scores(prepared: Prepared, plan: Eval, config: NetworkConfig, count: int) -> tuple[Finding, list[list[Section]]]:
    """Run one evaluation of the experiment, with the labels as predictions.

    Returns: the finding, and the sections of each view.
    """
    data, split, views = evaluate.views_of(plan, prepared)
    scorers = plan.scorers
    if config.pose_shape is not None and data.skeleton is not None:
        scorers = (*scorers, Pose((PixelError("error of the truth"),)))
    reads = tuple(dict.fromkeys(key for scorer in scorers for key in scorer.reads))
    limited: Any = _FirstBatches(data, max(1, count // _BATCH))
    wrong: list[str] = []
    good: list[str] = []
    by_view: list[list[Section]] = []
    for view in views:
        context = dataclasses.replace(evaluate.context_of(data, split, views, view), network=config)
        labelled: list[bool] = []

        def truth(batch: Batch, context: Context = context, labelled: list[bool] = labelled) -> Preds:
            labelled.append("valid" not in batch or bool(np.any(batch["valid"])))
            return perfect(scorers, batch, context)

        pairs = evaluate.predictions(truth, limited, split, view, reads, _BATCH, progress=False)
        _, found = evaluate.score(scorers, context, pairs)
        by_view.append(list(itertools.chain.from_iterable(found)))
        unlabelled = not any(labelled)
        for section in by_view[-1]:
            for key, bound in section.if_true.items():
                value, unit = section.scalars[key], section.units.get(key, "")
                (good if within(value, bound, unlabelled) else wrong).append(f"{key} {figure(value, unit)}")
    return Finding("scores of the truth", ", ".join(wrong or good), not wrong), by_view


def within(value: float, bound: tuple[float, float], unlabelled: bool = False) -> bool:
    """Whether a figure is within its bounds; NaN (nothing was counted) is accepted only for unlabelled data."""
    return unlabelled if math.isnan(value) else bound[0] <= value <= bound[1]


def figure(value: float, unit: str) -> str:
    """A figure as text."""
    return f"{value:.2%}" if unit == "%" else f"{value:.4f} {unit}".strip()


def training(losses: Losses, batch: Batch, truth: Preds, pixels: Pixels | None = None) -> list[Finding]:
    """Check one training batch: its values, that the losses are smallest for the labels, that gradients are finite.

    Args:
      truth: predictions (K, B, ...) equal to the labels.
      pixels: normalisation of the network's frames; None if it reads none.
    """
    found = [values_of(batch, pixels)]
    preds: Arrays = jax.tree.map(lambda value: jnp.asarray(value[-1:]), dict(truth))
    worse = {name: jax.tree.map(uninformative, value) for name, value in preds.items()}

    @jax.jit  # one program in place of one for each operation
    def total(preds: Arrays, batch: Batch) -> jax.Array:
        return jnp.asarray(sum(term.sum() for term in losses(preds, batch).values()))

    found_terms = jax.jit(lambda preds, batch: dict(losses(preds, batch)))(preds, batch)
    terms = {name: np.asarray(term, np.float64) for name, term in found_terms.items()}
    floor: Arrays = losses.floor(batch) if isinstance(losses, HasFloor) else {}
    wrong = [f"{name} not finite" for name, term in terms.items() if not np.isfinite(term).all()]
    wrong += [
        f"{name} is {term.mean():.6f}, not {np.mean(floor[name]):.6f}"
        for name, term in terms.items()
        if name in floor and not np.allclose(term, floor[name], rtol=FLOOR, atol=1e-5)
    ]
    least = float(total(preds, batch))
    costs = {name: float(total({**preds, name: value}, batch)) for name, value in worse.items()}
    # Predictions without a label or a loss weight do not change the loss, so an equal loss is accepted here.
    wrong += [
        f"the loss of a wrong {name} is below that of the labels" for name, cost in costs.items() if not cost >= least
    ]
    if preds and not any(cost > least for cost in costs.values()) and not wrong:
        wrong.append("wrong predictions do not increase the loss")
    words = ", ".join(f"{name} {term.mean():.5f}" for name, term in terms.items())
    found.append(
        Finding("losses of the truth", "; ".join(wrong) or f"{words}; wrong predictions increase them", not wrong)
    )
    found.append(_gradients(total, batch, preds, worse))
    return found


def values_of(batch: Batch, pixels: Pixels | None) -> Finding:
    """Whether the values of a training batch are finite and within their ranges."""
    values = {key: np.asarray(value) for key, value in batch.items() if not isinstance(value, tuple)}
    bad = [key for key, value in values.items() if value.dtype.kind == "f" and not np.isfinite(value).all()]
    words = [f"{', '.join(bad)} not finite"] if bad else []
    shown = next((values[key] for key in ("frames", "points", "features") if key in values), None)
    found = "no frames, points or features" if shown is None else " x ".join(map(str, shown.shape))
    if "frames" in values and pixels is not None:
        low, high = pixels.bounds()
        normalised = np.asarray(pixels(batch))
        if normalised.min() < low - 1e-5 or normalised.max() > high + 1e-5:
            words.append(f"frames outside of [{low:.3g}, {high:.3g}]")
    if "valid" in values:
        pose, valid = values["pose"], values["valid"]
        outside = int((valid & ~((pose > 0) & (pose < 1))).sum())
        words += [f"{outside} supervised coordinates outside of the crop"] if outside else []
        found += f", {valid[..., 0].mean():.0%} of the joints labelled"
    return Finding("batch", "; ".join(words) or found, not words)


def uninformative(value: jax.Array) -> jax.Array:
    """Predictions replaced by noise around their mean."""
    noise = np.random.default_rng(0).normal(0, 0.1, value.shape)
    return jnp.asarray(value.mean() + noise, value.dtype)


def _gradients(
    total: Callable[[Arrays, Batch], jax.Array],
    batch: Batch,
    preds: Arrays,
    worse: Arrays,
) -> Finding:
    """Whether the gradients are finite, whatever the values of unlabelled joints are."""
    filled = {"": dict(batch)}
    if "valid" in batch:
        rng, valid = np.random.default_rng(0), np.asarray(batch["valid"])
        broken: dict[str, object] = dict(batch)
        for key in _MASKED:
            value = np.asarray(broken[key])
            junk = np.where(rng.random(value.shape) < 0.5, np.nan, -1e9)
            broken[key] = np.where(valid, value, junk).astype(np.float32)
        filled[" with NaN and -1e9 where no joint is labelled"] = broken
    gradient = jax.jit(jax.grad(total))
    words = [
        f"not finite {title}{where}"
        for title, tried in (("at the labels", preds), ("at wrong predictions", {**preds, **worse}))
        for where, one in filled.items()
        if not all(np.isfinite(g).all() for g in jax.tree.leaves(gradient(tried, one)))
    ]
    found = "finite" + (", whatever the values of unlabelled joints" if len(filled) > 1 else "")
    return Finding("gradients", "; ".join(words) or found, not words)


def network(config: NetworkConfig, batch: Batch, truth: Preds) -> Finding:
    """Whether the network's outputs in training have the shapes of the labels; only shapes are computed."""
    missing = [key for key in config.reads if key not in batch]
    if missing:
        return Finding("network", f"it reads {', '.join(missing)}, which the data lacks", False)
    graphdef, state = _abstract(config)  # type: ignore[arg-type]
    shapes = jax.tree.map(lambda value: jax.ShapeDtypeStruct(np.shape(value), np.asarray(value).dtype), dict(batch))
    shown = {key: shapes[key].shape for key in config.reads}
    try:
        preds = jax.eval_shape(lambda state, batch: dict(nnx.merge(graphdef, state)(batch)), state, shapes)
    except (ValueError, TypeError) as error:
        words = ", ".join(f"{key} of {shape}" for key, shape in shown.items())
        return Finding("network", f"it cannot read {words}: {str(error).splitlines()[0]}", False)
    found = {key: [leaf.shape for leaf in jax.tree.leaves(value)] for key, value in preds.items()}
    wrong = []
    for key, value in truth.items():
        labels = [np.shape(leaf)[1:] for leaf in jax.tree.leaves(value)]
        if key in found and not any(shape[1:] in labels for shape in found[key]):
            predicted = " and ".join(map(str, (shape[1:] for shape in found[key])))
            wrong.append(f"{key} is {predicted} in each prediction, the labels are {' and '.join(map(str, labels))}")
    if "action" in batch and "action" not in found and not isinstance(config, Reconstructing):
        wrong.append("the clips have action labels, but it predicts no actions")
    words = ", ".join(f"{key} {' and '.join(map(str, shapes))}" for key, shapes in found.items())
    return Finding("network", "; ".join(wrong) or words, not wrong)


@functools.lru_cache(maxsize=1)
def _abstract(config: NetworkConfig) -> tuple[nnx.GraphDef, nnx.State]:
    """The structure of a network in training mode, and the shapes of its arrays."""
    return nnx.split(nnx.eval_shape(lambda: zoo.create(config, rngs=nnx.Rngs(0))))


def names(
    experiment: Experiment, sections: dict[str, list[list[Section]]], actions: Sequence[str] | None = None
) -> Finding:
    """Whether `train.best` and the published figures name existing figures, and the numbers of classes agree.

    Args:
      sections: results by evaluation and view. `train.best` must be in the first view, the only one in training.
      actions: names of the data's classes; None skips this check.
    """
    wrong = []
    counts = experiment.model.classes
    if counts and actions is not None and len(actions) not in counts:
        wrong.append(f"the network has {' + '.join(map(str, counts))} action classes, but the data {len(actions)}")
    wanted: list[tuple[str, str, list[Section]]] = []
    if experiment.train.best:
        first = next(iter(experiment.evals), None)
        wanted.append(
            ("train.best", experiment.train.best.removeprefix("-"), [] if first is None else sections[first][0])
        )
    for name, plan in experiment.evals.items():
        every = list(itertools.chain.from_iterable(sections[name]))
        wanted += [("published", one.key, every) for one in plan.published if isinstance(one, Published)]
    for where, key, searched in wanted:
        figures = sorted({name for section in searched for name in section.scalars})
        if key not in figures:
            wrong.append(f"{where} is {key!r}, but the figures are {', '.join(figures)}")
    return Finding("names", "; ".join(wrong) or "all named figures exist, the classes agree", not wrong)


def can_be_drawn(case: Case) -> bool:
    """Whether a case has frames and joints to draw."""
    return "frames" in case.example and "pose" in case.example


def first_and_last(cases: list, most: int) -> list:
    """At most `most` cases, half from the beginning and half from the end."""
    return cases if len(cases) <= most else [*cases[: most // 2], *cases[-(most // 2) :]]


def sheet(path: Path, cases: list[Case], prepared: Prepared, most: int = 12) -> None:
    """Draw a sheet: frames with the crop's outline and joints, each beside its crop; training examples first."""
    tiles = []
    for case in first_and_last(cases, most):
        assert prepared.skeleton is not None  # of cases with a pose
        middle, name = len(case.frames) // 2, case.record["name"].decode()
        (frame,) = pictures.frames(case.record, [case.frames[middle]])
        scale = _TILE / max(frame.shape[:2])
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        valid = case.example["valid"][middle, :, :2].all(-1)[:, None]
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
        corners = scale * geometry.apply(geometry.invert(case.example["affine"][middle]), corners)
        frame = cv2.polylines(frame, [np.round(corners).astype(int)], True, (255, 200, 0), 1, cv2.LINE_AA)
        back = np.where(valid, joints_in_frames(case)[middle] * scale, np.nan)
        sides = prepared.skeleton.flip if case.draw.flip else slice(None)
        frame = viz.draw_skeleton(frame, back[sides], prepared.skeleton)
        crop = cv2.resize(
            Pixels.SIGNED.picture(case.example["frames"][middle]), (_TILE, _TILE), interpolation=cv2.INTER_CUBIC
        )
        pose = np.where(valid, case.example["pose"][middle, :, :2].astype(np.float64) * _TILE, np.nan)
        crop = viz.draw_skeleton(crop, pose, prepared.skeleton)
        action = int(case.example.get("action", -1))
        title = f"{case.record.get('split', 'train')} {name} {prepared.actions[action] if action >= 0 else ''}"
        scene = Image.fromarray(frame)
        pen = ImageDraw.Draw(scene)
        pen.text((4, 3), title, (255, 255, 255), ImageFont.load_default(11), stroke_width=2, stroke_fill=(0, 0, 0))
        tiles += [np.asarray(scene), crop]
    buffer = io.BytesIO()
    Image.fromarray(viz.contact_sheet(tiles, columns=6)).save(buffer, "PNG")
    files.write(path, buffer.getvalue())
