"""Averages the poses from several crops of one picture, in image coordinates."""

import itertools
from collections.abc import Iterator

import numpy as np

from jaxhar.core import geometry
from jaxhar.core.batch import to_image
from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.scorer import Example, Predicted, float64

Pairs = Iterator[tuple[Example, Predicted]]


def average_crops(pairs: Pairs, skeleton: Skeleton | None) -> Pairs:
    """Joins consecutive pairs of one sequence into one: the first example, with the mean of all poses in the image.

    `pose` and `visible` are averaged; other predictions are taken from the first crop.

    Args:
      pairs: examples and their predictions; pose (K, T, J, D) and visible (K, T, J) are optional.
      skeleton: of the poses; for mirrored crops, left and right joints are exchanged.
    """
    for _, group in itertools.groupby(pairs, key=lambda pair: int(pair[0]["sequence"])):
        crops = list(group)
        first, preds = crops[0]
        averaged = dict(preds)
        if "visible" in preds and skeleton is not None:
            averaged["visible"] = np.mean([float64(p["visible"])[..., _order(e, skeleton)] for e, p in crops], axis=0)
        if "pose" in preds and skeleton is not None:
            pose = np.mean([_in_image(e, p["pose"], first)[..., _order(e, skeleton), :] for e, p in crops], axis=0)
            pose[..., :2] = geometry.apply(float64(first["affine"]), pose[..., :2])
            averaged["pose"] = pose
        yield first, averaged


def _order(example: Example, skeleton: Skeleton) -> np.ndarray | slice:
    return skeleton.flip if example.get("flipped", False) else slice(None)


def _in_image(example: Example, pose: np.ndarray, first: Example) -> np.ndarray:
    """The pose in image pixels, with depth in units of the first crop, since the depth unit depends on the scale."""
    pose = float64(pose)
    pose[..., :2] = to_image(example["affine"], pose)
    if "depth_range" in example and pose.shape[-1] == 3:
        pose[..., 2] = 0.5 + (pose[..., 2] - 0.5) * example["depth_range"] / first["depth_range"]
    return pose
