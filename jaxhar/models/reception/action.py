"""Action recognition from a pose network: pose stream, visual stream and their sum (CVPR'18, section 4)."""

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
#: Number of coordinates -> factor on the joint maps when the confidence is computed inside the action networks. The
#: published weights depend on it.
VISIBLE_GAIN = {2: 4.0, 3: 2.0}


class StreamBlock(nnx.Module):
    """Predicts one (time, joint) map per class and feeds it to the next block; the last block feeds nothing."""

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


class ActionStream(nnx.Module):
    """A sequence of prediction blocks; subclasses add the first layers."""

    def __init__(self, width: int, num_actions: int, *, dtype, rngs: nnx.Rngs):
        self.blocks = nnx.List(
            StreamBlock(width, num_actions, last=b == STREAM_BLOCKS - 1, dtype=dtype, rngs=rngs)
            for b in range(STREAM_BLOCKS)
        )

    def predict(self, x: Array) -> list[Array]:
        """(N, t, j, F) -> class maps of every block."""
        predictions = []
        for block in self.blocks:
            x, maps = block(x)
            predictions.append(maps)
        return predictions


class PoseStream(ActionStream):
    """Actions from joint coordinates, as images with time as rows, joints as columns, coordinates as channels."""

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


class VisualStream(ActionStream):
    """Actions from the pose network's features at each joint."""

    def __init__(self, features: int, width: int, num_actions: int, *, dtype, rngs: nnx.Rngs):
        super().__init__(width, num_actions, dtype=dtype, rngs=rngs)
        self.entry = ConvNorm(features, width, dtype=dtype, rngs=rngs)

    def __call__(self, appearance: Array) -> list[Array]:
        """(B, T, J, S) -> four class maps (B, ceil(T / 4), ceil(J / 4), A)."""
        return self.predict(max_pool(self.entry(appearance)))


def class_weights(num_actions: int, *, dtype, rngs: nnx.Rngs) -> SeparableConv:
    """A factor per class (initially 1) and an A x A matrix (initially the identity): (N, t, j, A) -> (N, t, j, A)."""
    weights = SeparableConv(num_actions, num_actions, 1, dtype=dtype, rngs=rngs)
    weights.depthwise.kernel[...] = jnp.ones((1, 1, num_actions, 1), jnp.float32)
    weights.pointwise.kernel[...] = jnp.eye(num_actions, dtype=jnp.float32)[None, None]
    return weights


class ActionNet(nnx.Module):
    """A pose network with both action streams. Built by `zoo.create`.

    Attributes:
      config: the settings, including those of the pose network.
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

    def merge(self, pose_maps: Array, visual_maps: Array) -> Array:
        """Sum of the last class maps of both streams (B, t, j, A), weighted if the network has class weights."""
        if self.pose_weight is not None and self.visual_weight is not None:
            pose_maps, visual_maps = self.pose_weight(pose_maps), self.visual_weight(visual_maps)
        return pose_maps + visual_maps

    def appearance(self, batch: Batch) -> Array:
        """As of the pose network."""
        return self.pose.appearance(batch)

    def pose_forward(self, batch: Batch) -> tuple[Preds, tuple[Array, Array, Array]]:
        """Runs the pose network; returns (preds, features); pass the features to `action_forward`.

        The features are pose (B, T, J, D) and visible (B, T, J) of the last block, and the features at the joints
        (B, T, J, S).
        """

        def one_image(net: Any, images: Array) -> tuple[list[tuple[Array, Array]], Array]:
            maps, features = net.trunk(images)
            blocks = [net.decode(m, VISIBLE_GAIN[self.config.dims]) for m in maps]
            return [(pose, visible) for pose, visible, _ in blocks], attend(blocks[-1][2], features)

        blocks, appearance = per_frame(one_image, self.pose, self.config.pixels(batch))
        returned = blocks if is_training(self.pose) else blocks[-1:]
        preds: Preds = {
            "pose": jnp.stack([pose for pose, _ in returned]),
            "visible": jnp.stack([visible for _, visible in returned]),
        }
        return preds, (*blocks[-1], appearance)

    def action_forward(self, features: tuple[Array, Array, Array]) -> Array:
        """Runs the action heads on the features of `pose_forward`; returns logits (9, B, A)."""
        pose, visible, appearance = features
        pose_maps = self.pose_stream(pose, visible)
        visual_maps = self.visual_stream(appearance)
        merged = self.merge(pose_maps[-1], visual_maps[-1])
        logits = jnp.stack([global_max_min(maps) for maps in (*pose_maps, *visual_maps, merged)])
        return logits.astype(jnp.promote_types(self.dtype, jnp.float32))

    def __call__(self, batch: Batch) -> Preds:
        """Pose of every frame, and the action of every clip.

        Args:
          batch: with frames (B, T, H, W, 3), any T >= 1. In training the action heads run only if the batch has
            actions; otherwise their running statistics do not change.

        Returns:
          pose (K, B, T, J, D) and visible (K, B, T, J), of every block in training, of the last block (K = 1) in
          evaluation; action: logits (9, B, A) of the four blocks of the pose stream (p1..p4), the four of the visual
          stream (v1..v4) and the merged streams (m).
        """
        preds, features = self.pose_forward(batch)
        if "action" in batch or not is_training(self):
            preds["action"] = self.action_forward(features)
        return preds
