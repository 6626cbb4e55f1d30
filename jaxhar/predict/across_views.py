"""Which person in one view is which in another: the tracks of all views, matched by epipolar distance."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from jaxhar.core.camera import Camera
from jaxhar.core.epipolar import match_persons
from jaxhar.host.errors import Problem
from jaxhar.predict.views import View

#: Pixels up to which two detections may be one person, see `epipolar.match_persons`.
LIMIT = 40.0
#: Share of the frames of two tracks in which they must be matched to be one person.
_SHARE = 0.5

#: (view, index of the person in `View.ids`).
Track = tuple[int, int]


def match(
    cameras: Sequence[Camera], views: Sequence[View], min_confidence: float, limit: float = LIMIT
) -> tuple[list[list[list[int]]], list[str]]:
    """The persons, and a sentence on those that only one view has.

    Every frame is matched by itself. Tracks that are matched in most of the frames that they share are one person, the
    most frequent pairs first; two tracks of one view are one person only if they share no frame. If no view has more
    than one person, all are the same one.

    Args:
      min_confidence: joints below it do not count.

    Returns:
      for each person and view the indices of its tracks in `View.ids`, the person of most detections first.

    Raises:
      Problem: no person is seen by two views.
    """
    if all(len(view.ids) <= 1 for view in views):
        return [[list(range(len(view.ids))) for view in views]], []
    here = [np.isfinite(view.pixels).any((-1, -2)) for view in views]  # (F, M) each
    shared, matched = _count(cameras, views, here, min_confidence, limit)
    group_of: dict[Track, list[Track]] = {
        (v, m): [(v, m)] for v, view in enumerate(views) for m in range(len(view.ids))
    }
    for (one, other), count in matched.most_common():
        first, second = group_of[one], group_of[other]
        if first is second or count <= _SHARE * shared[one, other]:
            continue
        if any(a[0] == b[0] and (here[a[0]][:, a[1]] & here[b[0]][:, b[1]]).any() for a in first for b in second):
            continue
        first += second
        group_of |= dict.fromkeys(second, first)
    groups = list({id(group): group for group in group_of.values()}.values())
    whole = [group for group in groups if len({view for view, _ in group}) > 1]
    if not whole:
        raise Problem(
            f"no person of one view matches one of another to within {limit:g} px; check the calibration, or give a "
            "larger --match-distance"
        )
    whole.sort(key=lambda group: -sum(int(here[v][:, m].sum()) for v, m in group))
    alone = [f"{views[v].name} {views[v].ids[m]}" for group in groups if group not in whole for v, m in group]
    notes = [f"{len(alone)} persons are left out, as no other view has them: {', '.join(alone)}"] if alone else []
    return [[sorted(m for v, m in group if v == n) for n in range(len(views))] for group in whole], notes


def _count(
    cameras: Sequence[Camera], views: Sequence[View], here: list[np.ndarray], min_confidence: float, limit: float
) -> tuple[Counter, Counter]:
    """For each pair of tracks the number of frames that have both, and of those in which they are matched."""
    shared: Counter[tuple[Track, Track]] = Counter()
    matched: Counter[tuple[Track, Track]] = Counter()
    for n in range(len(here[0])):
        present = [np.flatnonzero(one[n]) for one in here]
        joints = [view.pixels[n, found] for view, found in zip(views, present, strict=True)]
        sure = [view.confidence[n, found] for view, found in zip(views, present, strict=True)]
        weight = [np.where(one >= min_confidence, one, 0) for one in sure]
        tracks = [(v, int(m)) for v, found in enumerate(present) for m in found]
        shared.update(pair for pair in combinations(tracks, 2) if pair[0][0] != pair[1][0])
        for group in match_persons(cameras, joints, weight, limit):
            members = [(v, int(present[v][m])) for v, m in enumerate(group) if m >= 0]
            matched.update(combinations(members, 2))
    return shared, matched
