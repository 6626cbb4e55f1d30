"""Reads the pickles of class scores that mmaction2 writes in tests (`--dump`): a list of {gt_label, pred_score}.

Their tensors are read without PyTorch, and nothing in the file is executed.
"""

from pathlib import Path

import numpy as np

from jaxhar.data.formats import safe_pickle
from jaxhar.host.errors import Problem


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The scores (N, A) float64 of N samples, and their labels (N,).

    Raises:
      Problem: the file is no such pickle, or a sample in it has another form.
    """
    content = safe_pickle.load(path)
    if not isinstance(content, list) or not content:
        raise Problem(f"{path} holds no list of scores; expected what mmaction2 writes with --dump")
    scores: list[np.ndarray] = []
    labels: list[int] = []
    for number, one in enumerate(content):
        fields = one if isinstance(one, dict) else {}
        score, label = (safe_pickle.numbers(fields.get(key)) for key in ("pred_score", "gt_label"))
        if (
            score is None
            or score.ndim != 1
            or label is None
            or label.size != 1
            or label.dtype.kind not in "iu"
            or not 0 <= label.item() < len(score)
        ):
            raise Problem(f"sample {number} of {path} has no pred_score (classes) with one gt_label among the classes")
        if not np.isfinite(score).all():
            raise Problem(f"sample {number} of {path} has scores that are not finite")
        if scores and len(score) != len(scores[0]):
            raise Problem(f"sample {number} of {path} has {len(score)} classes, the first one {len(scores[0])}")
        scores.append(score.astype(np.float64))
        labels.append(int(label.item()))
    return np.stack(scores), np.array(labels)
