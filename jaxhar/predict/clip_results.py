"""From persons in frames to results: crops of their clips, runs of the network, and the results frame by frame."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jaxhar.core.batch import to_image
from jaxhar.data import transforms
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Video
from jaxhar.predict import persons
from jaxhar.predict.boxes import anyone, clips, timed_clips, union
from jaxhar.predict.frame_result import Clip, FrameResult, normalised
from jaxhar.predict.map_pictures import FrameMaps
from jaxhar.predict.persons import Stretch
from jaxhar.predict.search import Infer, run_network
from jaxhar.predict.tracking import oks

#: Two persons of a frame whose joints are more similar (object keypoint similarity) are one.
SAME = 0.9
#: Crops (N, H, W, 3) uint8 -> (N,) bool, whether each one looks like those on which the network was trained.
Recognise = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Window:
    """A clip of one person: its frames (T,), rising indices, perhaps repeated."""

    stretch: Stretch
    frames: np.ndarray


def windows(
    stretches: list[Stretch], length: int, stride: int, times: Sequence[float] = (), step: float | None = None
) -> list[Window]:
    """The clips of all persons, by their first and last frame.

    Args:
      stride: between the frames of a clip. step: the same in seconds, by the `times` of all frames; None: `stride`.
    """
    found = []
    for stretch in stretches:
        count, here = len(stretch.boxes), np.asarray(times[stretch.first : stretch.first + len(stretch.boxes)])
        some = clips(count, length, stride) if step is None else timed_clips(here, length, step)
        found += [Window(stretch, stretch.first + frames) for frames in some]
    return sorted(found, key=lambda window: (window.frames[0], window.frames[-1], window.stretch.id))


@dataclass(frozen=True)
class Job:
    """Clips for one run of the network.

    Attributes:
      numbers: of the windows. crops: (N, T, H, W, 3) uint8. affines: the map (3, 3) from pixels to the crop of each.
      shape: (B, T) of the run.
    """

    numbers: list[int]
    crops: np.ndarray
    affines: list[np.ndarray]
    shape: tuple[int, int]


def batches(
    source: Video | Images,
    windows: list[Window],
    count: int,
    batch: int,
    size: tuple[int, int],
    around: float | None = None,
) -> Iterator[Job]:
    """Crop every clip by the union of its boxes. A frame is cropped for all its clips when it is read, and not kept.

    Args:
      count: number of frames. around: what is seen around a person's own box, see `transforms.Draw`.
    """
    waiting: list[tuple[int, transforms.Crop, np.ndarray]] = []
    coming = 0
    for frame in source.frames():
        assert frame.image is not None
        height, width = frame.image.shape[:2]
        while coming < len(windows) and windows[coming].frames[0] <= frame.index:
            window = windows[coming]
            box = transforms.fit_aspect(union(window.stretch.at(window.frames)), size)
            plan = transforms.plan_crop(box, (width, height), size)
            waiting.append((coming, plan, np.zeros((len(window.frames), *size, 3), np.uint8)))
            coming += 1
        for number, plan, crops in waiting:
            here = np.flatnonzero(windows[number].frames == frame.index)
            if len(here):
                own = windows[number].stretch.outline(frame.index)
                seen = None if own is None else transforms.seen_window(own, around, (width, height))
                crops[here] = transforms.crop_image(frame.image, replace(plan, window=seen))
        done = [entry for entry in waiting if windows[entry[0]].frames[-1] <= frame.index]
        while len(done) >= batch or (done and frame.index == count - 1):
            job, done = done[:batch], done[batch:]
            taken = {number for number, _, _ in job}
            waiting = [entry for entry in waiting if entry[0] not in taken]
            crops = np.stack([crops for _, _, crops in job])
            yield Job([n for n, _, _ in job], crops, [plan.affine for _, plan, _ in job], (batch, crops.shape[1]))


def results(
    jobs: Generator[Job, None, None],
    infer: Infer,
    windows: list[Window],
    count: int,
    familiar: Recognise | None = None,
    with_maps: bool = False,
) -> Generator[list[FrameResult], None, None]:
    """The persons of each frame, by identity.

    A pose is that of the clip in which the frame is most central; an action that of all clips of the person which
    contain this moment, look familiar in their middle, and show somebody in at least half of their frames.
    """
    found: dict[int, dict[int, FrameResult]] = {}  # by frame, by identity
    votes: dict[tuple[int, int], list[np.ndarray]] = {}
    best: dict[tuple[int, int], float] = {}
    left = set(range(len(windows)))
    written = 0

    def settled() -> Iterator[list[FrameResult]]:
        """The frames that no further clip contains."""
        nonlocal written
        end = int(windows[min(left)].frames[0]) if left else count
        for i in range(written, end):
            for who, result in found.get(i, {}).items():
                best.pop((i, who))
                if (i, who) in votes:
                    result.action = normalised(np.mean(votes.pop((i, who)), axis=0))
            yield apart([result for _, result in sorted(found.pop(i, {}).items())])
        written = max(written, end)

    with contextlib.closing(jobs):
        for job in jobs:
            seen = run_network(infer, job.crops, job.shape, as_clips=True)
            known = None if familiar is None else _middles(familiar, job)
            for n, (number, affine) in enumerate(zip(job.numbers, job.affines, strict=True)):
                unfamiliar = None if known is None else not known[n]
                window, who = windows[number].frames, windows[number].stretch.id
                left.remove(number)
                action = None if seen.action is None else np.asarray(seen.action[n], np.float64)
                for t, i in enumerate(window.tolist()):
                    central = -abs(t - (len(window) - 1) / 2)
                    if central > best.get((i, who), -np.inf):
                        pose = np.array(seen.pose[n, t], np.float64)
                        pose[:, :2] = to_image(affine, pose)
                        box = to_image(affine, np.array([[0.0, 0.0], [1.0, 1.0]])).ravel()
                        before = found.setdefault(i, {}).get(who)
                        found[i][who] = result = FrameResult(
                            i, box, pose, np.asarray(seen.confidence[n, t], np.float64), id=who
                        )
                        result.outline = windows[number].stretch.outline(i)
                        result.clips = before.clips if before else []
                        result.unfamiliar = unfamiliar
                        if with_maps and seen.maps is not None:
                            result.maps = FrameMaps(job.crops[n, t], seen.maps[n, t], seen.pose[n, t, :, :2])
                        best[i, who] = central
                if action is not None and not unfamiliar and 2 * anyone(seen.confidence[n]).sum() >= len(window):
                    found[int(window[0])][who].clips.append(Clip(window, action))
                    # Frames between those of the clip too; otherwise odd and even frames would differ at a stride of 2.
                    for i in range(int(window[0]), int(window[-1]) + 1):
                        votes.setdefault((i, who), []).append(np.log(np.maximum(action, 1e-12)))
            yield from settled()
    yield from settled()


def apart(results: list[FrameResult]) -> list[FrameResult]:
    """The persons of a frame without those who are nobody else than another one, hidden behind it or by mistake.

    Of two with nearly the same joints the one is kept whose joints lie more in the middle of its box.
    """
    kept: list[FrameResult] = []
    for result in sorted(results, key=_off_centre):
        box = result.box / persons.MARGIN if result.outline is None else result.outline
        area = max(float((box[2:] - box[:2]).max()) ** 2, 1.0)
        others = np.stack([other.pose[:, :2] for other in kept]) if kept else np.zeros((0, *result.pose[:, :2].shape))
        if not (oks(result.pose[:, :2], others, area) > SAME).any():
            kept.append(result)
    return [result for result in results if any(result is one for one in kept)]


def _off_centre(result: FrameResult) -> float:
    points = result.pose[:, :2]
    middle, box = (points.min(0) + points.max(0)) / 2, result.box
    return float(np.linalg.norm((middle - (box[:2] + box[2:]) / 2) / np.maximum(box[2:] - box[:2], 1)))


def _middles(familiar: Recognise, job: Job) -> np.ndarray:
    """Whether the middle frame of each clip looks familiar; padded to one shape, so that it is compiled once."""
    crops = np.zeros((job.shape[0], *job.crops.shape[2:]), np.uint8)
    crops[: len(job.crops)] = job.crops[:, job.shape[1] // 2]
    return familiar(crops)[: len(job.crops)]
