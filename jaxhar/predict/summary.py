"""Predicts one source frame by frame into the files of the command, and sums up what was found."""

import dataclasses
import time as clock
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxhar.data.formats.source import Images
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.boxes import BOX_JOINTS
from jaxhar.predict.frame_result import named
from jaxhar.predict.outputs import Outputs
from jaxhar.predict.persons import Stretch
from jaxhar.predict.progress import Progress
from jaxhar.predict.task import Task

_FEW = f"fewer than {BOX_JOINTS} joints are confident there"


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
      frames: number of frames.
      files: written files.
      action, probability: of the person who is there for longest, by the geometric mean over its clips. None if the
        network predicts no actions, if the source is several images, or if the network reads clips and the source is an
        image.
      scene: action of all persons together and its probability; None if that was not looked for.
      persons: identity -> first and last frame, action and its probability, of the persons of a video or of one image.
      empty, unfamiliar: numbers of frames without a person, and of those whose person looks unfamiliar.
      broken: a sentence for each image that was skipped, and for damage in a video or its early end.
      seconds: wall time, with compilation.
      notes: sentences about what the weights do not know, files that they were trained on, and what of a folder is read
        and left out.
      found: number of persons; of several pictures, the most in one of them; None if nobody was looked for.
      still: file of the overlay with a picture that stands for the source, and its time in seconds.
      warnings: sentences on what of this source is missing or doubtful.
      why: what is the reason for frames without a person.
    """

    frames: int
    files: tuple[Path, ...]
    action: str | None
    probability: float | None
    empty: int
    unfamiliar: int
    broken: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    persons: dict[int, tuple[int, int, str | None, float | None]] = dataclasses.field(default_factory=dict)
    scene: tuple[str | None, float | None] | None = None
    found: int | None = 0
    still: tuple[Path, float] | None = None
    warnings: tuple[str, ...] = ()
    why: str = _FEW

    def doubts(self) -> Iterator[str]:
        """Sentences on frames without a person, and on those that look unlike the training."""
        if self.empty:
            where = "nobody was found" if self.empty == self.frames else f"nobody in {self.empty} of the frames"
            yield f"{where}: {self.why}, so no joints and no action are given"
        if self.unfamiliar:
            yield (
                f"{self.unfamiliar} of {self.frames} frames look unlike what the network was trained on; they are "
                "marked as unfamiliar and name no action"
            )


def write(
    task: Task,
    out: Path,
    *,
    forms: Sequence[str] = (),
    made_by: dict[str, object] | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Predict a source and write its files.

    Args:
      out: folder for the results, made if absent. forms: further files, see `tables.TABLES`.
      made_by: see `poses.made_by`.
    """
    begun = clock.perf_counter()
    source, several = task.source, task.detector is not None
    with Outputs(out, source, task.name, task.meta, forms, made_by, task.maps, several) as outputs:
        times, stretches = task.search(progress)
        outputs.begin(times)
        for found in task.frames(times, stretches, progress):
            outputs.add(found.frame, found.results)
        outputs.finish()
    persons, classes = outputs.tally.persons, task.meta.actions
    who, together = outputs.tally.main(), outputs.tally.scene
    middle = len(times) // 2 if who is None else (persons[who].first + persons[who].last) // 2
    overlay = outputs.files[middle] if isinstance(source, Images) else outputs.files[0]
    main = persons[who] if who is not None else together if task.pictures is not None else None
    action, probability = named(None if main is None else main.action, classes)
    return Summary(
        frames=len(times),
        files=outputs.files,
        action=action,
        probability=probability,
        persons={who: (one.first, one.last, *named(one.action, classes)) for who, one in persons.items()},
        scene=None if together is None else named(together.action, classes),
        empty=outputs.tally.empty if task.pictures is None else 0,
        unfamiliar=outputs.tally.unfamiliar,
        broken=tuple(source.broken),
        seconds=clock.perf_counter() - begun,
        found=None if task.pictures is not None else outputs.tally.found(isinstance(source, Images)),
        still=(overlay, times[middle]),
        notes=task.told(times),
        why=_why(task, stretches, len(times)),
    )


def _why(task: Task, stretches: Sequence[Stretch], frames: int) -> str:
    """The reason for frames without a person: a person has no box there, or too few joints in it."""
    boxed = {frame for one in stretches for frame in range(one.first, one.first + len(one.boxes))}
    if boxed:
        return _FEW if len(boxed) == frames else f"there is no box, or {_FEW}"
    if not isinstance(task.detector, BoxFile):
        return "the detector found nobody"
    return f"{task.detector.path} has " + ("too few boxes to follow anyone" if task.detector.most else "no boxes")
