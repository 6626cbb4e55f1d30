"""Networks for the joints of one person in one image, by heat maps: Simple Baselines (ECCV'18) and HRNet (CVPR'19).

The network for LIP (ResNet-18, 512 filters, a sigmoid at the end) is that of single-person-pose-estimation.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.gaussian import Decoding, joints
from jaxhar.core.network import check_numbers
from jaxhar.core.pixels import Pixels
from jaxhar.nn.maps import MapsConfig, MapsNet
from jaxhar.nn.time import per_frame

Array = jax.Array


@dataclass(frozen=True)
class BaselineConfig(MapsConfig):
    """Settings of a single-view network; see `MapsConfig`.

    Attributes:
      pixels: normalisation of the images. The originals of Simple Baselines read BGR images.
      decoding: how a joint's position is found in its map.
    """

    reads: ClassVar[tuple[str, ...]] = ("frames",)
    predicts: ClassVar[tuple[str, ...]] = ("maps", "pose", "visible")
    frames_apart: ClassVar[bool] = True
    classes: ClassVar[tuple[int, ...]] = ()

    pixels: Pixels = Pixels.IMAGENET_BGR
    decoding: Decoding = Decoding.ARGMAX

    def __post_init__(self) -> None:
        check_numbers(self, "num_joints", "width", "modules", "units", "deconv_filters")
        super().__post_init__()
        object.__setattr__(self, "pixels", Pixels(self.pixels))
        object.__setattr__(self, "decoding", Decoding(self.decoding))

    @property
    def pose_shape(self) -> tuple[int, int]:
        """(J, 2)."""
        return self.num_joints, 2

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Frames (B, T, H, W, 3)."""
        return {"frames": jax.ShapeDtypeStruct((batch, frames or 1, *self.size, 3), jnp.float32)}


class Baseline(nnx.Module):
    """The network. Built by `zoo.create`.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: BaselineConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.single = MapsNet(config, dtype=dtype, rngs=rngs)

    def appearance(self, batch: Batch) -> Array:
        """The mean of the backbone's features over positions: frames (B, T, H, W, 3) -> (B, T, S)."""
        return per_frame(_appearance, self.single, self.config.pixels(batch))

    def __call__(self, batch: Batch) -> Preds:
        """Heat maps and joints of every frame.

        Args:
          batch: with frames (B, T, H, W, 3), any T >= 1; each frame is processed independently.

        Returns:
          maps (1, B, T, h, w, J), pose (1, B, T, J, 2), visible (1, B, T, J).
        """
        maps = per_frame(MapsNet.__call__, self.single, self.config.pixels(batch))[None]
        pose, visible = joints(maps, self.config.decoding)
        return {"maps": maps, "pose": pose, "visible": visible}


def _appearance(net: MapsNet, images: Array) -> Array:
    return net.features(images).astype(jnp.float32).mean((-3, -2))
