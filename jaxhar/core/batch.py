"""Names, shapes and types of the arrays in a batch and in predictions.

Axis letters, used in every docstring of the project:

    B batch    T frames of a clip (1 for stills), or camera views of one moment    H W image rows and columns
    M persons  J joints   D coordinates (2: x, y; 3: x, y, depth)
    K prediction blocks of a network, the last is the final one    K' action heads    A action classes
"""

import zlib
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from jaxhar.core import geometry

Array = Any  # numpy on the host, jax.Array inside a jitted step


class Batch(TypedDict, total=False):
    """One batch. Only `mask` is mandatory; a key that the data lacks is absent; its losses and scores are skipped."""

    frames: Array  # (B, T, H, W, 3) RGB, uint8, or float as `Pixels` makes them
    power: Array  # (B, T, 3) float32, exponent of each channel scaled to [0, 1]; for uint8 frames only
    points: Array  # (B, T, M, J, D) float32 skeletons as input, up to M persons; 0 for a missing joint or person;
    # in crop units (D = 2), or in metres (D = 3)
    score: Array  # (B, T, M, J) float32 confidence of `points`; 0 for a missing joint or person
    cover: Array  # (B, T, H, W) float32 fraction of each pixel that lies inside person boxes
    boxes: Array  # (B, T, M, 4) float32 crop units, x1, y1, x2, y2 of up to M persons within the crop; 0 where absent
    boxed: Array  # (B, T, M) bool, which of the M boxes are persons to find
    ignored: Array  # (B, T, M) bool, boxes that are neither learned nor scored: crowds, persons nearly out of sight
    pose: Array  # (B, T, J, D) float32 crop units: 0 at the left, top or near edge, 1 at the right, bottom or far
    visible: Array  # (B, T, J) float32, 1 if annotated and inside the crop, else 0
    hidden: Array  # (B, T, J) bool, annotated joints that something in front hides; absent where unknown
    valid: Array  # (B, T, J, D) bool, which coordinates of `pose` carry a label; the others are 0
    world: Array  # (B, J, 3) float32 joints in space, mm
    action: Array  # (B,) int32 class, -1 unknown, or (B, A) float32 soft labels; a tuple with several label sets
    together: Array  # (B,) bool, whether the T frames are views of one moment, which may be fused
    mask: Array  # (B,) bool, False for examples that only fill up the last batch
    affine: Array  # (B, T, 3, 3) float32, image pixels -> crop units, as left-multiplied homogeneous matrices
    norm: Array  # (B, T) float32 reference length in image pixels (torso, head size); 0 where unknown
    area: Array  # (B, T) float32 area of the person in square pixels of the image; 0 where unknown
    depth: Array  # (B, T) float32 depth of the root joint in mm; a joint's is depth + depth_range * (z - 0.5)
    depth_range: Array  # (B,) float32 mm from z = 0 to z = 1
    camera: Array  # (B, T, 22) float32, see `jaxhar.core.camera.Camera.to_vector`; world unit mm
    sequence: Array  # (B,) int32, index of the source sequence in its split
    view: Array  # (B,) int32, index of the view within that sequence
    volume: Array  # (B, T, H, W, C) float32 heat maps of joints or limbs, in place of points and score
    mirrored: Array  # (B,) bool, whether the network mirrors the volume that it makes of points and score
    flipped: Array  # (B,) bool, whether the crop was mirrored
    source: Array  # (B,) int32, index of the data set in a mix
    features: Array  # (B, T, J, C) float32 features of a frozen trunk, in place of frames
    noise: Array  # (B, N) float32 in [0, 1), of the tokens of a clip, for masks; drawn by the network where absent
    step: Array  # () int32, training steps done, for schedules in networks and losses; added by the training loop, and
    # in evaluation where it is known of the weights


class Preds(TypedDict, total=False):
    """Predictions of a network: every value (K, B, ...); the last of the K is the final one."""

    pose: Array  # (K, B, T, J, D) crop units, from the first block to the last
    visible: Array  # (K, B, T, J) joint probability
    maps: Array  # (K, B, T, h, w, J) heat maps
    world: Array  # (K, B, J, 3) mm
    boxes: Array  # (K, B, T, N, 4) crop units, x1, y1, x2, y2, in the order of their scores
    scores: Array  # (K, B, T, N) in [0, 1]; 0 where there are fewer than N boxes
    centres: Array  # (K, B, T, h, w) logits of a person's middle, see `jaxhar.core.centres`
    extent: Array  # (K, B, T, h, w, 4) offset of the middle, in cells, and logarithm of the size there
    action: Array  # (K', B, A) logits of every head or block; a tuple with several label sets
    patches: Array  # (K, B, N, P) reconstructed patches
    removed: Array  # (K, B, N) which patches were masked out


def batch_size(batch: Batch) -> int:
    """B, the number of examples."""
    values = (value[0] if isinstance(value, tuple) else value for key, value in batch.items() if key != "step")
    return next(iter(values)).shape[0]  # type: ignore[union-attr]


def checksum(batch: Mapping[str, Any]) -> int:
    """A number by which batches on the host are told from others: CRC-32 of their keys and arrays."""
    total = 0
    for key, value in sorted(batch.items()):
        for array in value if isinstance(value, tuple) else (value,):
            total = zlib.crc32(np.asarray(array).tobytes(), zlib.crc32(key.encode(), total))
    return total


def to_image(affine: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Crop units back to image pixels: pose (..., T, J, 2 or more) -> (..., T, J, 2) float64.

    Args:
      affine: (..., T, 3, 3) or any axes that broadcast, image pixels -> crop units.
    """
    return geometry.apply(geometry.invert(np.asarray(affine, np.float64)), pose[..., :2])
