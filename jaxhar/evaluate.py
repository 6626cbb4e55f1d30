"""Exact evaluation: every example of a split once, padding never, the same figures whatever the batch size.

What is left of the batch size is the rounding of the network's own float32 arithmetic, far below the digits shown.

Pose is scored for every prediction block on the single-clip protocol. Action is scored for every head by up to two
protocols (Luvizon et al., CVPR 2018, section 4): "single", one centred clip per sequence, and "multi", the product of
the class probabilities over all clips of a sequence and their mirror images.
"""

import functools
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from tqdm import tqdm

from jaxhar import geometry
from jaxhar.errors import Problem
from jaxhar.metrics import PCK, PoseMetric, State, accuracy, confusion, log_softmax
from jaxhar.skeleton import Skeleton


@dataclass(frozen=True)
class PoseResult:
    """One pose metric: sums (K, J) over the split. `unit` is "%" where more is better, else that of a distance."""

    name: str
    unit: str
    state: State

    @property
    def best(self) -> int:
        """Index of the block with the best pooled mean. It is chosen on the evaluated set itself."""
        means = self.state.pooled()
        if np.isnan(means).all():
            return len(means) - 1
        return int(np.nanargmax(means) if self.unit == "%" else np.nanargmin(means))


@dataclass(frozen=True)
class Prediction:
    """The last head's answer for one sequence (multi) or clip (single); classes are indices."""

    sequence: str
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class ActionResult:
    """Action recognition by one protocol.

    Attributes:
      protocol: "single" or "multi".
      heads: K' names, p1.. and v1.. of the pose and visual streams and m, their merge, last.
      state: sums (K',).
      confusion: (A, A) counts of the last head; the row is the true class.
      predictions: the last head's answers in the order of the split.
      missing: sequences of the split that no clip came from, hence are not counted.
    """

    protocol: str
    heads: tuple[str, ...]
    state: State
    confusion: np.ndarray
    predictions: tuple[Prediction, ...]
    missing: int = 0

    @property
    def best(self) -> int:
        """Index of the head with the best accuracy. It is chosen on the evaluated set itself."""
        return int(np.argmax(self.state.compute()))

    @property
    def per_class(self) -> State:
        """Sums (A,) of the last head; a class that does not occur has count 0."""
        return State(np.diag(self.confusion), self.confusion.sum(1))


@dataclass(frozen=True)
class Sample:
    """A frame to look at, with truth and the last block's prediction. What the data or the network lacks is None.

    Attributes:
      frame: (H, W, 3) uint8 RGB.
      pred: (J, 2) crop units.
      confidence: (J,) joint probabilities.
      true: (J, 2) crop units.
      valid: (J,) which joints of `true` carry a label.
      action: true class; predicted: the last head's class; probability: its probability.
    """

    frame: np.ndarray
    sequence: str = ""
    pred: np.ndarray | None = None
    confidence: np.ndarray | None = None
    true: np.ndarray | None = None
    valid: np.ndarray | None = None
    action: int | None = None
    predicted: int | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Results:
    """Everything that one evaluation found. `samples` hold images and are not saved."""

    split: str
    skeleton: Skeleton
    classes: tuple[str, ...]
    examples: dict[str, int]
    pose: tuple[PoseResult, ...] = ()
    action: tuple[ActionResult, ...] = ()
    samples: tuple[Sample, ...] = field(default=(), compare=False)

    def scalars(self) -> dict[str, float]:
        """Figures by name, fractions in [0, 1] and distances in their unit.

        "pck@0.2" is the last block's micro mean (hits over counts of all joints together), "pck@0.2/macro" its mean
        over joints, "accuracy/single" the last head's. "pck@0.2/best" and "accuracy/single/best" are the best block's
        and head's, where there are several.
        """
        found = {}
        for metric in self.pose:
            key, means = metric.name.lower(), metric.state.pooled()
            found[key] = float(means[-1])
            found[f"{key}/macro"] = float(metric.state.macro()[-1])
            if len(means) > 1:
                found[f"{key}/best"] = float(means[metric.best])
        for result in self.action:
            key, rates = f"accuracy/{result.protocol}", result.state.compute()
            found[key] = float(rates[-1])
            if len(rates) > 1:
                found[f"{key}/best"] = float(rates[result.best])
        return found

    def save(self, path: Path) -> None:
        """Write the sums, and the scalars for convenience, as JSON; the file appears whole or not at all."""
        tree = {
            "split": self.split,
            "scalars": {k: None if np.isnan(v) else v for k, v in self.scalars().items()},
            "examples": self.examples,
            "skeleton": {"name": self.skeleton.name, "joints": self.skeleton.joints},
            "classes": self.classes,
            "pose": [{"name": m.name, "unit": m.unit, "state": _dump(m.state)} for m in self.pose],
            "action": [
                vars(a)
                | {"state": _dump(a.state), "confusion": a.confusion.tolist()}
                | {"predictions": [vars(p) for p in a.predictions]}
                for a in self.action
            ],
        }
        write_atomic(Path(path), json.dumps(tree, indent=1, allow_nan=False).encode())

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read what `save` wrote; Problem if the file is not that."""
        try:
            tree = json.loads(Path(path).read_bytes())
            return cls(
                split=tree["split"],
                skeleton=Skeleton(tree["skeleton"]["name"], tuple(tree["skeleton"]["joints"])),
                classes=tuple(tree["classes"]),
                examples=tree["examples"],
                pose=tuple(PoseResult(m["name"], m["unit"], _parse(m["state"])) for m in tree["pose"]),
                action=tuple(
                    ActionResult(
                        protocol=a["protocol"],
                        heads=tuple(a["heads"]),
                        state=_parse(a["state"]),
                        confusion=np.array(a["confusion"], np.int64),
                        predictions=tuple(Prediction(**p) for p in a["predictions"]),
                        missing=a["missing"],
                    )
                    for a in tree["action"]
                ),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Problem(f"{path} is not a results file of an evaluation ({error}); evaluate again") from error


def _dump(state: State) -> dict[str, list]:
    return {"total": state.total.tolist(), "count": state.count.tolist()}


def _parse(tree: dict[str, list]) -> State:
    return State(np.array(tree["total"]), np.array(tree["count"], np.int64))


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, then rename; Problem if the folder does not take it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise Problem(
            f"{path} cannot be written ({error.strerror}); free some space or choose another folder"
        ) from error


def head_names(num_heads: int) -> tuple[str, ...]:
    """Names of the action heads in the authors' order: 9 heads are p1..p4, v1..v4, m; one head is m."""
    blocks, merged = divmod(num_heads, 2)
    if not merged:
        return tuple(f"head{i + 1}" for i in range(num_heads))
    return (*(f"{stream}{i + 1}" for stream in "pv" for i in range(blocks)), "m")


@functools.partial(jax.jit, static_argnums=0)
def _forward(graphdef: Any, state: Any, frames: jax.Array) -> dict[str, jax.Array]:
    # One function for the whole process, keyed on the structure of the network and the shape of the batch:
    # evaluating again during training compiles nothing.
    return dict(nnx.merge(graphdef, state)(frames))


def run(
    model: nnx.Module,
    prepared: Any,
    *,
    metrics: Sequence[PoseMetric] = (PCK(0.2),),
    protocols: Sequence[str] = ("single",),
    split: str = "test",
    batch: int = 8,
    progress: bool = True,
    samples: int = 12,
) -> Results:
    """Evaluate a network on a split.

    Args:
      model: called on frames (B, T, H, W, 3) in evaluation mode; the object itself is left as it is.
      prepared: the data: `eval_stream(split, protocol, batch)`, `eval_length(split, protocol, batch)`, `skeleton`,
        `actions`, `sequence_names(split)`.
      metrics: pose metrics, taken on the first protocol except "multi", which serves actions only.
      protocols: of "single" and "multi".
      split: a name that the data knows.
      batch: clips at a time, a matter of speed and memory only.
      progress: whether to show a bar.
      samples: how many frames to keep to look at, drawn evenly and always the same ones.

    Returns:
      Results; pose or action is empty where the data or the network has none.

    Raises:
      Problem: nothing to evaluate, or the network and the data disagree on joints or classes.
    """
    graphdef, state = nnx.split(nnx.view(model, use_running_average=True, deterministic=True, raise_if_not_found=False))
    names = tuple(prepared.sequence_names(split))
    classes = tuple(prepared.actions)
    examples: dict[str, int] = {}
    pose: tuple[PoseResult, ...] = ()
    actions = []
    kept = _Reservoir(samples)
    for protocol in protocols:
        sums = None if protocol == "multi" or pose else _PoseSums(tuple(metrics), prepared.skeleton)
        scores = _ActionScores(protocol, names, classes)
        stream = prepared.eval_stream(split, protocol, batch)
        length = prepared.eval_length(split, protocol, batch)
        bar = tqdm(stream, total=length, desc=f"{split} {protocol}", unit="batch", disable=not progress)
        count = 0
        for example, preds in _examples(graphdef, state, bar):
            count += 1
            if sums:
                sums.add(example, preds)
            scores.add(example, preds)
            if protocol == protocols[0]:
                kept.offer(functools.partial(_sample, example, preds, names))
        if not count:
            raise Problem(f"the {split} split has nothing to evaluate by the {protocol} protocol; check the data set")
        examples[protocol] = count
        pose = pose or (sums.results() if sums else ())
        actions += scores.results()
    return Results(split, prepared.skeleton, classes, examples, pose, tuple(actions), kept.items())


def _examples(graphdef: Any, state: Any, batches: Any) -> Iterator[tuple[dict, dict]]:
    """Pairs of one example and its predictions, without the batch axis; padding is left out."""

    def unpack(batch, preds):
        preds = {key: np.asarray(value).astype(np.float64) for key, value in preds.items()}
        for i in np.flatnonzero(batch.get("mask", np.ones(len(batch["frames"]), bool))):
            yield {k: np.asarray(v)[i] for k, v in batch.items()}, {k: v[:, i] for k, v in preds.items()}

    waiting = None
    for batch in batches:
        # The device works on this batch while the host scores the one before.
        preds = _forward(graphdef, state, batch["frames"])
        if waiting:
            yield from unpack(*waiting)
        waiting = batch, preds
    if waiting:
        yield from unpack(*waiting)


class _PoseSums:
    """Sums of the pose metrics, added clip by clip: float sums too come out the same for every batch size."""

    def __init__(self, metrics: tuple[PoseMetric, ...], skeleton: Skeleton):
        self.metrics, self.skeleton = metrics, skeleton
        self.states: list[State] = []

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
        true = geometry.apply(to_image, example["pose"][..., :2].astype(np.float64))
        valid = example["valid"][..., :2].all(-1)
        found = [m.get(pred, true, valid, example.get("norm"), self.skeleton) for m in self.metrics]
        self.states = [a.merge(b) for a, b in zip(self.states, found, strict=True)] if self.states else found

    def results(self) -> tuple[PoseResult, ...]:
        if not self.states:
            return ()
        return tuple(PoseResult(m.name, m.unit, s) for m, s in zip(self.metrics, self.states, strict=True))


class _ActionScores:
    """Log-probabilities (K', A) per clip, or summed per sequence for the multi-clip protocol."""

    def __init__(self, protocol: str, names: tuple[str, ...], classes: tuple[str, ...]):
        self.protocol, self.names, self.classes = protocol, names, classes
        self.sums: dict[int, np.ndarray] = {}
        self.clips: dict[int, int] = {}
        self.labels: dict[int, int] = {}
        self.sequences: dict[int, int] = {}

    def add(self, example: dict, preds: dict) -> None:
        if "action" not in preds or "action" not in example:
            return
        label, logits = int(example["action"]), preds["action"]
        sequence = int(example.get("sequence", -1))
        if logits.shape[-1] != len(self.classes):
            raise Problem(
                f"the network knows {logits.shape[-1]} actions and the data has {len(self.classes)}; "
                "evaluate with a network made for these actions"
            )
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
    frame = np.clip((example["frames"][middle].astype(np.float32) + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)
    return Sample(frame, _name(names, int(example.get("sequence", -1))), **found)


def _name(names: tuple[str, ...], sequence: int) -> str:
    return names[sequence] if 0 <= sequence < len(names) else ""
