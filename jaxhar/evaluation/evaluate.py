"""Exact evaluation: every example of a split once, padding never, the same figures whatever the batch size.

What is left of the batch size is the rounding of the network's own float32 arithmetic, far below the digits shown.

Pose is scored for every prediction block on the single-clip protocol. Action is scored for every head by up to two
protocols (Luvizon et al., CVPR 2018, section 4): "single", one centred clip per sequence, and "multi", the product of
the class probabilities over all clips of a sequence and their mirror images. Where the data says so, several crops of
one photo count as one example: their predictions are averaged in the image ("flip" and "multi" on MPII).

"authors" is no look at the data of its own: what the other protocols see is counted a second time by the rules of the
authors' scripts (docs/quirks.md).
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from tqdm import tqdm

from jaxhar import inference
from jaxhar.core import geometry
from jaxhar.core.batch import Batch, Preds, picture
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.metrics import PCK, PoseMetric, State, accuracy, confusion, log_softmax
from jaxhar.evaluation.metrics_3d import MPJPE
from jaxhar.evaluation.results import AUTHORS, ActionResult, PoseResult, Prediction, Results, Sample, head_names
from jaxhar.host.errors import Problem
from jaxhar.inference import Structure, prepare


@inference.jit
def _forward(structure: Structure, state: Any, frames: jax.Array) -> dict[str, jax.Array]:
    # One function for the whole process, keyed on the structure of the network and the shape of the batch:
    # evaluating again during training compiles nothing.
    return dict(structure.merge(state)(Batch(frames=frames)))


#: A network, or any function from a batch to predictions, actions as logits.
Predictor = nnx.Module | Callable[[Batch], Preds]


def run(
    model: Predictor,
    prepared: Any,
    *,
    metrics: Sequence[PoseMetric] = (PCK(0.2),),
    protocols: Sequence[str] = ("single",),
    split: str | None = None,
    actions: tuple = (),
    batch: int = 8,
    progress: bool = True,
    samples: int = 12,
) -> Results:
    """Evaluate a network on a split.

    Args:
      model: a network, called on frames (B, T, H, W, 3) in evaluation mode and itself left as it is, or a function
        that is called on whole batches.
      prepared: the data: `eval_stream` and `eval_length` of (split, protocol, batch), `sequence_names(split)`,
        `skeleton`, `actions`, and perhaps `crop_protocols`, by which the consecutive crops of one sequence are views
        of the same picture; `too_short(split)`, the sequences that have no whole clip; `notes`, sentences for the
        report.
      metrics: pose metrics, taken on the first protocol except "multi", which serves actions only, and on all of the
        data's `crop_protocols`.
      protocols: of those that the data knows, and "authors": joints outside of the crop are not counted, an `MPJPE`
        undoes the lens as the authors do. Otherwise every labelled joint counts, and the lens is undone exactly.
      split: a name that the data knows; None for its `eval_split`, "test" if it names none.
      actions: names of the network's classes, a tuple of such tuples with several sets of labels; () if it knows those
        of the data. A network of other classes is not asked for actions, which a note says.
      batch: clips at a time, a matter of speed and memory only.
      progress: whether to show a bar.
      samples: how many frames to keep to look at, drawn evenly and always the same ones.

    Returns:
      Results; pose or action is empty where the data or the network has none.

    Raises:
      Problem: nothing to evaluate, or the network and the data disagree on joints.
    """
    passes = tuple(p for p in protocols if p != AUTHORS) or ("single",)
    rules = (False, True) if AUTHORS in protocols else (False,)
    split = split or str(getattr(prepared, "eval_split", "test"))
    names = tuple(prepared.sequence_names(split))
    classes = tuple(prepared.actions)
    examples: dict[str, int] = {}
    pose: tuple[PoseResult, ...] = ()
    crop_protocols = getattr(prepared, "crop_protocols", ())
    action: list[ActionResult] = []
    notes = dict.fromkeys(getattr(prepared, "notes", ()))
    kept = _Reservoir(samples)
    for protocol in passes:
        averaged = protocol in crop_protocols
        scored = averaged or (protocol != "multi" and not pose)
        sums = [_PoseSums(tuple(metrics), prepared.skeleton, classes, rule) for rule in rules if scored]
        clips = protocol == "multi" and not averaged
        short = prepared.too_short(split) if clips and hasattr(prepared, "too_short") else None
        scores = _ActionScores(protocol, names, classes, short)
        count = 0
        for example, preds in predictions(model, prepared, split, protocol, batch, progress):
            count += 1
            note = _choose_actions(preds, actions, classes)
            if note and "action" in example:
                notes[note] = None
            for one in sums:
                one.add(example, preds)
            scores.add(example, preds)
            if protocol == passes[0]:
                kept.offer(functools.partial(_sample, example, preds, names))
        if not count:
            raise Problem(f"the {split} split has nothing to evaluate by the {protocol} protocol; check the data set")
        examples[protocol] = count
        name = (protocol,) if pose else ()
        for one, rule in zip(sums, rules, strict=False):
            pose += one.results("/".join((*name, AUTHORS) if rule else name))
        action += scores.results()
    return Results(split, prepared.skeleton, classes, examples, pose, tuple(action), kept.items(), tuple(notes))


def _choose_actions(preds: dict, known: tuple, classes: tuple[str, ...]) -> str:
    """Keep the action scores of the set of labels that is the data's; without one, drop them and return why.

    Args:
      known, classes: the network's names and the data's, see `run`.
    """
    if "action" not in preds:
        return ""
    scores = preds.pop("action")
    sets = scores if isinstance(scores, tuple) else (scores,)
    names = known if known and isinstance(known[0], tuple) else (known,) * len(sets)
    for one, own in zip(sets, names, strict=True):
        if one.shape[-1] == len(classes) and own in ((), classes):
            preds["action"] = one
            return ""
    counts = " + ".join(str(one.shape[-1]) for one in sets)
    return f"Action is left out: the network's {counts} classes are not the {len(classes)} of this data."


def predictions(
    model: Predictor, prepared: Any, split: str, protocol: str, batch: int = 8, progress: bool = True
) -> Iterator[tuple[dict, dict]]:
    """What a network says of every example of a split, in order; arguments as `run`.

    Yields:
      An example and its predictions, both without the batch axis, action as logits. Crops of one picture are averaged,
      see `average_crops`.
    """
    predict = model
    if isinstance(model, nnx.Module):
        structure, state = prepare(model)

        def predict(batch: Batch) -> Any:
            return _forward(structure, state, batch["frames"])

    stream = prepared.eval_stream(split, protocol, batch)
    length = prepared.eval_length(protocol, split, batch)
    bar = tqdm(stream, total=length, desc=f"{split} {protocol}", unit="batch", disable=not progress)
    pairs = _examples(predict, bar)
    averaged = protocol in getattr(prepared, "crop_protocols", ())
    return average_crops(pairs, prepared.skeleton.flip) if averaged else pairs


def _examples(predict: Callable[[Batch], Any], batches: Any) -> Iterator[tuple[dict, dict]]:
    """Pairs of one example and its predictions, without the batch axis; padding is left out."""

    def unpack(batch, preds):
        preds = jax.tree.map(lambda value: np.asarray(value).astype(np.float64), preds)
        for i in np.flatnonzero(batch.get("mask", np.ones(len(batch["frames"]), bool))):
            yield {k: np.asarray(v)[i] for k, v in batch.items()}, jax.tree.map(lambda value, i=i: value[:, i], preds)

    waiting = None
    for batch in batches:
        # The device works on this batch while the host scores the one before.
        preds = predict(batch)
        if waiting:
            yield from unpack(*waiting)
        waiting = batch, preds
    if waiting:
        yield from unpack(*waiting)


def average_crops(pairs: Iterator[tuple[dict, dict]], partner: np.ndarray) -> Iterator[tuple[dict, dict]]:
    """Consecutive pairs of one sequence as one: the first example, with the mean of the poses found in the image.

    Args:
      pairs: an example and its predictions pose (K, T, J, D), visible (K, T, J), as from `_examples`.
      partner: the skeleton's flip permutation, for the crops that were mirrored.
    """
    for _, group in itertools.groupby(pairs, key=lambda pair: int(pair[0]["sequence"])):
        first, *_ = crops = list(group)
        poses, visible = [], []
        for example, preds in crops:
            pose = preds["pose"].copy()
            pose[..., :2] = geometry.apply(geometry.invert(np.asarray(example["affine"], np.float64)), pose[..., :2])
            joints = partner if example.get("flipped", False) else slice(None)
            if "depth_range" in example and pose.shape[-1] == 3:  # a scaled crop is deeper
                pose[..., 2] = 0.5 + (pose[..., 2] - 0.5) * example["depth_range"] / first[0]["depth_range"]
            poses.append(pose[..., joints, :])
            visible.append(preds["visible"][..., joints])
        pose = np.mean(poses, axis=0)
        pose[..., :2] = geometry.apply(np.asarray(first[0]["affine"], np.float64), pose[..., :2])
        yield first[0], {**first[1], "pose": pose, "visible": np.mean(visible, axis=0)}


def in_world(example: dict, pose: np.ndarray, authors: bool = False) -> np.ndarray:
    """Poses (..., T, J, 3) in units of the crop of `example` to world points of the same shape, in mm.

    Args:
      example: of a batch, with affine, depth, depth_range and camera.
      authors: undo the lens as `Camera.unproject` says.
    """
    uvd = np.array(pose, np.float64)
    uvd[..., :2] = geometry.apply(geometry.invert(np.asarray(example["affine"], np.float64)), uvd[..., :2])
    depth = np.asarray(example["depth"], np.float64)[:, None]
    uvd[..., 2] = depth + float(example["depth_range"]) * (uvd[..., 2] - 0.5)
    cameras = [Camera.from_vector(vector) for vector in example["camera"]]
    return np.stack([c.unproject(uvd[..., t, :, :], authors) for t, c in enumerate(cameras)], axis=-3)


class _PoseSums:
    """Sums of the pose metrics, added clip by clip, by the authors' rules if asked."""

    def __init__(self, metrics: tuple[PoseMetric, ...], skeleton: Skeleton, classes: tuple[str, ...], authors: bool):
        self.metrics = tuple(
            dataclasses.replace(m, authors=True, name=m.name) if authors and isinstance(m, MPJPE) else m
            for m in metrics
        )
        self.skeleton, self.authors = skeleton, authors
        self.states: list[State] = []
        self.actions: list[list[State | None]] = [[None] * len(classes) for _ in metrics]

    def add(self, example: dict, preds: dict) -> None:
        if "pose" not in preds or "pose" not in example or not self.metrics:
            return
        if preds["pose"].shape[-2] != len(self.skeleton):
            raise Problem(
                f"the network predicts {preds['pose'].shape[-2]} joints and the data has {len(self.skeleton)} "
                f"({self.skeleton.name}); evaluate with a network made for this skeleton"
            )
        to_image = geometry.invert(np.asarray(example["affine"], np.float64))
        pred = geometry.apply(to_image, preds["pose"][..., :2])
        crop = example["pose"][..., :2].astype(np.float64)
        true = geometry.apply(to_image, crop)
        valid = example["valid"][..., :2].all(-1)
        if self.authors:
            valid &= ((crop > 0) & (crop < 1)).all(-1)
        found = [
            self._world(m, example, preds)
            if isinstance(m, MPJPE)
            else m.get(pred, true, valid, example.get("norm"), self.skeleton)
            for m in self.metrics
        ]
        self.states = [a.merge(b) for a, b in zip(self.states, found, strict=True)] if self.states else found
        action = int(example.get("action", -1))
        for metric, sums, state in zip(self.metrics, self.actions, found, strict=True):
            if isinstance(metric, MPJPE) and 0 <= action < len(sums):
                before = sums[action]
                sums[action] = state if before is None else before.merge(state)

    def _world(self, metric: MPJPE, example: dict, preds: dict) -> State:
        if "camera" not in example or example["pose"].shape[-1] != 3:
            raise Problem(f"{metric.name} needs data with cameras and depths, as Human3.6M; leave it out here")
        if preds["pose"].shape[-1] != 3:
            raise Problem(f"{metric.name} needs a network that predicts depth, and this one does not")
        pred, true = in_world(example, preds["pose"], metric.authors), in_world(example, example["pose"])
        return metric.get(pred, true, example["valid"].all(-1), None, self.skeleton)

    def results(self, protocol: str) -> tuple[PoseResult, ...]:
        if not self.states:
            return ()
        return tuple(
            PoseResult(
                name=m.name,
                unit=m.unit,
                state=state,
                protocol=protocol,
                grouped=getattr(m, "grouped", False),
                actions=self._by_action(state, sums),
                terms=getattr(m, "terms", 1),
            )
            for m, state, sums in zip(self.metrics, self.states, self.actions, strict=True)
        )

    @staticmethod
    def _by_action(total: State, sums: list[State | None]) -> State | None:
        """(A, K, J), or None where nothing was summed by action."""
        if not any(sums):
            return None
        none = State(np.zeros_like(total.total), np.zeros_like(total.count))
        return State(np.stack([(s or none).total for s in sums]), np.stack([(s or none).count for s in sums]))


class _ActionScores:
    """Log-probabilities (K', A) per clip, or summed per sequence for the multi-clip protocol."""

    def __init__(self, protocol: str, names: tuple[str, ...], classes: tuple[str, ...], short: set[int] | None):
        self.protocol, self.names, self.classes, self.short = protocol, names, classes, short
        self.sums: dict[int, np.ndarray] = {}
        self.clips: dict[int, int] = {}
        self.labels: dict[int, int] = {}
        self.sequences: dict[int, int] = {}

    def add(self, example: dict, preds: dict) -> None:
        if "action" not in preds or "action" not in example:
            return
        label, logits = int(example["action"]), preds["action"]
        sequence = int(example.get("sequence", -1))
        if not 0 <= label < len(self.classes):
            raise Problem(f"sequence {_name(self.names, sequence)} has action number {label}, which is no class")
        if not np.isfinite(logits).all():
            raise Problem(f"the network's action scores for {_name(self.names, sequence)} are not finite numbers")
        unit = sequence if self.protocol == "multi" else len(self.sums)
        if self.labels.setdefault(unit, label) != label:
            raise Problem(f"clips of sequence {_name(self.names, sequence)} carry different actions")
        self.sums[unit] = self.sums.get(unit, 0.0) + log_softmax(logits)
        self.clips[unit] = self.clips.get(unit, 0) + 1
        self.sequences[unit] = sequence

    def results(self) -> list[ActionResult]:
        if not self.sums:
            return []
        scores = np.stack(list(self.sums.values()), 1)  # (K', N, A)
        labels = np.array(list(self.labels.values()))
        best = scores[-1].argmax(-1)
        # The geometric mean over the clips, scaled to sum to 1: the bare product of many clips is always 0 or 1.
        mean = np.exp(log_softmax(scores[-1] / np.array(list(self.clips.values()))[:, None]))
        predictions = tuple(
            Prediction(_name(self.names, sequence), int(label), int(choice), float(mean[n, choice]))
            for n, (sequence, label, choice) in enumerate(zip(self.sequences.values(), labels, best, strict=True))
        )
        few = np.array([sequence in (self.short or ()) for sequence in self.sequences.values()])
        known = set(self.sequences.values()) - {-1}
        missing = len(self.names) - len(known) if known else 0
        return [
            ActionResult(
                protocol=self.protocol,
                heads=head_names(len(scores)),
                state=State(*accuracy(scores, labels)),
                confusion=confusion(labels, best, len(self.classes)),
                predictions=predictions,
                missing=missing,
                short=None if self.short is None else State(*accuracy(scores[:, few], labels[few])),
            )
        ]


class _Reservoir:
    """A uniform choice from a stream of unknown length (algorithm R), kept in the order of the stream."""

    def __init__(self, size: int):
        self.size, self.seen = size, 0
        self.rng = np.random.default_rng(0)
        self.kept: dict[int, tuple[int, Sample]] = {}

    def offer(self, make: Any) -> None:
        place = self.seen if self.seen < self.size else int(self.rng.integers(self.seen + 1))
        if place < self.size:
            self.kept[place] = (self.seen, make())
        self.seen += 1

    def items(self) -> tuple[Sample, ...]:
        return tuple(sample for _, sample in sorted(self.kept.values(), key=lambda pair: pair[0]))


def _sample(example: dict, preds: dict, names: tuple[str, ...]) -> Sample:
    middle = len(example["frames"]) // 2
    found: dict[str, Any] = {}
    if "pose" in preds:
        found["pred"] = preds["pose"][-1, middle, :, :2]
    if "visible" in preds:
        found["confidence"] = preds["visible"][-1, middle]
    if "pose" in example:
        found["true"] = example["pose"][middle, :, :2].copy()
        found["valid"] = example["valid"][middle, :, :2].all(-1)
    if "action" in example:
        found["action"] = int(example["action"])
    if "action" in preds:
        probabilities = np.exp(log_softmax(preds["action"][-1]))
        found["predicted"] = int(probabilities.argmax())
        found["probability"] = float(probabilities.max())
    return Sample(picture(example["frames"][middle]), _name(names, int(example.get("sequence", -1))), **found)


def _name(names: tuple[str, ...], sequence: int) -> str:
    return names[sequence] if 0 <= sequence < len(names) else ""
