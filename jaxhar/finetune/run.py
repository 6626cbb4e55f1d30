"""What `jaxhar finetune` does: train action heads for a user's own classes and test them by cross-validation.

The trunk is the pose part of a trained network, the heads are its action part. The folder is divided into folds by
person or source video. In each fold, heads start from the same weights and are trained on the features of the frozen
trunk (`features`); with `unfreeze`, training then continues with more of the network at a tenth of the learning rate
(Luvizon et al., CVPR'18, section 4). For comparison, a logistic regression is fitted, and a small network trained from
scratch, on the joints that the same trunk predicts. At the end a network is trained on all clips and saved. An
interrupted run continues after its last complete fold.
"""

import contextlib
import dataclasses
import json
import shlex
import shutil
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optax
from flax import nnx

from jaxhar import zoo
from jaxhar.core.network import clip_length, frame_size
from jaxhar.core.pixels import Pixels
from jaxhar.data import presets
from jaxhar.data.dataset import DataSet
from jaxhar.data.formats.video import Video
from jaxhar.data.own import folder as own_folder
from jaxhar.data.own import settings as own
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.action import Action, ActionFigure, Prediction
from jaxhar.evaluation.evaluate import Eval, Predictor
from jaxhar.evaluation.results import Results
from jaxhar.evaluation.samples import Samples
from jaxhar.evaluation.sections import Picture, Section, words
from jaxhar.finetune import folds, joint_regression
from jaxhar.finetune.features import Clips, Features, Trunk, extract, find_boxes, trunk_name
from jaxhar.finetune.heads import HeadTrainer
from jaxhar.finetune.skeletons import Methods, Skeletons, SkeletonTrainer, poseconv
from jaxhar.host import files, process
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import check_same, flatten
from jaxhar.training import loop as train
from jaxhar.training import optim
from jaxhar.training.experiment import Experiment, Train
from jaxhar.training.losses.multitask import Multitask
from jaxhar.viz import report
from jaxhar.weights import checkpoint, trained_on
from jaxhar.weights.flat import fill, from_flat, to_flat
from jaxhar.weights.net import Net

#: Frames of a clip if the weights are of a network of single images.
_FRAMES = 16
#: Confidence below which the methods on joints take a joint for missing.
_UNSEEN = 0.05
#: Largest ratio of frame rates that count as one.
_SAME_RATE = 1.1


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of training and testing.

    Attributes:
      folds: number of folds; fewer if there are fewer people.
      steps, batch: training steps of the heads, and clips per step.
      copies: training clips per video: the middle one, its mirror image, then random variations.
      turn: largest rotation of the random variations, degrees; 180 for bodies in any direction, as in gymnastics.
      unfreeze: None trains only the heads. Patterns of dotted paths: then also train the matching leaves; () all.
      unfreeze_steps: steps of that second training.
      multi: also test with all clips of a sequence and their mirror images, by the product of their probabilities.
        Slower: features of these clips are not stored.
      frames: frames per clip, T; None for the length that the network was trained with.
      boxes: predict the person's box in sequences without one; False takes the whole picture.
      seed: of the folds, the copies and the batches.
      skip_broken: leave out files that cannot be read, and list them.
      joint_steps: training steps of the small network on joints; 0 for none.
    """

    folds: int = 5
    steps: int = 200
    batch: int = 16
    copies: int = 6
    turn: float = 10.0
    unfreeze: tuple[str, ...] | None = None
    unfreeze_steps: int = 100
    multi: bool = False
    frames: int | None = None
    boxes: bool = True
    seed: int = 0
    skip_broken: bool = False
    joint_steps: int = 200

    def __post_init__(self) -> None:
        for name, low in {
            **dict.fromkeys(("steps", "copies", "unfreeze_steps"), 1),
            "folds": 2,
            "batch": 2,
            "joint_steps": 0,
        }.items():
            if getattr(self, name) < low:
                raise Usage(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least {low}")
        if not 0 <= self.turn <= 180:
            raise Usage(f"--turn is {self.turn:g}; it must be from 0 to 180 degrees")
        if self.frames is not None and self.frames < 1:
            raise Usage(f"--frames is {self.frames}; it must be at least 1")


def experiment(folder: Path, weights: Path, settings: Settings = Settings()) -> "Experiment":
    """An experiment that trains action heads for the classes of a folder, with the trunk of `weights` frozen.

    Raises:
      Problem: the folder has no classes, or `weights` is not a model that jaxhar saved.
    """
    _, meta = checkpoint.load_model(weights)
    trunk_name(meta.config)  # or Problem
    classes = own_folder.folder(folder).actions
    length = clip_length(meta.config)
    frames = settings.frames or (length if length > 1 else _FRAMES)
    model = meta.config.for_classes(len(classes), frames)  # type: ignore[attr-defined]
    # deephar's augmentation of Penn Action clips, with smaller angles and scales; no shifts, because these are in
    # pixels of the image and users' images have any size.
    turns = tuple(np.linspace(-settings.turn, settings.turn, 2 * round(settings.turn / 5) + 1).tolist())
    sizes = (0.85, 1.0, 1.2)
    augment = dataclasses.replace(presets.PENN_CLIPS, angles=turns, scales=sizes, trans_x=(0.0,), trans_y=(0.0,))
    return Experiment(
        name=f"finetune-{Path(folder).stem}",
        model=model,
        data=own.Own(
            root=str(folder),
            skeleton=meta.joints("finetune"),
            dims=model.pose_shape[1],
            augment=augment,
            clip_frames=frames,
            image_size=frame_size(model)[0],
            frame_rate=_frame_rate(folder),
            clips_per_batch=4,
            skip_broken=settings.skip_broken,
        ),
        # The folder has no labelled joints, so joints and their visibility are no part of the loss.
        losses=Multitask(pose=0.0, visible=0.0, action=1.0),
        optimizer=optim.Optimizer(
            rule=optax.adamw,
            options={"weight_decay": 0.01},
            learning_rate=1e-3,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": min(20, settings.steps // 2)},
            clip_norm=10.0,
            table=zoo.trunk_frozen(model),
        ),
        train=Train(steps=settings.steps, seed=settings.seed, checkpoint_every=100),
        evals={"own": Eval(scorers=(Action(), Samples()))},
        init_from=str(weights),
    )


def _frame_rate(folder: Path) -> float | None:
    """Frames per second of the videos of a folder, their median; None without any, or if they differ."""
    rates = []
    for item in own_folder.folder(folder).scan(True)[0]:
        with contextlib.suppress(Problem):  # told when it is read
            rates += [] if item.still else [float(Video(item.path).fps)]
    if rates and max(rates) > _SAME_RATE * min(rates):
        print(
            f"the videos have from {min(rates):.3g} to {max(rates):.3g} frames per second, so that their clips show "
            "motion at different speeds; bring them to one rate",
            file=sys.stderr,
        )
        return None
    return float(np.median(rates)) if rates else None


def run(folder: Path, weights: Path, out: Path, settings: Settings = Settings(), progress: bool = True) -> "Results":
    """Train and test; write the report, predictions.csv, results.json and the model, weights.safetensors, into `out`.

    The features of the trunk stay in `out`/features. After a finished run they may be deleted; writing the report
    again computes them again.

    Returns: the results of all folds together; those of the logistic regression come first.

    Raises:
      Problem: the folder, the weights or `out` cannot be used; a class comes from one person or source video alone.
    """
    base = experiment(folder, weights, settings)
    files.make_folder(out)
    process.keep_freed_memory()
    with process.lock(out):
        return _Run(base, weights, out, settings, progress).execute()


class _Run:
    """One call of `run`, with what its folds share.

    Attributes:
      start: the network that every fold starts from, in evaluation mode.
      clips: all sequences. names, labels, people: name, class and person (or source video) of each.
      begun: seconds of a clock.
    """

    def __init__(self, base: "Experiment", weights: Path, out: Path, settings: Settings, progress: bool):
        self.base, self.out, self.settings, self.progress = base, out, settings, progress
        self.begun = time.monotonic()
        model, self.meta = checkpoint.load_model(weights)
        loaded = to_flat(model)
        self.start: Any
        self.start, _, _ = fill(loaded, base.model, f"the weights in {weights}")
        if settings.unfreeze is not None:  # fail early on wrong patterns
            self._unfrozen_experiment().optimizer.build(Net(self.start).params, settings.unfreeze_steps)
        assert isinstance(base.data, own.Own) and base.data.root is not None
        self.root = Path(base.data.root)
        clips = Clips.all(base.data.prepare(out))
        self._check_settings(loaded, clips)
        entries = clips.entries("train")
        self.clips, self.names = clips, clips.sequence_names("train")
        self.labels = np.array([entry["action"] for entry in entries])
        self.items = own_folder.folder(self.root).scan(True)[0]
        persons = sorted({item.person for item in self.items})
        self.people = np.array([persons[entry["subject"]] for entry in entries])
        people = len(set(self.people.tolist()))
        print(f"{len(entries)} clips of {len(clips.actions)} classes, of {people} persons or source videos")
        if people == len(entries):
            print(
                "every clip counts as a person of its own; where several are of one person, name it in the column "
                "person of a CSV file, or in the names of the files, as anna_1 and anna_2",
                file=sys.stderr,
            )
        stills, frames = sum(entry["length"] == 1 for entry in entries), clips.config.frames
        if stills and frames > 1:
            print(
                f"{stills} of them are single pictures: each becomes a clip of {frames} equal frames", file=sys.stderr
            )
        self.parts, fewer = folds.split(self.labels, self.people, settings.folds, clips.actions, settings.seed)
        if fewer:
            print(fewer, file=sys.stderr)

    def _check_settings(self, weights: dict[str, np.ndarray], clips: Clips) -> None:
        """Writes settings.json; Problem if the folder has the settings of another run."""
        crc = 0
        for name in sorted(weights):
            crc = zlib.crc32(np.ascontiguousarray(weights[name]).tobytes(), crc)
        now = {**flatten(self.settings), "weights": f"crc32 {crc:08x}", "data": clips.folder.name}
        check_settings(self.out, now)

    def execute(self) -> "Results":
        """Trains and tests all folds, trains the final model, writes the report."""
        settings, base, out = self.settings, self.base, self.out
        trunk = Trunk(self.start, self.clips.config.frames)
        if settings.boxes:
            boxes = find_boxes(trunk, self.clips, out / "boxes.npy", self.progress)
            self.clips = dataclasses.replace(self.clips, boxes=boxes)
            print(f"boxes of the person predicted for clips without a box: {np.isfinite(boxes[:, 0]).sum()}")
        features = extract(trunk, self.clips, self._features(), settings.copies, settings.seed, self.progress)
        joints = self._joints(trunk, features)
        start, losses, optimizer = to_flat(self.start), base.losses, base.optimizer
        trainer = HeadTrainer(base.model, start, trunk.layout, losses, optimizer, settings.steps, settings.seed)
        found = [self._fold(k, test, features, trainer, joints) for k, test in enumerate(self.parts, 1)]
        final = out / "weights.safetensors"
        if not final.is_file():
            heads = trainer.train(features, range(len(self.labels)), settings.batch, "everything", self.progress)
            model = self._trained(heads, self.clips, out / "final")
            checkpoint.save_model(final, model, self.clips.skeleton, self.clips.actions, self._trained_on())
            trained_on.write(out, {item.path: None for item in self.items})
            shutil.rmtree(out / "final", ignore_errors=True)
        figures, classes = folds.pooled(found, self.names), self.clips.actions
        results = self._combine(figures, features, trunk)
        results.save(out / "results.json")
        folds.write_predictions(out / "predictions.csv", figures, classes, self.parts, self.people.tolist())
        page = report.write(out, results, f"{base.name}, {len(self.parts)} folds by person or source video")
        folds.print_figures(figures, classes, self.root, self.people.tolist())
        print(f"report: {page}\nmodel: jaxhar predict VIDEO --weights {shlex.quote(str(out))} --out RESULT")
        print(told_time(self.begun))
        return results

    def _trained_on(self) -> dict[str, Any]:
        """What the saved heads were trained on; of joints, what is known of the weights that they started from."""
        joints = {key: one for key, one in (self.meta.trained or {}).items() if key == "unseen_joints"}
        steps = self.settings.steps + (self.settings.unfreeze_steps if self.settings.unfreeze is not None else 0)
        return about(self.base.name, steps, self.clips.config) | joints

    def _features(self) -> Path:
        """Folder of the features; runs of an older version have them in "seen"."""
        before = self.out / "seen"
        return before if before.is_dir() else self.out / "features"

    def _unfrozen_experiment(self) -> "Experiment":
        """The second training, of more than the heads."""
        patterns, steps, first = self.settings.unfreeze, self.settings.unfreeze_steps, self.base.optimizer
        optimizer = dataclasses.replace(
            first,
            learning_rate=first.learning_rate / 10,
            schedule_options={"warmup_steps": min(20, steps // 2)},
            table=(*((pattern, 1.0) for pattern in patterns), *first.table) if patterns else ((".*", 1.0),),
        )
        schedule = Train(steps=steps, seed=self.settings.seed, checkpoint_every=50, keep_last=1)
        return dataclasses.replace(self.base, optimizer=optimizer, train=schedule)

    def _trained(self, heads: nnx.Module, clips: Clips, workdir: Path) -> nnx.Module:
        """The network with these heads; with `unfreeze`, trained further on the training split of `clips`."""
        model = from_flat(to_flat(self.start) | HeadTrainer.weights(heads), self.base.model)
        if self.settings.unfreeze is None:
            return model
        begin = workdir / "heads.safetensors"
        checkpoint.save_model(begin, model, clips.skeleton, clips.actions)
        stage = dataclasses.replace(self._unfrozen_experiment(), name=workdir.name, init_from=str(begin))
        return train.run(stage, workdir, zoo.create(self.base.model), clips, progress=self.progress)

    def _fold(
        self, k: int, test: tuple[int, ...], features: Features, trainer: HeadTrainer, joints: Methods
    ) -> tuple[ActionFigure, ...]:
        """Figures on one fold's test clips; read from the disk if the fold is finished."""
        folder = self.out / "folds" / str(k)
        if (folder / "answers.json").is_file():
            found = folds.load(folder / "answers.json")
            if {*joints.views} <= {one.view for one in found}:  # older runs have no skeleton network
                return found
        clips = dataclasses.replace(self.clips, test=test)
        features = dataclasses.replace(features, clips=clips)
        numbers = [n for n in range(len(self.labels)) if n not in test]
        heads = trainer.train(features, numbers, self.settings.batch, f"fold {k}", self.progress)
        unfreeze, multi = self.settings.unfreeze is not None, self.settings.multi
        model: Any = self._trained(heads, clips, folder) if unfreeze or multi else None
        tested, data = (model, clips) if unfreeze else (heads, features)
        network = _evaluate(tested, data, "single", progress=False)
        actions = [*joints.figures(numbers, test, self.settings.batch, f"fold {k}, joints", self.progress)]
        actions.append(dataclasses.replace(network, view="network"))
        if multi:
            assert model is not None
            actions.append(_evaluate(model, clips, "multi", self.progress))
        folds.save(folder / "answers.json", actions)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        (folder / "heads.safetensors").unlink(missing_ok=True)
        return tuple(actions)

    def _joints(self, trunk: Trunk, features: Features) -> Methods:
        """The methods that see only the joints which the trunk predicts in the same clips."""
        skeleton, classes, shape = features.skeleton, self.clips.actions, (len(self.labels), features.copies)
        found = [trunk.pose(features.get(n, c)) for n in range(shape[0]) for c in range(shape[1])]
        pose, score = (np.stack(one).reshape(*shape, *one[0].shape) for one in zip(*found, strict=True))
        vectors = [[joint_regression.features(one, skeleton) for one in copies] for copies in pose]
        clips = Skeletons.one_person(pose, np.where(score < _UNSEEN, 0, np.minimum(score, 1)), self.labels)
        trainers, steps = {}, self.settings.joint_steps
        if steps:
            config = poseconv(skeleton, (trunk.frames, 1), len(classes))
            trainers["skeleton"] = SkeletonTrainer(config, steps, self.settings.seed)
        return Methods(clips, np.array(vectors), self.names, classes, trainers)

    def _combine(self, figures: Sequence[ActionFigure], features: Features, trunk: Trunk) -> "Results":
        """One result from all folds, with pictures of some clips, mistakes first."""
        classes = self.clips.actions
        shown = sorted(figures[-1].predictions, key=lambda p: p.true == p.predicted)[:12]
        pictures = tuple(self._picture(self.names.index(p.sequence), p, features, trunk) for p in shown)
        sections = [figure.section(classes, folds.ABOUT[figure.view]) for figure in figures]
        persons = folds.by_person(figures, self.people.tolist())
        if persons is not None:
            sections.append(Section("Persons", tables=(persons,)))
        about = filter(None, ("The crops as the network sees them, mistakes first.", self.meta.unseen_joints()))
        frames = Section("Frames", pictures=pictures, about=tuple(about))
        return Results("cross-validation", {"single": len(self.labels)}, (*sections, frames))

    def _picture(self, number: int, prediction: Prediction, features: Features, trunk: Trunk) -> Picture:
        clips = dataclasses.replace(self.clips, test=(number,))
        frames = np.asarray(next(clips.eval_stream("test", "single", 1))["frames"])[0]
        middle, classes = len(frames) // 2, clips.actions
        pose, confidence = trunk.pose(features.get(number)[middle])
        return Picture(
            "sample",
            Pixels.SIGNED.picture(frames[middle]),
            clips.skeleton,
            pred=pose[:, :2],
            confidence=confidence,
            name=prediction.sequence,
            answer=words(classes[prediction.predicted]),
            truth=words(classes[prediction.true]),
            probability=prediction.probability,
        )


def check_settings(out: Path, now: dict[str, str]) -> None:
    """Writes settings.json into a folder; Problem if it holds a run with others."""
    path = out / "settings.json"
    if path.is_file():
        check_same(files.read_json(path, "settings"), now, str(out), "--out", {**now, **flatten(Settings())})
    else:
        files.write(path, json.dumps(now, indent=1).encode())


def about(name: str, steps: int, data: DataSet) -> dict[str, Any]:
    """What a network was trained on, as `checkpoint.Meta.trained` says it."""
    run = {"experiment": name, "step": steps, "steps": steps, "stages": {}, "sets": [data.home]}
    return {**run, "actions": True, "unseen_classes": [], "data": flatten(data, "data")}


def told_time(begun: float) -> str:
    """The time since `begun` of the monotonic clock, in words."""
    minutes, seconds = divmod(round(time.monotonic() - begun), 60)
    return f"total time: {minutes} min {seconds} s"


def _evaluate(model: Predictor, clips: Any, view: str, progress: bool) -> ActionFigure:
    """Accuracy of a network, or of a function of batches, on the test clips."""
    results = evaluate.run(model, clips, Eval(views=(view,), scorers=(Action(),)), progress=progress)
    return ActionFigure.from_json(results.sections[0].json)
