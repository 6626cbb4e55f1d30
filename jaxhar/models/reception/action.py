"""Action recognition on top of a pose network: a pose stream, a visual stream and their merge (CVPR'18, section 4)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.heatmaps import attend
from jaxhar.nn.layers import Conv, ConvNorm, SeparableConv, global_max_min, max_min_pool, max_pool, upsample_to
from jaxhar.nn.time import is_training, per_frame

Array = jax.Array

#: Prediction blocks in each action stream.
STREAM_BLOCKS = 4
#: Inside the action networks a joint's probability is read off its map times this, by the number of coordinates; their
#: weights depend on it.
VISIBLE_GAIN = {2: 4.0, 3: 2.0}


class ActionBlock(nnx.Module):
    """Maps of the A classes over time and joints, and their way back into the stream (none in the last block)."""

    def __init__(self, width: int, num_actions: int, last: bool, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv1 = ConvNorm(width, width // 2, **kw)
        self.conv2 = ConvNorm(width // 2, width, 3, **kw)
        self.conv3 = ConvNorm(width, width, 3, **kw)
        self.maps = Conv(width, num_actions, 3, **kw)
        self.remap = None if last else ConvNorm(num_actions, width, 3, **kw)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """(N, t, j, F) -> the next block's input (N, t, j, F) and the class maps (N, ceil(t / 2), ceil(j / 2), A)."""
        x = x + self.conv2(nnx.relu(self.conv1(nnx.relu(x))))
        y = self.conv3(nnx.relu(x))
        maps = self.maps(nnx.relu(max_min_pool(y)))
        x = x + y
        if self.remap is not None:
            x = x + self.remap(nnx.relu(upsample_to(maps, x)))
        return x, maps


class Stream(nnx.Module):
    """Prediction blocks one after the other; subclasses put an entry before them."""

    def __init__(self, width: int, num_actions: int, *, dtype, rngs: nnx.Rngs):
        self.blocks = nnx.List(
            ActionBlock(width, num_actions, last=b == STREAM_BLOCKS - 1, dtype=dtype, rngs=rngs)
            for b in range(STREAM_BLOCKS)
        )

    def predict(self, x: Array) -> list[Array]:
        """(N, t, j, F) -> class maps of every block."""
        predictions = []
        for block in self.blocks:
            x, maps = block(x)
            predictions.append(maps)
        return predictions


class PoseStream(Stream):
    """Actions from the joints' paths: an image with time as rows, joints as columns, coordinates as channels."""

    def __init__(self, dims: int, entry: int, width: int, num_actions: int, *, dtype, rngs: nnx.Rngs):
        super().__init__(width, num_actions, dtype=dtype, rngs=rngs)
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv_a = ConvNorm(dims, entry, (3, 1), **kw)
        self.conv_b = ConvNorm(dims, 2 * entry, (3, 3), **kw)
        self.conv_c = ConvNorm(dims, 3 * entry, (3, 5), **kw)
        self.conv_d = ConvNorm(6 * entry, width // 2, 3, **kw)
        self.conv_e1 = ConvNorm(6 * entry, 2 * width // 7, **kw)
        self.conv_e2 = ConvNorm(2 * width // 7, width // 2, 3, **kw)

    def __call__(self, pose: Array, visible: Array) -> list[Array]:
        """pose (B, T, J, D), visible (B, T, J) -> four class maps (B, ceil(T / 4), ceil(J / 4), A)."""
        x = pose * visible[..., None]
        x = jnp.concatenate([nnx.relu(conv(x)) for conv in (self.conv_a, self.conv_b, self.conv_c)], axis=-1)
        x = jnp.concatenate([self.conv_d(x), self.conv_e2(self.conv_e1(x))], axis=-1)
        return self.predict(max_min_pool(x))


class VisualStream(Stream):
    """Actions from what the pose network's features look like at each joint."""

    def __init__(self, features: int, width: int, num_actions: int, *, dtype, rngs: nnx.Rngs):
        super().__init__(width, num_actions, dtype=dtype, rngs=rngs)
        self.entry = ConvNorm(features, width, dtype=dtype, rngs=rngs)

    def __call__(self, appearance: Array) -> list[Array]:
        """(B, T, J, S) -> four class maps (B, ceil(T / 4), ceil(J / 4), A)."""
        return self.predict(max_pool(self.entry(appearance)))


def class_weights(num_actions: int, *, dtype, rngs: nnx.Rngs) -> SeparableConv:
    """Weights of every class map and a mixture of the classes, both neutral at first: (N, t, j, A) -> (N, t, j, A)."""
    weights = SeparableConv(num_actions, num_actions, 1, dtype=dtype, rngs=rngs)
    weights.depthwise.kernel[...] = jnp.ones((1, 1, num_actions, 1), jnp.float32)
    weights.pointwise.kernel[...] = jnp.eye(num_actions, dtype=jnp.float32)[None, None]
    return weights


class ActionNet(nnx.Module):
    """A pose network with both action streams. `zoo.create` builds it.

    Attributes:
      config: the pose network's settings, the action fields among them.
      pose: the pose network.
    """

    def __init__(self, pose: Any, *, dtype=jnp.float32, rngs: nnx.Rngs):
        config = pose.config
        actions = config.num_actions
        entry, width = config.pose_stream
        kw = {"dtype": dtype, "rngs": rngs}
        self.config = config
        self.dtype = dtype
        self.pose = pose
        self.pose_stream = PoseStream(config.dims, entry, width, actions, **kw)
        self.visual_stream = VisualStream(config.width, config.visual_stream_width, actions, **kw)
        self.pose_weight = class_weights(actions, **kw) if config.weighted_merge else None
        self.visual_weight = class_weights(actions, **kw) if config.weighted_merge else None

    def merge(self, by_pose: Array, by_sight: Array) -> Array:
        """The last class maps of both streams (B, t, j, A), added with or without weights."""
        if self.pose_weight is not None and self.visual_weight is not None:
            by_pose, by_sight = self.pose_weight(by_pose), self.visual_weight(by_sight)
        return by_pose + by_sight

    def pose_forward(self, batch: Batch) -> tuple[Preds, tuple[Array, Array, Array]]:
        """Runs the pose network: pose and visible as from a call, and features for `action_forward`.

        These are pose (B, T, J, D) and visible (B, T, J) of the last block, and the features at the joints
        (B, T, J, S).
        """

        def still(net: Any, images: Array) -> tuple[list[tuple[Array, Array]], Array]:
            maps, features = net.trunk(images)
            blocks = [net.decode(m, VISIBLE_GAIN[self.config.dims]) for m in maps]
            return [(pose, visible) for pose, visible, _ in blocks], attend(blocks[-1][2], features)

        blocks, appearance = per_frame(still, self.pose, self.config.pixels(batch))
        shown = blocks if is_training(self.pose) else blocks[-1:]
        preds: Preds = {
            "pose": jnp.stack([pose for pose, _ in shown]),
            "visible": jnp.stack([visible for _, visible in shown]),
        }
        return preds, (*blocks[-1], appearance)

    def action_forward(self, features: tuple[Array, Array, Array]) -> Array:
        """Runs the action heads on features of `pose_forward`: logits (9, B, A)."""
        pose, visible, appearance = features
        by_pose = self.pose_stream(pose, visible)
        by_sight = self.visual_stream(appearance)
        merged = self.merge(by_pose[-1], by_sight[-1])
        logits = jnp.stack([global_max_min(maps) for maps in (*by_pose, *by_sight, merged)])
        return logits.astype(jnp.promote_types(self.dtype, jnp.float32))

    def __call__(self, batch: Batch) -> Preds:
        """Pose of every frame, and the action of every clip.

        Args:
          batch: with frames (B, T, H, W, 3), any T >= 1. In training the action heads run only if it has an action;
            otherwise their running statistics stay as they are.

        Returns:
          pose (K, B, T, J, D) and visible (K, B, T, J), of every block in training, of the last alone (K = 1) in
          evaluation; logits (9, B, A) of the action heads p1..p4, v1..v4, m.
        """
        preds, features = self.pose_forward(batch)
        if "action" in batch or not is_training(self):
            preds["action"] = self.action_forward(features)
        return preds
