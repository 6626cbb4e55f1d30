"""How well identities are kept: IDF1 (Ristani et al., "Performance Measures and a Data Set for Multi-Target,
Multi-Camera Tracking", ECCVW'16)."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxhar.core.boxes import overlap

#: Identity -> box (4,) x1, y1, x2, y2, of one frame.
Boxes = Mapping[int, np.ndarray]


def idf1(truth: Sequence[Boxes], found: Sequence[Boxes], least: float = 0.5) -> float:
    """2 TP / (2 TP + FP + FN), where each true identity is matched with at most one found identity over all frames.

    Args:
      truth, found: for each frame.
      least: intersection over union of a hit.
    """
    ours = sorted({who for frame in truth for who in frame})
    theirs = sorted({who for frame in found for who in frame})
    hits = np.zeros((len(ours), len(theirs)))
    for true, seen in zip(truth, found, strict=True):
        for a, box in true.items():
            for b, other in seen.items():
                shared = overlap(np.asarray(box, float)[None], np.asarray(other, float)[None])[0, 0]
                hits[ours.index(a), theirs.index(b)] += shared >= least
    together = hits[linear_sum_assignment(-hits)].sum()
    total = sum(map(len, truth)) + sum(map(len, found))
    return float(2 * together / total) if total else 1.0
