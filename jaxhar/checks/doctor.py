"""`jaxhar doctor`: put the truth of an experiment's data through its whole chain, as if a network had found it.

The labels take the form of a network's output, go through the losses, back through crop and camera, and to the metrics
by every protocol of the experiment. They must score 100 % and 0 mm, and cost no more than the entropy of the labels;
anything else is a mistake in the data, the settings or the code. See `jaxhar.checks.examples` for what is asked of the
examples themselves. Nothing is trained.
"""

import functools
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image, ImageDraw, ImageFont

from jaxhar import zoo
from jaxhar.checks.examples import Case, Finding, found_again, look
from jaxhar.core import geometry
from jaxhar.core.batch import Batch, Preds, network_input, picture
from jaxhar.data.records import pictures
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.metrics import PixelError
from jaxhar.evaluation.results import Published
from jaxhar.host import files
from jaxhar.training.experiment import Experiment
from jaxhar.training.losses.multitask import Multitask
from jaxhar.viz import draw as viz

#: Logit of the true class: its probability is 1 to float32's last digit.
_SURE = 40.0
#: Largest error of the truth in mm, exact and by the authors' inverse of the lens; in relative units, of its loss.
EXACT, AUTHORS_LENS, FLOOR = 0.01, 20.0, 1e-4
_TILE = 240


def examine(
    experiment: "Experiment", workdir: Path, count: int = 48, seed: int = 0, out: Path | None = None
) -> list[tuple[str, Finding]]:
    """All findings, each with the name of the data set or the part of the experiment that it is about.

    Args:
      workdir: where the data prepares itself.
      count: examples of each kind to look at.
      out: folder for doctor_NAME.png, crops and their frames with the joints of training and evaluation; None for none.

    Raises:
      Problem: the data cannot be read.
    """
    prepared = experiment.data.prepare(workdir)
    parts = dict(getattr(prepared, "parts", None) or {experiment.data.home: prepared})
    evaluated = getattr(experiment.data, "evaluated", None) or next(iter(parts))
    findings: list[tuple[str, Finding]] = []
    for name, part in parts.items():
        own = name == evaluated
        also = experiment if own else experiment.also.get(name)
        trained = own and bool(getattr(experiment.model, "num_actions", None))
        found, cases = look(part, count, seed, trained)
        if also is not None:
            labelled = any(case.example["valid"].any() for case in cases)
            found.append(scores(part, also.metrics, also.protocols, count, labelled, trained))
        if out is not None and cases:
            sheet(out / f"doctor_{name}.png", cases, part)
        findings += [(name, finding) for finding in found]
    for name, stage in experiment.plan.items():
        drawn = prepared.changed(**stage.data).train_stream(seed)
        batches = next(drawn)
        drawn.close()
        for kind, batch in batches.items():
            where = f"{name} {kind}".strip()
            findings += [(where, finding) for finding in training(stage.losses, batch)]
            findings.append((where, network(experiment.model, batch, len(prepared.skeleton))))
    findings.append(("settings", names(experiment, prepared.actions)))
    return findings


def perfect(batch: "Batch", classes: int | None) -> "Preds":
    """The truth of a batch in the form of the output of a network of 2 blocks and, with classes, 3 heads."""
    preds: dict[str, Any] = {name: np.repeat(np.asarray(batch[name])[None], 2, 0) for name in ("pose", "visible")}  # type: ignore[literal-required]
    if "action" in batch and classes:
        logits = _SURE * np.eye(classes, dtype=np.float32)[np.asarray(batch["action"])]
        preds["action"] = np.repeat(logits[None], 3, 0)
    return preds  # type: ignore[return-value]


class _Some:
    """A prepared data set whose streams end after so many batches."""

    def __init__(self, prepared: Any, batches: int):
        self._prepared, self._batches = prepared, batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prepared, name)

    def eval_stream(self, **which: Any) -> Iterator["Batch"]:
        return itertools.islice(self._prepared.eval_stream(**which), self._batches)

    def eval_length(self, **which: Any) -> int:
        return min(self._batches, self._prepared.eval_length(**which))


def scores(
    prepared: Any, metrics: tuple, protocols: tuple[str, ...], count: int, labelled: bool, actions: bool
) -> Finding:
    """The experiment's own metrics and protocols, on the truth.

    Args:
      labelled: whether there are joints to score. actions: whether the network recognises actions.
    """

    batch = 8
    some = _Some(prepared, max(1, count // batch))
    classes = len(prepared.actions) if actions else None
    results = evaluate.run(
        lambda examples: perfect(examples, classes),
        some,
        metrics=(*metrics, PixelError("error of the truth")),
        protocols=protocols,
        batch=batch,
        progress=False,
    )
    wrong: list[str] = []
    good: list[str] = []
    for metric in results.pose:
        mean = float(metric.state.pooled()[-1])
        bound = AUTHORS_LENS if "authors" in metric.key else EXACT
        # of an area under a curve, the first threshold is 0: averaged crops miss it by rounding
        whole = 1 if metric.terms == 1 else 1 - 1 / metric.terms
        right = mean >= whole if metric.unit == "%" else mean <= bound
        if np.isnan(mean):
            right = not labelled
        figure = f"{mean:.2%}" if metric.unit == "%" else f"{mean:.4f} {metric.unit}"
        (good if right else wrong).append(f"{metric.key} {figure}")
    for result in results.action:
        rate = float(result.state.compute()[-1])
        (good if rate == 1 else wrong).append(f"accuracy/{result.protocol} {rate:.2%}")
    return Finding("scores of the truth", ", ".join(wrong or good), not wrong)


def training(losses: Any, batch: "Batch") -> list[Finding]:
    """Of one training batch: is it sound, does the truth cost least, are the gradients finite?"""

    frames, valid = np.asarray(batch["frames"]), np.asarray(batch["valid"])
    pose = np.asarray(batch["pose"])
    inside = ~valid | ((pose > 0) & (pose < 1))
    bad = [k for k, v in batch.items() if np.asarray(v).dtype.kind == "f" and not np.isfinite(np.asarray(v)).all()]  # type: ignore[call-overload]
    words = [f"{', '.join(bad)} not finite"] if bad else []
    words += ["frames outside of [-1, 1]"] if np.abs(network_input(batch)).max() > 1 else []
    words += [f"{int((~inside).sum())} supervised coordinates outside of the crop"] if not inside.all() else []
    shape = " x ".join(map(str, frames.shape))
    found = [
        Finding("batch", "; ".join(words) or f"{shape}, {valid[..., 0].mean():.0%} of the joints labelled", not words)
    ]

    classes = int(np.max(batch["action"])) + 2 if "action" in batch else None
    preds = jax.tree.map(jnp.asarray, perfect(batch, classes))
    rng = np.random.default_rng(0)

    def total(preds: Any, batch: Any) -> jax.Array:
        return sum(term.sum() for term in losses(preds, batch).values())

    terms = {name: np.asarray(term, np.float64) for name, term in losses(preds, batch).items()}
    floor = floors(losses, batch)
    wrong = [f"{name} not finite" for name, term in terms.items() if not np.isfinite(term).all()]
    wrong += [
        f"{name} is {term.mean():.6f}, not {floor[name].mean():.6f}"
        for name, term in terms.items()
        if name in floor and not np.allclose(term, floor[name], rtol=FLOOR, atol=1e-5)
    ]
    off = {
        "pose": preds["pose"] + jnp.asarray(rng.normal(0, 0.05, pose.shape), jnp.float32),
        "visible": jnp.clip(preds["visible"], 0.2, 0.8),
    }
    if "action" in preds:
        off["action"] = jnp.zeros_like(preds["action"])
    for name, worse in off.items():
        if name in terms and terms[name].size and getattr(losses, name, 1):
            cost = losses({**preds, name: worse}, batch)[name]
            labelled = valid.any() if name == "pose" else (np.asarray(batch[name]) >= 0).any()  # type: ignore[literal-required]
            if labelled and not float(cost.sum()) > float(terms[name].sum()):
                wrong.append(f"a wrong {name} costs no more than the truth")
    costs = ", ".join(f"{name} {term.mean():.5f}" for name, term in terms.items())
    found.append(Finding("losses of the truth", "; ".join(wrong) or f"{costs}: the entropy of the labels", not wrong))

    broken = dict(batch)
    broken["pose"] = np.where(valid, pose, np.where(rng.random(pose.shape) < 0.5, np.nan, -1e9)).astype(np.float32)
    words = []
    for title, some in (("at the truth", preds), ("near it", {**preds, **off})):
        for filled, where in ((batch, ""), (broken, " with NaN and -1e9 where no joint is labelled")):
            if not all(np.isfinite(g).all() for g in jax.tree.leaves(jax.grad(total)(some, filled))):
                words.append(f"not finite {title}{where}")
    found.append(
        Finding("gradients", "; ".join(words) or "finite, whatever stands where no joint is labelled", not words)
    )
    return found


def floors(losses: Any, batch: "Batch") -> dict[str, np.ndarray]:
    """The terms (B,) that `Multitask` has for the truth, written once more; {} of other losses."""

    if not isinstance(losses, Multitask):
        return {}
    pose, valid = np.asarray(batch["pose"], np.float64), np.asarray(batch["valid"])
    p = np.where(valid, np.clip(pose, 1e-7, 1 - 1e-7), 0.5)
    entropy = np.where(valid, -(p * np.log(p) + (1 - p) * np.log(1 - p)), 0).sum((-2, -1))
    share = losses.clip_pose if "action" in batch else 1.0
    frame = losses.coordinate_bce * entropy / np.maximum(valid.sum((-2, -1)), 1)
    none = np.zeros(len(pose))
    return {"pose": share * losses.pose * 2 * frame.mean(-1), "visible": none, "action": none}


def network(config: Any, batch: "Batch", joints: int) -> Finding:
    """The shapes of the network's output are those of the labels; nothing is computed."""

    frames = jax.ShapeDtypeStruct(np.shape(batch["frames"]), np.float32)
    pose = np.shape(batch["pose"])
    graphdef, state = _abstract(config)

    def forward(state: Any, frames: jax.Array) -> Any:
        return dict(nnx.merge(graphdef, state)({"frames": frames, **({"action": 0} if "action" in batch else {})}))

    try:
        shapes = jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(forward, state, frames))
    except (ValueError, TypeError) as error:
        return Finding("network", f"it does not take frames of {frames.shape}: {str(error).splitlines()[0]}", False)
    wrong = []
    if shapes["pose"][1:] != pose:
        wrong.append(f"pose is (blocks, {', '.join(map(str, shapes['pose'][1:]))}), the labels are {pose}")
    if shapes["visible"][1:] != pose[:-1]:
        wrong.append(f"visible is {shapes['visible']}, the labels have {joints} joints")
    if "action" in batch:
        known = int(np.asarray(batch["action"]).max())
        heads = shapes.get("action")
        if heads is None:
            wrong.append("the clips have actions, and it has no head for them")
        elif not isinstance(heads[0], tuple) and heads[-1] <= known:
            wrong.append(f"it knows {heads[-1]} actions, and there is a label {known}")
    words = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    return Finding("network", "; ".join(wrong) or words, not wrong)


@functools.lru_cache(maxsize=1)
def _abstract(config: Any) -> tuple[Any, Any]:
    """A network without numbers in it, taken apart."""

    return nnx.split(nnx.eval_shape(lambda: zoo.create(config, rngs=nnx.Rngs(0))))


def names(experiment: "Experiment", actions: tuple[str, ...] | None = None) -> Finding:
    """The figures that are to be kept or compared with exist; the data's classes are as many as the network's."""

    wrong = []
    counts = getattr(experiment.model, "num_actions", None)
    counts = counts if isinstance(counts, tuple) else (counts,)
    if counts[0] and actions is not None and len(actions) not in counts:
        wrong.append(f"the network has {counts[0]} actions, and the data {len(actions)}")
    figures = {m.name.lower() for m in experiment.metrics} | {f"accuracy/{p}" for p in experiment.protocols}
    figures |= {f"{m.name.lower()}/{p}" for m in experiment.metrics for p in experiment.protocols}
    named = [("train.best", experiment.train.best)] if experiment.train.best else []
    named += [("published", p.key) for p in experiment.published if isinstance(p, Published)]
    for where, key in named:
        if not any(f"{key}/".startswith(f"{figure}/") for figure in figures):
            wrong.append(f"{where} is {key!r}, but the figures are {', '.join(sorted(figures))}")
    return Finding("names", "; ".join(wrong) or "classes and figures are there by the names given", not wrong)


def ends(cases: list, most: int) -> list:
    """At most so many of them, from the beginning and from the end."""
    return cases if len(cases) <= most else [*cases[: most // 2], *cases[-(most // 2) :]]


def sheet(path: Path, cases: list[Case], prepared: Any, most: int = 12) -> None:
    """Frames with the joints brought back and the outline of the crop, each beside its crop; training ones first."""

    tiles = []
    for case in ends(cases, most):
        middle, name = len(case.frames) // 2, case.record["name"].decode()
        (frame,) = pictures.frames(case.record, [case.frames[middle]])
        scale = _TILE / max(frame.shape[:2])
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        valid = case.example["valid"][middle, :, :2].all(-1)[:, None]
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
        corners = scale * geometry.apply(geometry.invert(case.example["affine"][middle]), corners)
        frame = cv2.polylines(frame, [np.round(corners).astype(int)], True, (255, 200, 0), 1, cv2.LINE_AA)
        back = np.where(valid, found_again(case)[middle] * scale, np.nan)
        sides = prepared.skeleton.flip if case.draw.flip else slice(None)
        frame = viz.draw_skeleton(frame, back[sides], prepared.skeleton)
        crop = cv2.resize(picture(case.example["frames"][middle]), (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
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
