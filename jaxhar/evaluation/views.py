"""Averages the predictions for several crops of one picture.

Heat maps of a crop and of its mirror image are averaged, and the joints decoded from the mean, as in the flip test of
Simple Baselines and HRNet. Crops at different places, and predictions without heat maps, are averaged as joints in
image coordinates.

A joint at x in crop units lies in cell w x of a map of w cells, and in cell w - w x of the mirrored crop's. Turned
back, that is cell w x - 1: the maps of mirror images are one cell apart.
"""

import itertools
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from jaxhar.core import gaussian, geometry
from jaxhar.core.batch import to_image
from jaxhar.core.gaussian import Decoding
from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.scorer import Example, Predicted, float64

Pair = tuple[Example, Predicted]
Pairs = Iterator[Pair]

_joints = jax.jit(gaussian.joints, static_argnames="how")
_MIRROR = geometry.translation(1, 0) @ geometry.scaling(-1, 1)


def average_crops(
    pairs: Pairs, skeleton: Skeleton | None, decoding: Decoding | None = None, shift: bool = True
) -> Pairs:
    """Joins consecutive pairs of one sequence into one: the first example, with the mean of all poses in the image.

    The first crop of a sequence is not mirrored.

    `pose` and `visible` are averaged; other predictions are taken from the first crop.

    Args:
      pairs: examples and their predictions; pose (K, T, J, D), visible (K, T, J), maps (K, T, h, w, J) are optional.
      skeleton: of the poses; for mirrored crops, left and right joints are exchanged.
      decoding: how the network decodes its joints from its maps. Then maps of a crop and of its mirror image are
        averaged, and pose and visible decoded from the mean.
      shift: move the maps of mirrored crops by one cell to the right before they are averaged; the first column keeps
        its value.
    """
    for _, group in itertools.groupby(pairs, key=lambda pair: int(pair[0]["sequence"])):
        crops = list(group)
        if decoding is not None and skeleton is not None and "maps" in crops[0][1]:
            crops = [_average_maps(same, skeleton, decoding, shift) for same in _places(crops)]
        first, preds = crops[0]
        averaged = dict(preds)
        if "visible" in preds and skeleton is not None:
            averaged["visible"] = np.mean([float64(p["visible"])[..., _order(e, skeleton)] for e, p in crops], axis=0)
        if "pose" in preds and skeleton is not None:
            pose = np.mean([_in_image(e, p["pose"], first)[..., _order(e, skeleton), :] for e, p in crops], axis=0)
            pose[..., :2] = geometry.apply(float64(first["affine"]), pose[..., :2])
            averaged["pose"] = pose
        yield first, averaged


def _places(crops: Sequence[Pair]) -> list[list[Pair]]:
    """The crops in groups that show the same part of the picture, upright or mirrored."""
    places: list[list[Pair]] = []
    for crop in crops:
        same = (p for p in places if np.allclose(_upright(p[0][0]), _upright(crop[0]), rtol=1e-5, atol=1e-5))
        found = next(same, None)
        if found is None:
            places.append([crop])
        else:
            found.append(crop)
    return places


def _upright(example: Example) -> np.ndarray:
    affine = float64(example["affine"])
    return _MIRROR @ affine if example.get("flipped", False) else affine


def _average_maps(crops: Sequence[Pair], skeleton: Skeleton, decoding: Decoding, shift: bool) -> Pair:
    """The first of some crops of one place, with the mean of their maps and the joints decoded from it."""
    first, preds = crops[0]
    turned = [bool(e.get("flipped", False)) != bool(first.get("flipped", False)) for e, _ in crops]
    each = [np.asarray(p["maps"], np.float32) for _, p in crops]
    each = [turn_back(maps, skeleton, shift) if turn else maps for maps, turn in zip(each, turned, strict=True)]
    maps = np.mean(each, axis=0)
    pose, visible = _joints(maps, how=decoding)
    return first, {**preds, "maps": maps, "pose": np.asarray(pose), "visible": np.asarray(visible)}


def turn_back(maps: np.ndarray, skeleton: Skeleton, shift: bool) -> np.ndarray:
    """Maps (..., h, w, J) of a mirrored crop as maps of the crop; `shift` as of `average_crops`."""
    turned = maps[..., ::-1, :][..., skeleton.flip]
    return np.concatenate([turned[..., :1, :], turned[..., :-1, :]], -2) if shift else turned


def _order(example: Example, skeleton: Skeleton) -> np.ndarray | slice:
    return skeleton.flip if example.get("flipped", False) else slice(None)


def _in_image(example: Example, pose: np.ndarray, first: Example) -> np.ndarray:
    """The pose in image pixels, with depth in units of the first crop, since the depth unit depends on the scale."""
    pose = float64(pose)
    pose[..., :2] = to_image(example["affine"], pose)
    if "depth_range" in example and pose.shape[-1] == 3:
        pose[..., 2] = 0.5 + (pose[..., 2] - 0.5) * example["depth_range"] / first["depth_range"]
    return pose
