"""Which patches of a clip a masked autoencoder sees: at random, in tubes over time, or directed by person boxes.

A clip has N = T' S tokens, T' steps of time with S patches each. Tokens are ordered by keys; those with the smallest
are kept, and the others removed. A key is uniform noise, so that all choices are pure functions of the noise. Sources:
He et al., CVPR'22; Feichtenhofer et al., NeurIPS'22; for the directed masks dmae_st, whose weights may underflow to
equal ones: here a mask is random among the patches that its weights do not tell apart.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

#: Patches that are covered by boxes at least this much count as inside, for the figures of `box_shares`.
INSIDE = 0.5
#: Largest preference, in powers of e: beyond it float32 would round away the noise.
STEEPEST = 60.0


class Order(NamedTuple):
    """The tokens of clips in the order of their keys.

    Attributes:
      kept: (B, kept) numbers of the tokens that the network computes, in order.
      restore: (B, N) the place of every token in the order.
      removed: (B, N) float32, 1 where a token is not seen.
    """

    kept: Array
    restore: Array
    removed: Array


def count(tokens: int, ratio: float) -> int:
    """Number of kept tokens, rounded down in double precision as the originals do: 63 of 640 at 0.9."""
    return int(tokens * (1 - ratio))


def order(keys: Array, kept: int, seen: Array | int | None = None) -> Order:
    """The order of keys (B, N), with the `kept` smallest to be seen; of equal keys the first comes first.

    Args:
      seen: () number of these that are in fact seen, at most `kept`; None for all.
    """
    shuffled = jnp.argsort(keys, axis=1)
    restore = jnp.argsort(shuffled, axis=1)
    return Order(shuffled[:, :kept], restore, (restore >= (kept if seen is None else seen)).astype(jnp.float32))


def tube_keys(noise: Array, steps: int) -> Array:
    """Keys that keep or remove the same patches in all steps; of the noise (B, N) only the first step's is used."""
    return jnp.tile(noise[:, : noise.shape[1] // steps], (1, steps))


def tube_count(tokens: int, steps: int, ratio: float) -> int:
    """Number of tokens that tubes keep."""
    return count(tokens // steps, ratio) * steps


def coverage(cover: Array, t_patch: int, patch: int) -> Array:
    """The share of every patch that lies in boxes: (B, T, H, W) per pixel -> (B, T', S)."""
    x = jnp.asarray(cover)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    batch, frames, height, width = x.shape
    x = x.reshape(batch, frames // t_patch, t_patch, height // patch, patch, width // patch, patch)
    return x.mean((2, 4, 6)).reshape(batch, frames // t_patch, -1)


def preference(temperature: Array | float, divides: bool) -> Array:
    """The preference of `directed_keys`: the temperature, or 1 divided by it, infinity for 0."""
    return 1 / jnp.asarray(temperature, jnp.float32) if divides else jnp.asarray(temperature)


def directed_keys(
    noise: Array, covered: Array, preference: Array | float, per_step: bool = True, flip: bool = False
) -> Array:
    """Keys that prefer to remove the patches inside of boxes, e^preference times as likely as those outside.

    They are the logarithms of the original's products of noise and softmax weights.

    Args:
      noise: (B, N), uniform in [0, 1).
      covered: (B, T', S) share of every patch inside of boxes.
      preference: r; negative ones keep the patches inside.
      per_step: whether the softmax is over the patches of every step of time, as in the original, so that a step with
        boxes keeps more of its patches than one without; else over those of the clip.
      flip: whether outside counts as inside.
    """
    covered = 1 - covered if flip else covered
    logits = covered * jnp.clip(preference, -STEEPEST, STEEPEST)
    logits = logits if per_step else logits.reshape(logits.shape[0], 1, -1)
    weights = jax.nn.log_softmax(logits).reshape(noise.shape)
    return jnp.log(noise) + weights.astype(noise.dtype)


def cosine_between(now: Array | float, start: float, end: float, length: float) -> Array:
    """From `start` to `end` by half a cosine, for a mask ratio or a temperature: `now` of `length` epochs or steps."""
    return end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.asarray(now) / length))


def cosine_table(start: float, end: float, length: int) -> np.ndarray:
    """`cosine_between` of 0, 1, ... `length`, in double precision, for what is then rounded."""
    return end + (start - end) * 0.5 * (1 + np.cos(np.pi * np.arange(length + 1) / length))


def box_shares(covered: Array, removed: Array) -> dict[str, Array]:
    """What a mask does to the patches inside and outside of boxes, each (B,).

    Args:
      covered: (B, T', S). removed: (B, N), 1 for removed.

    Returns:
      in_box: share of the patches inside. removed_in_box: share of these that are removed, NaN without any. out_box and
      removed_out_box: the same outside. empty: 1 for a clip without boxes.
    """
    removed = jnp.asarray(removed)
    covered = jnp.asarray(covered).reshape(removed.shape)
    inside = (covered >= INSIDE).astype(removed.dtype)
    outside = 1 - inside
    return {
        "in_box": inside.mean(1),
        "removed_in_box": (inside * removed).sum(1) / inside.sum(1),
        "out_box": outside.mean(1),
        "removed_out_box": (outside * removed).sum(1) / outside.sum(1),
        "empty": (covered.sum(1) == 0).astype(removed.dtype),
    }
