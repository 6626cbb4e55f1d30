"""Clips as rows of patches, and the patches that a masked autoencoder is to reconstruct (He et al., CVPR'22)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxhar.core.batch import Batch
from jaxhar.core.pixels import Pixels

Array = jax.Array


def patchify(frames: Array, time: int, side: int) -> Array:
    """Frames (B, T, H, W, C) as patches of `time` frames of side x side pixels.

    Returns:
      (B, N, time * side * side * C): patches by frames, rows and columns; within a patch also, channels last.
    """
    batch, frames_, height, width, channels = frames.shape
    x = frames.reshape(batch, frames_ // time, time, height // side, side, width // side, side, channels)
    return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, time * side * side * channels)


def unpatchify(patches: Array, time: int, side: int, size: tuple[int, int]) -> Array:
    """The inverse of `patchify` for frames of `size` (height, width)."""
    rows, columns = size[0] // side, size[1] // side
    x = patches.reshape(
        patches.shape[0], -1, rows, columns, time, side, side, patches.shape[-1] // (time * side * side)
    )
    return x.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(patches.shape[0], -1, *size, x.shape[-1])


def target_frames(frames: int, predicted: int) -> np.ndarray:
    """Numbers of the frames that are reconstructed: `predicted` of `frames`, from the first to the last."""
    return np.linspace(0, frames - 1, predicted, dtype=np.float32).astype(np.int64)


def deviations(patches: Array) -> tuple[Array, Array]:
    """Mean and deviation (B, N, 1) of every patch, the deviation of P - 1 degrees of freedom and never 0."""
    mean = patches.mean(-1, keepdims=True)
    return mean, jnp.sqrt(patches.var(-1, ddof=1, keepdims=True) + 1e-6)


@dataclass(frozen=True)
class Patching:
    """What of a clip is reconstructed.

    Attributes:
      patch: side of a patch in pixels. t_patch: frames that a token stands for.
      num_frames: T. pred_frames: how many of them are reconstructed.
      norm_pixels: whether every patch is reconstructed relative to its own mean and deviation.
      pixels: normalisation of the frames.
    """

    patch: int
    t_patch: int
    num_frames: int
    pred_frames: int
    norm_pixels: bool
    pixels: Pixels

    @property
    def frames_per_token(self) -> int:
        """Reconstructed frames of a token."""
        return self.t_patch * self.pred_frames // self.num_frames

    def patches(self, batch: Batch) -> Array:
        """The patches (B, N, P) of the frames to be reconstructed, normalised as pixels."""
        frames = self.pixels(batch)[:, target_frames(self.num_frames, self.pred_frames)]
        return patchify(frames, self.frames_per_token, self.patch)

    def target(self, batch: Batch) -> Array:
        """What a network should predict for a batch with frames: (B, N, P)."""
        patches = self.patches(batch)
        if not self.norm_pixels:
            return patches
        mean, deviation = deviations(patches)
        return (patches - mean) / deviation

    def frames(self, predicted: Array, batch: Batch) -> Array:
        """Predicted patches (B, N, P) as frames (B, pred_frames, H, W, 3), normalised as pixels.

        With `norm_pixels` they get mean and deviation of the true patches of the batch.
        """
        if self.norm_pixels:
            mean, deviation = deviations(self.patches(batch))
            predicted = predicted * deviation + mean
        return unpatchify(predicted, self.frames_per_token, self.patch, batch["frames"].shape[2:4])
