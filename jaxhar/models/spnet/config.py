"""Settings of an SPNet, and where in it predictions are made."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxhar.core.pixels import Pixels

#: Channels of the first convolution.
ENTRY_WIDTH = 64


class Downsampling(StrEnum):
    """How the resolution changes between levels."""

    #: Max-pooling down, repetition of pixels up.
    MAX_POOLING = "maxpooling"
    #: Strided convolutions down, transposed convolutions up.
    CONV = "conv"


class BlockPosition(NamedTuple):
    """Position of a prediction block in the network.

    Attributes:
      pyramid: number of the pyramid, from 1; odd pyramids run down, even ones up.
      level: level of resolution; 0 is the finest.
      action: whether the block feeds an action block.
    """

    pyramid: int
    level: int
    action: bool


@dataclass(frozen=True)
class SPNetConfig:
    """Settings of an SPNet: a pose network, with action blocks if `num_actions` is given.

    Attributes:
      image_size: side of the square input in pixels.
      image_div: image size divided by map size at level 0; a power of two, at least 4.
      num_pyramids: number of pyramids, alternately down and up.
      action_pyramids: pyramids with action blocks, counted from 1.
      num_levels: number of levels of resolution; a pyramid has one prediction block less.
      growth: channels added with every level.
      kernel_size: side of the depthwise kernels in the trunk.
      downsampling: how the resolution changes.
      num_joints: J.
      depth_maps: whether each joint also has a depth map, for 3-D poses.
      num_frames: T, default clip length; None for stills. The network accepts any length.
      num_actions: A of every label set; None for a pose network. A single number or () is converted.
      num_pose_features, num_visual_features: channels of the pose and the visual part of an action block.
      pose_replica: whether action blocks get separate heat maps, so that the two tasks do not train the same maps.
      sam_alpha: factor on the heat maps before every softmax.
      num_predictions: number of prediction blocks, to trade accuracy for speed; None for all.
    """

    #: See `jaxhar.core.network.NetworkConfig`.
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    pixels: ClassVar[Pixels] = Pixels.SIGNED
    #: Changes for tests, applied by `tiny` and `zoo.tiny`.
    TINY: ClassVar[dict[str, object]] = {
        "image_size": 64,
        "num_pyramids": 2,
        "action_pyramids": (1, 2),
        "num_levels": 3,
        "growth": 8,
        "kernel_size": 3,
        "num_pose_features": 16,
        "num_visual_features": 16,
    }

    image_size: int = 256
    image_div: int = 8
    num_pyramids: int = 8
    action_pyramids: tuple[int, ...] = (1, 2)
    num_levels: int = 4
    growth: int = 96
    kernel_size: int = 5
    downsampling: Downsampling = Downsampling.MAX_POOLING
    num_joints: int = 16
    depth_maps: bool = False
    num_frames: int | None = None
    num_actions: tuple[int, ...] | None = None
    num_pose_features: int = 128
    num_visual_features: int = 128
    pose_replica: bool = False
    sam_alpha: float = 1.0
    num_predictions: int | None = None

    def __post_init__(self):
        actions = (self.num_actions,) if isinstance(self.num_actions, int) else tuple(self.num_actions or ())
        object.__setattr__(self, "num_actions", actions or None)
        object.__setattr__(self, "action_pyramids", tuple(sorted(self.action_pyramids)))
        object.__setattr__(self, "downsampling", Downsampling(self.downsampling))
        for name in ("image_size", "num_pyramids", "growth", "kernel_size", "num_joints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.image_div < 4 or self.image_div & (self.image_div - 1):
            raise ValueError(f"image_div must be 4, 8, 16, ..., not {self.image_div}")
        if self.kernel_size % 2 == 0 or self.num_levels < 2:
            raise ValueError(
                f"kernel_size must be odd and num_levels at least 2, not {self.kernel_size} and {self.num_levels}"
            )
        possible = range(1, self.num_pyramids + 1)
        if self.num_actions and not (self.action_pyramids and set(self.action_pyramids) <= set(possible)):
            raise ValueError(f"action_pyramids must be some of {[*possible]}, not {self.action_pyramids}")
        if self.num_actions and min(self.num_pose_features, self.num_visual_features) < 16:
            raise ValueError("num_pose_features and num_visual_features must be at least 16")
        most = self.num_pyramids * (self.num_levels - 1)
        if self.num_predictions is not None and not 1 <= self.num_predictions <= most:
            raise ValueError(f"num_predictions must lie in 1..{most}, not {self.num_predictions}")

    @property
    def predicts(self) -> tuple[str, ...]:
        """Keys of the predictions."""
        return ("pose", "visible", *(("action",) if self.classes else ()))

    @property
    def frames_apart(self) -> bool:
        """True for pose networks, which process every frame independently."""
        return not self.classes

    @property
    def pose_shape(self) -> tuple[int, int]:
        """(J, D)."""
        return self.num_joints, self.dims

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes of each label set."""
        return self.num_actions or ()

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Frames (B, T, H, W, 3)."""
        length = frames or self.num_frames or 1
        return {"frames": jax.ShapeDtypeStruct((batch, length, self.image_size, self.image_size, 3), jnp.float32)}

    def for_classes(self, classes: int, frames: int) -> "SPNetConfig":
        """Settings of the same trunk with action blocks for this number of classes, and clips of this length."""
        replica = self.pose_replica and bool(self.classes)  # a pose network has no weights for the second maps
        return replace(self, num_actions=(classes,), num_frames=frames, pose_replica=replica)

    @classmethod
    def tiny(cls, **changes) -> "SPNetConfig":
        """Settings of a narrow network of two pyramids for tests."""
        return cls(**{**cls.TINY, **changes})

    @property
    def dims(self) -> int:
        """D, coordinates of a joint."""
        return 3 if self.depth_maps else 2

    @property
    def predictions(self) -> tuple[BlockPosition, ...]:
        """Positions of the K prediction blocks in order."""
        positions = []
        for pyramid in range(1, self.num_pyramids + 1):
            action = self.num_actions is not None and pyramid in self.action_pyramids
            down = range(1, self.num_levels)
            levels = down if pyramid % 2 else [level - 1 for level in reversed(down)]
            positions += [BlockPosition(pyramid, level, action) for level in levels]
        return tuple(positions[: self.num_predictions])

    @property
    def entry_units(self) -> tuple[tuple[int, int, int], ...]:
        """(input channels, output channels, stride) of the residual units before the first pyramid: one, then two for
        every resolution from a quarter of the image on."""
        widths, strides = [ENTRY_WIDTH, self.growth], [1]
        for halvings in range(2, self.image_div.bit_length()):
            widths += [halvings * self.growth] * 2
            strides += [2 if self.downsampling is Downsampling.CONV and halvings > 2 else 1, 1]
        return tuple(zip(widths, widths[1:], strides, strict=False))

    def channels(self, level: int) -> int:
        """Channels of the trunk at a level."""
        return self.growth * (self.image_div.bit_length() - 1 + level)
