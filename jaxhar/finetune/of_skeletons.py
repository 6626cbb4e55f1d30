"""What `jaxhar finetune FILE.pkl` does: small networks on skeletons of one's own, tested by cross-validation.

The samples of the pickle are divided into folds, by performer where all names are those of NTU RGB+D, else sample by
sample. In each fold a PoseConv3D and a transformer are trained from scratch, beside a logistic regression on normalised
joints and the most frequent class. At the end a PoseConv3D is trained on all samples and saved.
"""

import shlex
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxhar.core.skeleton import Skeleton
from jaxhar.data.pyskl import folder as pyskl_folder
from jaxhar.data.pyskl.settings import Pyskl
from jaxhar.evaluation.action import ActionFigure
from jaxhar.evaluation.results import Results
from jaxhar.finetune import folds, joint_regression
from jaxhar.finetune.features import Clips
from jaxhar.finetune.run import Settings, about, check_settings, told_time
from jaxhar.finetune.skeletons import SIZE, Methods, Skeletons, SkeletonTrainer, poseconv, transformer
from jaxhar.host import files, process
from jaxhar.host.errors import Usage
from jaxhar.host.settings import flatten
from jaxhar.viz import report
from jaxhar.weights import checkpoint

#: Training steps of each network on the command line, if no other number is asked for.
STEPS = 1000
#: Settings that mean nothing here, and their options.
_OF_PICTURES = {
    **{name: name.replace("_", "-") for name in ("steps", "turn", "unfreeze", "unfreeze_steps", "multi")},
    "boxes": "whole-picture",
}
#: Frames of a clip, if no other number is asked for.
_FRAMES = 16


def run(file: Path, out: Path, settings: Settings, progress: bool = True) -> Results:
    """Train and test; write the report, predictions.csv, results.json and the PoseConv3D, weights.safetensors.

    Without `joint_steps` there are no networks.

    Args:
      file: see `jaxhar.data.pyskl.folder`; all its samples are used, whatever their splits.
      settings: those of skeletons alone: folds, joint_steps, batch, copies, frames, seed, skip_broken.

    Raises:
      Problem: the file or `out` cannot be used, `out` holds a run of other settings, or there are too few samples.
      Usage: settings that are for videos and images.
    """
    given, usual = flatten(settings), flatten(Settings())
    for name, option in _OF_PICTURES.items():
        if given[name] != usual[name]:
            raise Usage(f"--{option} is for videos and images, not for skeletons; see jaxhar finetune --help")
    begun = time.monotonic()
    skeleton = pyskl_folder.skeleton(file)
    data = Pyskl(
        root=str(file),
        skeleton=skeleton,
        clip_frames=settings.frames or _FRAMES,
        image_size=SIZE,
        eval_size=SIZE,
        skip_broken=settings.skip_broken,
    )
    files.make_folder(out)
    with process.lock(out):
        clips = Clips.all(data.prepare(out))
        check_settings(out, {**given, "weights": "none", "data": clips.folder.name})
        entries, names = clips.entries("train"), clips.sequence_names("train")
        labels = np.array([entry["action"] for entry in entries])
        people = [f"P{entry['subject']:03d}" for entry in entries]
        by_performer = all(entry["subject"] >= 0 for entry in entries) and len(set(people)) > 1
        groups = people if by_performer else names
        occurring = sorted(set(labels.tolist()))
        classes = tuple(clips.actions[label] for label in occurring)
        labels = np.searchsorted(occurring, labels)
        print(f"{len(names)} samples of {len(classes)} classes, folds by {'performer' if by_performer else 'sample'}")
        parts, fewer = folds.split(labels, np.array(groups), settings.folds, classes, settings.seed)
        if fewer:
            print(fewer, file=sys.stderr)
        methods = _methods(clips, labels, classes, skeleton, settings, progress)
        every = set(range(len(names)))
        found = []
        for k, test in enumerate(parts, 1):
            numbers = sorted(every - set(test))
            others = methods.figures(numbers, test, settings.batch, f"fold {k}", progress)
            found.append([_majority(methods, numbers, test), *others])
        figures = folds.pooled(found, names)
        sections = [figure.section(classes, folds.ABOUT[figure.view]) for figure in figures]
        results = Results("cross-validation", {"single": len(names)}, tuple(sections))
        results.save(out / "results.json")
        folds.write_predictions(out / "predictions.csv", figures, classes, parts, groups)
        if settings.joint_steps:
            trainer, numbers = methods.trainers["skeleton"], sorted(every)
            model = trainer.train(methods.clips, numbers, settings.batch, "everything", progress)
            trained = about(f"finetune-{file.stem}", settings.joint_steps, data)
            checkpoint.save_model(out / "weights.safetensors", model, skeleton, classes, trained)
        page = report.write(out, results, f"{file.stem}, {len(parts)} folds{fewer and f': {fewer}'}")
    folds.print_figures(figures, classes, Path(), groups)
    print(f"report: {page}")
    if settings.joint_steps:
        print(f"model: jaxhar predict VIDEO --weights POSENET --actions {shlex.quote(str(out))} --out RESULT")
    print(told_time(begun))
    return results


def _methods(
    clips: Clips, labels: np.ndarray, classes: tuple[str, ...], skeleton: Skeleton, settings: Settings, progress: bool
) -> Methods:
    """All methods, on the joints of the middle clip of each sample, of its mirror image, and of random ones."""
    source, data, copies = clips.records("train"), clips.config, settings.copies
    points, score = [], []
    for n in tqdm(range(len(source)), desc="reading skeletons", unit="sample", disable=not progress):
        record, rng = {**source[n], "index": n}, np.random.default_rng((settings.seed, n))
        length = record["length"]
        found = [data.example(record, *data.windows("single", length)[0])]
        for _ in range(copies - 1):
            draw = data.augment.draw(rng)
            found.append(data.example(record, data.train_frames(length, draw, rng), draw))
        points.append([one["points"] for one in found])
        score.append([one["score"] for one in found])
    every = Skeletons(np.array(points), np.minimum(np.array(score), 1), labels)
    persons = every.points.shape[3]
    vectors = [
        [np.concatenate([joint_regression.features(one[:, m], skeleton) for m in range(persons)]) for one in of_sample]
        for of_sample in every.points
    ]
    shape, steps, seed = (data.frames, persons), settings.joint_steps, settings.seed
    trainers = {}
    if steps:
        trainers["transformer"] = SkeletonTrainer(transformer(skeleton, shape, len(classes)), steps, seed)
        trainers["skeleton"] = SkeletonTrainer(poseconv(skeleton, shape, len(classes)), steps, seed)
    return Methods(every, np.array(vectors), clips.sequence_names("train"), classes, trainers)


def _majority(methods: Methods, numbers: list[int], test: tuple[int, ...]) -> ActionFigure:
    """What is right if the most frequent class of the training is named for every sample."""
    labels, classes = methods.clips.labels, len(methods.classes)
    share = np.bincount(labels[numbers], minlength=classes) / len(numbers)
    said = folds.predictions(methods.names, labels, test, np.tile(share, (len(test), 1)))
    return folds.result("majority", ("m",), said, classes)
