"""Figures of classification from the scores of all samples."""

from typing import Literal

import numpy as np


def top_k(scores: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Share of the samples whose class is among those with the k largest scores; of equal ones the first are taken.

    Args:
      scores: (N, A). labels: (N,) classes.
    """
    best = np.argsort(-np.asarray(scores), axis=1, kind="stable")[:, :k]
    return float((best == np.asarray(labels)[:, None]).any(1).mean())


def sums(probabilities: np.ndarray, items: np.ndarray, views: int, videos: int) -> np.ndarray:
    """The summed probabilities (videos, A) of the views of every video.

    Args:
      probabilities: (n, A) of single views. items: (n,) their numbers; the views of a video follow each other. An item
        that occurs again, as where the work of several processes is filled up, counts once.
    """
    once, first = np.unique(items, return_index=True)
    found = np.zeros((videos, probabilities.shape[1]), np.float64)
    np.add.at(found, once // views, np.asarray(probabilities, np.float64)[first])
    return found


def mean_class(scores: np.ndarray, labels: np.ndarray, over: Literal["labels", "seen"] = "labels") -> float:
    """Mean over classes of the share of their samples that are recognised.

    Args:
      scores: (N, A). labels: (N,) classes.
      over: "labels": the classes that occur as a label. "seen": those that occur as a label or as a prediction; one
        that is only predicted counts 0. The latter is what pyskl and mmaction2 show during training.
    """
    labels = np.asarray(labels)
    predicted = scores.argmax(1)
    classes = np.unique(labels if over == "labels" else np.concatenate([labels, predicted]))
    of_class = [labels == one for one in classes]
    return float(
        np.mean(
            [
                (predicted[here] == one).mean() if here.any() else 0.0
                for one, here in zip(classes, of_class, strict=True)
            ]
        )
    )
