"""Tracks: which of the persons found in the frames of a video are the same one.

Each frame's persons are assigned to the tracks so that the sum of similarities is largest (SciPy's assignment). The
similarity is the mean of two. One is the overlap (IoU) of boxes, each with a margin (Yang et al., WACV'23), with the
box that the track is expected to have now, at constant velocity; the other the similarity of poses (object keypoint
similarity, as COCO's) with the track's last pose, moved along. Detections of high and of low scores are assigned in
two rounds, since a person that is partly hidden gets a low score (Zhang et al., "ByteTrack", ECCV'22).

Of somebody who leaves the picture a foot or an arm is seen at last, and perhaps the other one on the way back. Such a
part is compared with where the whole person was in the second before, and its pose with none.
"""

import bisect
from dataclasses import dataclass, field

import numpy as np

from jaxhar.core.boxes import area, overlap

#: Constant of the object keypoint similarity for every joint: twice COCO's mean deviation.
_OKS = 0.16
#: Margin around boxes that are compared, as a share of their longer side, so that the narrow boxes of who enters or
#: leaves the picture overlap too.
_MARGIN = 0.25
#: A track is expected to go on at its velocity for this long, in seconds.
_HORIZON = 0.5
#: Seconds over which the velocity of a track is a mean, because boxes change with every step of a person.
_MEMORY = 0.4
#: Weights of the similarity to where the way leads, and to where the person was last, of which the larger one counts.
_WAYS = np.array([[1.0], [0.8]])
#: A side of a box that is closer to the picture's edge is cut by it, as a share of the picture's side.
_EDGE = 0.01
#: A box at the edge with a smaller share of the person's area is a part of the person. Area and place of the whole
#: person are those of so many seconds before.
_PART, _LATELY = 0.5, 1.0
#: Similarity of a part that lies where the whole person was; less than that of a box that moves on, which comes first.
_AT_EDGE = 0.4


@dataclass(frozen=True)
class Detected:
    """The persons detected in one frame.

    Attributes:
      boxes: (N, 4) x1, y1, x2, y2 in pixels. scores: (N,) in [0, 1].
      pose, confidence: (N, J, 2) pixels and (N, J), NaN for joints that are not known; None without poses.
      size: (width, height) of the picture; None: nobody is cut by its edge.
    """

    boxes: np.ndarray
    scores: np.ndarray
    pose: np.ndarray | None = None
    confidence: np.ndarray | None = None
    size: tuple[int, int] | None = None

    def cut(self) -> np.ndarray:
        """(N, 4) bool, the sides of the boxes that the edge of the picture cuts."""
        return np.zeros((len(self.boxes), 4), bool) if self.size is None else edges_cut(self.boxes, self.size)


def edges_cut(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N, 4) bool, which sides of boxes (N, 4) in a picture of (width, height) its edge cuts."""
    sides = np.array(size)
    return np.concatenate([boxes[:, :2] <= _EDGE * sides, boxes[:, 2:] >= (1 - _EDGE) * sides], 1)


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
    _cut: np.ndarray = field(default_factory=lambda: np.zeros(4, bool))

    def _add(self, index: int, time: float, found: Detected, n: int, cut: np.ndarray) -> None:
        box = np.asarray(found.boxes[n], float)
        if self.boxes and time > self.times[-1]:
            free = ~(cut | self._cut).reshape(2, 2)
            step = (free * (box - self.boxes[-1]).reshape(2, 2)).sum(0) / np.maximum(free.sum(0), 1)
            past = time - self.times[-1]
            weight = max(1 / len(self.boxes), 1 - np.exp(-past / _MEMORY))
            self._velocity = self._velocity + weight * (step / past - self._velocity)
        self._cut = cut
        self.indices.append(index)
        self.numbers.append(n)
        self.times.append(time)
        self.boxes.append(box)
        self._pose = None if found.pose is None else _known(found, n)

    def _moved(self, time: float) -> np.ndarray:
        """(2,) how far the track is expected to have moved since its last detection."""
        return self._velocity * min(time - self.times[-1], _HORIZON)

    def _lately(self) -> np.ndarray:
        """(N, 4) the boxes of the last second in which the person was seen."""
        return np.stack(self.boxes[bisect.bisect_left(self.times, self.times[-1] - _LATELY) :])


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
        cut = found.cut()
        sure = np.flatnonzero(found.scores >= settings.sure)
        unsure = np.flatnonzero((found.scores < settings.sure) & (found.scores >= settings.unsure))
        for chosen in (sure, unsure):
            waiting = [track for track in self._alive if not any(track is other for other in of.values())]
            for t, n in _assign(_similarity(waiting, time, found, chosen, cut), settings.alike):
                of[int(chosen[n])] = waiting[t]
        for new in sure.tolist():
            if new not in of:
                of[new] = Track()
                self._alive.append(of[new])
        for n, track in of.items():
            track._add(index, time, found, n, cut[n])
            if not track.id and len(track.indices) >= settings.hits:
                self.tracks.append(track)
                track.id = len(self.tracks)
        return [of[n].id if n in of else 0 for n in range(len(found.boxes))]


def _assign(similarity: np.ndarray, least: float) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment  # a quarter of a second, which one person does not need

    rows, columns = linear_sum_assignment(-similarity)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if similarity[r, c] >= least]


def _similarity(tracks: list[Track], time: float, found: Detected, chosen: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """(tracks, chosen detections) similarities in [0, 1]."""
    table = np.zeros((len(tracks), len(chosen)))
    if not table.size:
        return table
    poses = None if found.pose is None else np.stack([_known(found, int(n)) for n in chosen])
    new = found.boxes[chosen]
    areas = np.maximum((new[:, 2:] - new[:, :2]).prod(-1), 1.0)
    for t, track in enumerate(tracks):
        moved = track._moved(time)
        # Who turned around is nearer to the last box; but of two who cross each is where its way leads.
        boxes = np.stack([track.boxes[-1] + np.tile(moved, 2) * ~track._cut, track.boxes[-1]])
        shared = (_WAYS * overlap(_widened(boxes), _widened(new))).max(0)
        table[t] = shared
        if track._pose is not None and poses is not None:
            ways = np.stack([oks(track._pose + moved, poses, areas), oks(track._pose, poses, areas)])
            alike = (_WAYS * ways).max(0)
            table[t] = np.where(np.isnan(alike), shared, (shared + alike) / 2)
        at_edge = (cut[chosen] & track._cut).any(1)
        if at_edge.any():
            table[t] = np.maximum(table[t], at_edge * _AT_EDGE * _parts(track._lately(), new))
    return table


def _known(found: Detected, n: int) -> np.ndarray:
    """(J, 2) the joints of a person, NaN for those without confidence."""
    assert found.pose is not None
    pose = np.array(found.pose[n][:, :2], float)
    if found.confidence is not None:
        pose[found.confidence[n] < 0.25] = np.nan
    return pose


def _parts(before: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How well boxes (N, 4) fit to a person at the edge who was seen in part before, or is now; 0 for a whole one.

    Args:
      before: (M, 4) boxes of the person, the last one at the end.
    """
    around = np.concatenate([before[:, :2].min(0), before[:, 2:].max(0)])
    low, high = np.maximum(boxes[:, :2], around[:2]), np.minimum(boxes[:, 2:], around[2:])
    inside = area(np.concatenate([low, high], 1)) / np.maximum(area(boxes), 1e-9)
    least = _PART * area(before).max()
    small = area(boxes) < least
    alike = overlap(_widened(around[None]), _widened(boxes))[0]
    return np.where(small, np.maximum(inside, alike), alike * (area(before[-1:]) < least))


def _widened(boxes: np.ndarray) -> np.ndarray:
    margin = _MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(-1, keepdims=True)
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], -1)


def oks(a: np.ndarray, b: np.ndarray, area: np.ndarray | float) -> np.ndarray:
    """Object keypoint similarity (...) of poses (..., J, 2), NaN without common joints.

    Args:
      area: (...) of the persons, square pixels.
    """
    squared = ((a - b) ** 2).sum(-1)
    known = np.isfinite(squared)
    near = np.exp(-np.where(known, squared, 0) / (2 * np.asarray(area)[..., None] * _OKS**2))
    return np.where(known, near, 0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)
