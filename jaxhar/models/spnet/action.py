"""The action blocks of SPNet (TPAMI'20); they process images with time as rows and joints as columns."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.nn.layers import Conv, Norm, NormConv, PreactResidual, global_max_min, max_min_pool, max_pool, upsample_to

Array = jax.Array

#: Clips of at least this many frames are processed at half the frame rate.
LONG_CLIP = 16


class ActionFeatures(NamedTuple):
    """Input of an action block for frames (N, ...) or (B, T, ...).

    Attributes:
      pose, visible: (..., J, D) and (..., J), from the heat maps for the action blocks.
      appearance: (..., J, C), features of the first pyramid at each joint, weighted by these maps.
      maps: these maps after the softmax, (..., h, w, J); None unless requested.
    """

    pose: Array
    visible: Array
    appearance: Array
    maps: Array | None


def halve(x: Array) -> Array:
    """Zero-pads joints to a multiple of four and max-pools them by two: (N, T, J, C) -> (N, t, j, C).

    Frames are padded to an even number t. Long clips are padded to a multiple of four and max-pooled by two.
    """
    frames, joints = x.shape[1:3]
    stride = 2 if frames >= LONG_CLIP else 1
    more_frames, more_joints = -frames % (2 * stride), -joints % 4
    pads = [(0, 0)] + [(more // 2, more - more // 2) for more in (more_frames, more_joints)] + [(0, 0)]
    return max_pool(jnp.pad(x, pads), 2, (stride, 2))


class ActionBlock(nnx.Module):
    """Fuses poses, appearance and the previous block into class maps, and feeds the maps to the next block."""

    def __init__(
        self,
        dims: int,
        channels: int,
        pose_features: int,
        visual_features: int,
        num_actions: Sequence[int],
        first: bool,
        last: bool,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        kw = {"dtype": dtype, "rngs": rngs}
        p, v = pose_features, visual_features
        width = max(p, v)
        self.carry = None if first else PreactResidual(width, width, 3, **kw)
        self.conv_a = Conv(dims, p // 16, (3, 1), **kw)
        self.conv_b = Conv(dims, p // 8, (3, 3), **kw)
        self.conv_c = Conv(dims, p // 4, (3, 5), **kw)
        self.pose = PreactResidual(p // 16 + p // 8 + p // 4, p, 3, bottleneck=p // 2, **kw)
        self.visual = Conv(channels, v, **kw)
        self.fusion = PreactResidual(p + v + (0 if first else width), width, 3, bottleneck=width // 4, **kw)
        self.features = NormConv(width, width, 3, **kw)
        self.norm = Norm(width, scale=True, rngs=rngs)
        self.maps = nnx.List(Conv(width, n, 3, **kw) for n in num_actions)
        self.remap = None if last else Conv(sum(num_actions), width, 3, **kw)

    def __call__(self, x: Array | None, lateral: Array | None, features: ActionFeatures) -> tuple[Array, list[Array]]:
        """Predicts actions.

        Args:
          x: (B, t, j, F) from the previous block; None in the first block.
          lateral: (B, t, j, F) from the latest block at this level; None if there is none.
          features: with leading axes (B, T).

        Returns:
          x for the next block, and logits (B, A) for each label set.
        """
        poses = (features.pose * features.visible[..., None]).astype(features.appearance.dtype)
        poses = self.pose(jnp.concatenate([conv(poses) for conv in (self.conv_a, self.conv_b, self.conv_c)], axis=-1))
        parts = [halve(poses), halve(self.visual(features.appearance))]
        if self.carry is not None and x is not None:
            x = self.carry(x)
            parts.append(x if lateral is None else x + lateral)
        x = self.fusion(jnp.concatenate(parts, axis=-1))
        y = self.features(x)
        active = nnx.relu(self.norm(max_min_pool(y)))
        maps = [conv(active) for conv in self.maps]
        x = x + y
        if self.remap is not None:
            x = x + self.remap(nnx.relu(upsample_to(jnp.concatenate(maps, axis=-1), x)))
        return x, [global_max_min(m) for m in maps]
