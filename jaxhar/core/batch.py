"""The one data contract: what the pipeline yields, what a network predicts.

Axis letters, used in every docstring of the project:

    B batch    T frames of a clip (1 for stills)    H W image rows and columns
    J joints   D coordinates (2: x, y; 3: x, y, depth)
    K prediction blocks of the pose network         K' action heads    A action classes
"""

from typing import Any, TypedDict

import numpy as np

Array = Any  # numpy on the host, jax.Array inside a jitted step


class Batch(TypedDict, total=False):
    """One batch of clips. A key that a source lacks is absent, and its loss is off."""

    frames: Array  # (B, T, H, W, 3) RGB, uint8 or what the network sees, see `network_input`
    power: Array  # (B, T, 3) float32 exponents of the channels in [0, 1], with uint8 frames; none without
    pose: Array  # (B, T, J, D) float32, units of the crop: 0 is its left or top (near) edge, 1 its right or bottom
    visible: Array  # (B, T, J) float32, 1 inside the crop and annotated, else 0
    valid: Array  # (B, T, J, D) bool, which coordinates of `pose` carry a label; the others are 0
    action: Array  # (B,) int32 class index, -1 without a label; a tuple of these with several sets of labels
    mask: Array  # (B,) bool, False on the padding of the last batch
    affine: Array  # (B, 3, 3) float32, image pixels -> crop units, as left-multiplied homogeneous matrices
    norm: Array  # (B, T) float32 reference length in image pixels (torso, head size); 0 where unknown
    depth: Array  # (B, T) float32 depth of the root in mm; that of a joint is depth + depth_range * (z - 0.5)
    depth_range: Array  # (B,) float32 mm from z = 0 to z = 1
    camera: Array  # (B, T, 22) float32, see `jaxhar.core.camera.Camera.to_vector`; its world is in mm
    sequence: Array  # (B,) int32, index of the source sequence in its split
    flipped: Array  # (B,) bool, whether the crop was mirrored


class Preds(TypedDict, total=False):
    """What a network returns, one leading entry per intermediate prediction."""

    pose: Array  # (K, B, T, J, D) crop units, blocks first to last
    visible: Array  # (K, B, T, J) joint probability
    action: Array  # (K', B, A) logits of every head or block; a tuple of these with several sets of labels


def network_input(batch: Batch) -> Array:
    """What the network sees of a batch, (B, T, H, W, 3) in [-1, 1]: 2 ((v / 255) ^ power - 0.5) of uint8 frames.

    Frames of another type are that already. Done inside of a jitted step, so that a quarter of the bytes is kept and
    moved to the device.
    """
    frames = batch["frames"]
    if frames.dtype != np.uint8:
        return frames
    unit = frames.astype(np.float32) / 255
    if "power" in batch:
        unit = unit ** batch["power"][:, :, None, None]
    return 2 * (unit - 0.5)


def picture(frame: np.ndarray) -> np.ndarray:
    """uint8 of frames as in a batch, to look at."""
    if frame.dtype == np.uint8:
        return frame
    return np.clip((frame.astype(np.float32) + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)
