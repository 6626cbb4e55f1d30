"""Tracks: which of the persons found in the frames of a video are the same one.

Each frame's persons are assigned to the tracks so that the sum of similarities is largest (SciPy's assignment). The
similarity is the mean of two. One is the overlap (IoU) of boxes, each with a margin (Yang et al., WACV'23), with the
box that the track is expected to have now, at constant velocity; the other the similarity of poses (object keypoint
similarity, as COCO's) with the track's last pose, moved along. Detections of high and of low scores are assigned in
two rounds, since a person that is partly hidden gets a low score (Zhang et al., "ByteTrack", ECCV'22).
"""

from dataclasses import dataclass, field

import numpy as np

from jaxhar.core.boxes import overlap

#: Constant of the object keypoint similarity for every joint: twice COCO's mean deviation.
_OKS = 0.16
#: Margin around boxes that are compared, as a share of their longer side, so that the narrow boxes of who enters or
#: leaves the picture overlap too.
_MARGIN = 0.25
#: A track is expected to go on at its velocity for this long, in seconds.
_HORIZON = 0.5


@dataclass(frozen=True)
class Detected:
    """The persons detected in one frame.

    Attributes:
      boxes: (N, 4) x1, y1, x2, y2 in pixels. scores: (N,) in [0, 1].
      pose, confidence: (N, J, 2) pixels and (N, J), NaN for joints that are not known; None without poses.
    """

    boxes: np.ndarray
    scores: np.ndarray
    pose: np.ndarray | None = None
    confidence: np.ndarray | None = None


@dataclass(frozen=True)
class Tracking:
    """Settings.

    Attributes:
      sure: least score of the first round, and of a detection that begins a track.
      unsure: least score of the second round; others are left out.
      alike: least similarity of a track and its next detection.
      hits: number of detections after which a track gets an identity.
      patience: seconds without a detection after which a track ends.
    """

    sure: float = 0.5
    unsure: float = 0.1
    alike: float = 0.2
    hits: int = 2
    patience: float = 1.0


@dataclass
class Track:
    """One person.

    Attributes:
      id: identity, from 1 on in the order in which tracks got theirs; 0 before.
      indices, numbers, times, boxes: of its detections: frame, number among the persons detected there, seconds, (4,)
        pixels.
    """

    id: int = 0
    indices: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    _velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    _pose: np.ndarray | None = None

    def _add(self, index: int, time: float, found: Detected, n: int) -> None:
        if self.boxes and time > self.times[-1]:
            velocity = (_centre(found.boxes[n]) - _centre(self.boxes[-1])) / (time - self.times[-1])
            self._velocity = velocity if len(self.boxes) == 1 else (self._velocity + velocity) / 2
        self.indices.append(index)
        self.numbers.append(n)
        self.times.append(time)
        self.boxes.append(np.asarray(found.boxes[n], float))
        self._pose = None if found.pose is None else _known(found, n)

    def _moved(self, time: float) -> np.ndarray:
        """(2,) how far the track is expected to have moved since its last detection."""
        return self._velocity * min(time - self.times[-1], _HORIZON)


class Tracker:
    """Gives identities to the persons of a video's frames, one frame after the other.

    Attributes:
      tracks: all tracks that have an identity, ended ones too.
    """

    def __init__(self, settings: Tracking | None = None):
        self.settings = settings or Tracking()
        self.tracks: list[Track] = []
        self._alive: list[Track] = []

    def add(self, index: int, time: float, found: Detected) -> list[int]:
        """The persons of frame `index` at `time` seconds.

        Returns:
          the identity of each; 0 for those that have none yet, or whose score is too low.
        """
        settings = self.settings
        self._alive = [track for track in self._alive if time - track.times[-1] <= settings.patience]
        of: dict[int, Track] = {}
        sure = np.flatnonzero(found.scores >= settings.sure)
        unsure = np.flatnonzero((found.scores < settings.sure) & (found.scores >= settings.unsure))
        for chosen in (sure, unsure):
            waiting = [track for track in self._alive if not any(track is other for other in of.values())]
            for t, n in _assign(_similarity(waiting, time, found, chosen), settings.alike):
                of[int(chosen[n])] = waiting[t]
        for new in sure.tolist():
            if new not in of:
                of[new] = Track()
                self._alive.append(of[new])
        for n, track in of.items():
            track._add(index, time, found, n)
            if not track.id and len(track.indices) >= settings.hits:
                self.tracks.append(track)
                track.id = len(self.tracks)
        return [of[n].id if n in of else 0 for n in range(len(found.boxes))]


def _assign(similarity: np.ndarray, least: float) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment  # a quarter of a second, which one person does not need

    rows, columns = linear_sum_assignment(-similarity)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if similarity[r, c] >= least]


def _similarity(tracks: list[Track], time: float, found: Detected, chosen: np.ndarray) -> np.ndarray:
    """(tracks, chosen detections) similarities in [0, 1]."""
    table = np.zeros((len(tracks), len(chosen)))
    if not table.size:
        return table
    poses = None if found.pose is None else np.stack([_known(found, int(n)) for n in chosen])
    areas = np.maximum((found.boxes[chosen, 2:] - found.boxes[chosen, :2]).prod(-1), 1.0)
    for t, track in enumerate(tracks):
        moved = track._moved(time)
        # Who turned around, or left the picture and came back, is near the last box, not where the way would have led.
        boxes = np.stack([track.boxes[-1] + np.tile(moved, 2), track.boxes[-1]])
        shared = overlap(_widened(boxes), _widened(found.boxes[chosen])).max(0)
        if track._pose is None or poses is None:
            table[t] = shared
            continue
        alike = np.maximum(oks(track._pose + moved, poses, areas), oks(track._pose, poses, areas))
        table[t] = np.where(np.isnan(alike), shared, (shared + alike) / 2)
    return table


def _known(found: Detected, n: int) -> np.ndarray:
    """(J, 2) the joints of a person, NaN for those without confidence."""
    assert found.pose is not None
    pose = np.array(found.pose[n][:, :2], float)
    if found.confidence is not None:
        pose[found.confidence[n] < 0.25] = np.nan
    return pose


def _widened(boxes: np.ndarray) -> np.ndarray:
    margin = _MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(-1, keepdims=True)
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], -1)


def _centre(box: np.ndarray) -> np.ndarray:
    return (np.asarray(box, float)[:2] + np.asarray(box, float)[2:]) / 2


def oks(a: np.ndarray, b: np.ndarray, area: np.ndarray | float) -> np.ndarray:
    """Object keypoint similarity (...) of poses (..., J, 2), NaN without common joints.

    Args:
      area: (...) of the persons, square pixels.
    """
    squared = ((a - b) ** 2).sum(-1)
    known = np.isfinite(squared)
    near = np.exp(-np.where(known, squared, 0) / (2 * np.asarray(area)[..., None] * _OKS**2))
    return np.where(known, near, 0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)
