"""A simple baseline for action recognition: logistic regression on normalised joints."""

from typing import Protocol

import numpy as np

from jaxhar.core.skeleton import Skeleton

#: Smallest torso length, in units of the crop, used to scale joints.
_SHORTEST = 0.05


def features(pose: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """One vector (F,) from the joints (T, J, D) of a clip.

    The joints are relative to the middle of the hips and divided by the torso length (the median over the clip of the
    distance between the middles of shoulders and hips, in the image). The vector holds, for each coordinate, the mean,
    the standard deviation and the mean absolute change between frames, and the last two for the path of the hips.
    """
    root = pose[:, [skeleton.index("l_hip"), skeleton.index("r_hip")]].mean(1, keepdims=True)
    neck = pose[:, [skeleton.index("l_shoulder"), skeleton.index("r_shoulder")]].mean(1, keepdims=True)
    torso = max(float(np.median(np.linalg.norm((neck - root)[..., :2], axis=-1))), _SHORTEST)
    joints = np.concatenate([pose - root, root], axis=1).astype(np.float64) / torso
    steps = np.abs(np.diff(joints, axis=0)).mean(0) if len(joints) > 1 else np.zeros(joints.shape[1:])
    return np.concatenate([joints[:, :-1].mean(0).ravel(), joints.std(0).ravel(), steps.ravel()])


class Classifier(Protocol):
    """What is asked of a fitted scikit-learn estimator."""

    classes_: np.ndarray

    def predict_proba(self, vectors: np.ndarray) -> np.ndarray: ...


def fit(vectors: np.ndarray, labels: np.ndarray) -> Classifier:
    """A logistic regression with ridge penalty on standardised features (N, F), all classes with equal weight.

    Returns: a scikit-learn estimator with `predict_proba`; its `classes_` are the labels that occur.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=5000))
    return model.fit(vectors, labels)


def probabilities(model: Classifier, vectors: np.ndarray, num_classes: int) -> np.ndarray:
    """(N, A) for features (N, F); 0 for a class without training samples."""
    found = np.zeros((len(vectors), num_classes))
    found[:, model.classes_] = model.predict_proba(vectors)
    return found
