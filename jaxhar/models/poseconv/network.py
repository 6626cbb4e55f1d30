"""PoseConv3D: actions of skeletons by a 3-D convolutional network on their heat-map volume.

Duan, Zhao, Chen, Lin, Dai: "Revisiting Skeleton-based Action Recognition" (CVPR'22). The volume is encoded from joints
inside the network, so that a batch carries joints only.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.core import volume
from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import check_numbers
from jaxhar.models.poseconv.backbones import C3DLight, SlowOnly, X3DShallow
from jaxhar.nn.linear import Linear, normal

Array = jax.Array


class Backbone(StrEnum):
    """Networks from a volume to features."""

    SLOWONLY = "slowonly"
    C3D_LIGHT = "c3d-light"
    X3D_SHALLOW = "x3d-shallow"


#: Published channels and blocks, see `PoseConvConfig`.
_PUBLISHED = {
    Backbone.SLOWONLY: (32, (4, 6, 3)),
    Backbone.C3D_LIGHT: (32, ()),
    Backbone.X3D_SHALLOW: (24, (2, 5, 3)),
}
#: Left and right joints of COCO.
_SIDES = tuple((left, left + 1) for left in range(1, 17, 2))


@dataclass(frozen=True)
class PoseConvConfig:
    """Settings of a network on heat-map volumes.

    Attributes:
      backbone: which network gives the features.
      base: channels of its first stage; None for the published 32, of an X3D 24.
      blocks: of the three stages of a SlowOnly or X3D; None for the published (4, 6, 3) and (2, 5, 3).
      num_actions: number of classes.
      num_joints: J. num_persons, num_frames: M and T of an input of the default shape; any others are understood.
      limbs: pairs of joint numbers; the volume has a map for each of these, or for every joint if there are none.
      sides: pairs of a left and a right joint, for mirror images.
      size: height and width of the volume in training, in cells. eval_size: the same in evaluation; None for `size`.
      sigma: of the Gaussians, in cells.
      epsilon: smallest score of a joint that is drawn: 1e-4 in mmaction2, 1e-3 in pyskl.
      dropout: before the classifier.
    """

    reads: ClassVar[tuple[str, ...]] = ("points", "score")
    predicts: ClassVar[tuple[str, ...]] = ("action",)
    pixels: ClassVar[None] = None
    frames_apart: ClassVar[bool] = False
    pose_shape: ClassVar[None] = None
    TINY: ClassVar[dict[str, object]] = {
        "base": 4,
        "blocks": (1, 1, 1),
        "size": 8,
        "eval_size": None,
    }

    backbone: Backbone = Backbone.SLOWONLY
    base: int | None = None
    blocks: tuple[int, int, int] | None = None
    num_actions: int = 60
    num_joints: int = 17
    num_persons: int = 2
    num_frames: int = 48
    limbs: tuple[tuple[int, int], ...] = ()
    sides: tuple[tuple[int, int], ...] = _SIDES
    size: int | tuple[int, int] = 56
    eval_size: int | tuple[int, int] | None = 64
    sigma: float = 0.6
    epsilon: float = 1e-4
    dropout: float = 0.5

    def __post_init__(self) -> None:
        sizes = ("base", "num_actions", "num_joints", "num_persons", "num_frames", "size", "eval_size")
        check_numbers(self, *sizes, sigma=(0.01, 1000), epsilon=(0, 1), dropout=(0, 1))
        object.__setattr__(self, "backbone", Backbone(self.backbone))
        ends = [joint for pair in (*self.limbs, *self.sides) for joint in pair]
        if ends and not 0 <= min(ends) <= max(ends) < self.num_joints:
            raise ValueError(f"limbs and sides name joint {max(ends)}, but the joints are 0 to {self.num_joints - 1}")
        if self.blocks is not None and (len(self.blocks) != 3 or min(self.blocks) < 1):
            raise ValueError(f"blocks must be three numbers of at least 1, not {self.blocks}")

    @property
    def channels(self) -> int:
        """C of the volume."""
        return len(self.limbs) or self.num_joints

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes."""
        return (self.num_actions,)

    @property
    def partners(self) -> tuple[int, ...]:
        """For every channel of the volume that of the other side."""
        joints = [*range(self.num_joints)]
        for left, right in self.sides:
            joints[left], joints[right] = right, left
        return volume.partners(joints, self.limbs)

    def volume_size(self, training: bool) -> tuple[int, int]:
        """(height, width) of the volume."""
        size = self.size if training or self.eval_size is None else self.eval_size
        return (size, size) if isinstance(size, int) else size

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Points (B, T, M, J, 2) and scores (B, T, M, J)."""
        shape = (batch, frames or self.num_frames, self.num_persons, self.num_joints)
        return {
            "points": jax.ShapeDtypeStruct((*shape, 2), jnp.float32),
            "score": jax.ShapeDtypeStruct(shape, jnp.float32),
        }


class PoseConv(nnx.Module):
    """The network. Built by `zoo.create`.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: PoseConvConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        kw = {"dtype": dtype, "rngs": rngs}
        base, blocks = _PUBLISHED[config.backbone]
        base, blocks = config.base or base, config.blocks or blocks
        self.backbone: SlowOnly | C3DLight | X3DShallow
        if config.backbone is Backbone.SLOWONLY:
            self.backbone = SlowOnly(config.channels, base, blocks, **kw)
        elif config.backbone is Backbone.C3D_LIGHT:
            self.backbone = C3DLight(config.channels, base, **kw)
        else:
            self.backbone = X3DShallow(config.channels, base, blocks, **kw)
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)
        self.head = Linear(self.backbone.channels, config.num_actions, normal(0.01), **kw)

    def volume(self, batch: Batch) -> Array:
        """The heat-map volume (B, T, H, W, C) of a batch, see `__call__`."""
        config = self.config
        size = config.volume_size(training=not self.dropout.deterministic)
        points = jnp.asarray(batch["points"])
        cells = points * jnp.array(size[::-1], points.dtype)
        maps = volume.encode(cells, batch["score"], size, config.sigma, config.limbs, config.epsilon)
        if "mirrored" in batch:
            other = volume.mirrored(maps, config.partners)
            maps = jnp.where(batch["mirrored"][:, None, None, None, None], other, maps)
        return maps

    def shows(self, batch: Batch) -> dict[str, Array]:
        """The volume, for pictures."""
        return {"volume": self.volume(batch)}

    def __call__(self, batch: Batch) -> Preds:
        """Scores of the classes.

        Args:
          batch: with points (B, T, M, J, 2) in crop units and score (B, T, M, J), and optionally mirrored (B,); or with
            a volume (B, T, H, W, C).

        Returns:
          action (1, B, A).
        """
        x = batch["volume"] if "volume" in batch else self.volume(batch)
        x = self.backbone(x).mean((1, 2, 3))
        x = self.head(self.dropout(x))
        return {"action": x.astype(jnp.promote_types(x.dtype, jnp.float32))[None]}
