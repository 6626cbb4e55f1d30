"""The one data contract: what the pipeline yields, what a network predicts.

Axis letters, used in every docstring of the project:

    B batch    T frames of a clip (1 for stills), or the views of a moment    H W image rows and columns
    M persons  J joints   D coordinates (2: x, y; 3: x, y, depth)
    K prediction blocks of a network, the last is its answer   K' action heads    A action classes
"""

from typing import Any, TypedDict

import numpy as np

from jaxhar.core import geometry

Array = Any  # numpy on the host, jax.Array inside a jitted step


class Batch(TypedDict, total=False):
    """One batch. Nothing is mandatory but `mask`: a key that a source lacks is absent, and what needs it is off."""

    frames: Array  # (B, T, H, W, 3) RGB, uint8, or float as `Pixels` makes them
    power: Array  # (B, T, 3) float32 exponents of the channels in [0, 1], with uint8 frames; none without
    points: Array  # (B, T, M, J, D) float32 skeletons as input, up to M persons; 0 where there is none
    score: Array  # (B, T, M, J) float32 confidence of `points`, 0 where there is none
    cover: Array  # (B, T, H, W) float32 share of a pixel inside person boxes
    pose: Array  # (B, T, J, D) float32, units of the crop: 0 is its left or top (near) edge, 1 its right or bottom
    visible: Array  # (B, T, J) float32, 1 inside the crop and annotated, else 0
    valid: Array  # (B, T, J, D) bool, which coordinates of `pose` carry a label; the others are 0
    world: Array  # (B, J, 3) float32 joints in space, mm
    action: Array  # (B,) int32 class, -1 unknown, or (B, A) float32 shares; a tuple of these with several label sets
    mask: Array  # (B,) bool, False on the padding of the last batch
    affine: Array  # (B, T, 3, 3) float32, image pixels -> crop units, as left-multiplied homogeneous matrices
    norm: Array  # (B, T) float32 reference length in image pixels (torso, head size); 0 where unknown
    depth: Array  # (B, T) float32 depth of the root in mm; that of a joint is depth + depth_range * (z - 0.5)
    depth_range: Array  # (B,) float32 mm from z = 0 to z = 1
    camera: Array  # (B, T, 22) float32, see `jaxhar.core.camera.Camera.to_vector`; its world is in mm
    sequence: Array  # (B,) int32, index of the source sequence in its split
    view: Array  # (B,) int32, number of the view of that sequence
    flipped: Array  # (B,) bool, whether the crop was mirrored
    source: Array  # (B,) int32, index of the data set in a mix
    features: Array  # (B, T, J, C) float32, what a frozen trunk gives, in place of frames
    step: Array  # () int32, steps done; put in by the training loop, for schedules in networks and losses


class Preds(TypedDict, total=False):
    """What a network returns: every value (K, B, ...), K predictions of which the last is the answer."""

    pose: Array  # (K, B, T, J, D) crop units, blocks first to last
    visible: Array  # (K, B, T, J) joint probability
    maps: Array  # (K, B, T, h, w, J) heat maps
    world: Array  # (K, B, J, 3) mm
    action: Array  # (K', B, A) logits of every head or block; a tuple of these with several sets of labels
    patches: Array  # (K, B, N, P) reconstructed patches
    removed: Array  # (K, B, N) which patches the network did not see


def batch_size(batch: Batch) -> int:
    """B."""
    values = (value[0] if isinstance(value, tuple) else value for key, value in batch.items() if key != "step")
    return next(iter(values)).shape[0]  # type: ignore[union-attr]


def to_image(affine: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Crop units back to image pixels: pose (..., T, J, 2 or more) -> (..., T, J, 2) float64.

    Args:
      affine: (..., T, 3, 3) or any axes that broadcast, image pixels -> crop units.
    """
    return geometry.apply(geometry.invert(np.asarray(affine, np.float64)), pose[..., :2])
