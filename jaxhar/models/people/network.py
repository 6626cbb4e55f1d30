"""A small network that finds the persons in a picture: their boxes and scores, by maps of centres and extents.

The method is that of CenterNet (Zhou, Wang, Krähenbühl: "Objects as Points", 2019), see `jaxhar.core.centres`. The
trunk is a narrow ResNet; a pyramid leads from 1/32 back to 1/4 of the picture's size. No tensor is finer than that,
because large tensors take more time on a CPU than products: with MobileNetV2's blocks a training step takes twice as
long.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.centres import STRIDE, decode
from jaxhar.core.pixels import Pixels
from jaxhar.nn.resnet import BasicBlock, chain
from jaxhar.nn.symmetric import Conv, ConvNorm, batch_norm, narrow
from jaxhar.nn.time import per_frame

Array = jax.Array

#: Probability of a centre that a fresh network gives to every cell, so that empty ones do not dominate its first steps.
_PRIOR = 0.02
#: Stages of the trunk; the first is at 1/4 of the picture's size, the last at 1/32.
_STAGES = 4


@dataclass(frozen=True)
class PeopleConfig:
    """Settings of the network.

    Attributes:
      image_size: side of the pictures, or (height, width); multiples of 32.
      widths, blocks: channels and number of blocks at 1/4, 1/8, 1/16 and 1/32 of the size.
      neck: channels of the pyramid.
      most: N, number of boxes that are predicted.
    """

    reads: ClassVar[tuple[str, ...]] = ("frames",)
    predicts: ClassVar[tuple[str, ...]] = ("boxes", "scores", "centres", "extent")
    pixels: ClassVar[Pixels] = Pixels.SIGNED
    frames_apart: ClassVar[bool] = True
    pose_shape: ClassVar[None] = None
    classes: ClassVar[tuple[int, ...]] = ()

    image_size: int | tuple[int, int] = 256
    widths: tuple[int, int, int, int] = (16, 40, 80, 112)
    blocks: tuple[int, int, int, int] = (1, 1, 2, 1)
    neck: int = 24
    most: int = 64

    def __post_init__(self) -> None:
        if any(side < 32 or side % 32 for side in self.size):
            raise ValueError(f"the sides of image_size must be multiples of 32, not {self.image_size}")
        if len(self.widths) != _STAGES or len(self.blocks) != _STAGES or min(self.blocks) < 1:
            raise ValueError(f"widths and blocks need {_STAGES} numbers each, blocks from 1 on")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Frames (B, T, H, W, 3)."""
        return {"frames": jax.ShapeDtypeStruct((batch, frames or 1, *self.size, 3), jnp.float32)}


class Patches(nnx.Module):
    """Squares of 4 x 4 pixels to features, as a matrix product: (N, H, W, 3) -> (N, H / 4, W / 4, out), then a norm."""

    def __init__(self, outputs: int, *, dtype, rngs: nnx.Rngs):
        self.conv = Conv(STRIDE * STRIDE * 3, outputs, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(outputs)

    def __call__(self, x: Array) -> Array:
        n, height, width, channels = x.shape
        x = x.reshape(n, height // STRIDE, STRIDE, width // STRIDE, STRIDE, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // STRIDE, width // STRIDE, -1)
        return self.norm(self.conv(x))


class People(nnx.Module):
    """The network. Built by `zoo.create`.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: PeopleConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        kw = {"dtype": dtype, "rngs": rngs}
        neck, inputs = config.neck, config.widths[0]
        self.stem = Patches(inputs, **kw)
        stages = []
        for number, (outputs, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            blocks = []
            for place in range(count):
                blocks.append(BasicBlock(inputs, outputs, 2 if number and not place else 1, **kw))
                inputs = outputs
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.lateral = nnx.List(ConvNorm(width, neck, **kw) for width in config.widths)
        self.refine = nnx.List(ConvNorm(neck, neck, 3, **kw) for _ in range(_STAGES - 1))
        self.head = ConvNorm(neck, neck, 3, **kw)
        self.centres = Conv(neck, 1, bias=True, init=narrow, **kw)
        self.centres.bias = nnx.Param(jnp.full(1, float(np.log(_PRIOR / (1 - _PRIOR)))))
        self.extent = Conv(neck, 4, bias=True, init=narrow, **kw)

    def features(self, images: Array) -> list[Array]:
        """Features (N, H / s, W / s, C) of images (N, H, W, 3) for s = 4, 8, 16, 32."""
        x = nnx.relu(self.stem(images))
        found = []
        for stage in self.stages:
            x = chain(stage, x)
            found.append(x)
        return found

    def maps(self, images: Array) -> tuple[Array, Array]:
        """Logits of centres (N, H / 4, W / 4, 1) and extents (N, H / 4, W / 4, 4) of images (N, H, W, 3)."""
        levels = [lateral(x) for lateral, x in zip(self.lateral, self.features(images), strict=True)]
        x = nnx.relu(levels[-1])
        for finer, refine in zip(levels[-2::-1], self.refine, strict=True):
            x = nnx.relu(refine(nnx.relu(finer + upsampled(x))))
        x = nnx.relu(self.head(x))
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return self.centres(x).astype(wide), self.extent(x).astype(wide)

    def __call__(self, batch: Batch) -> Preds:
        """Boxes of every frame, and the maps that they are decoded from.

        Args:
          batch: with frames (B, T, H, W, 3), any T >= 1; each frame is processed independently.

        Returns:
          boxes (1, B, T, N, 4) in crop units, scores (1, B, T, N), centres (1, B, T, h, w) logits, extent
          (1, B, T, h, w, 4); h and w are H and W divided by 4.
        """
        centres, extent = per_frame(People.maps, self, self.config.pixels(batch))
        centres = centres[..., 0]
        boxes, scores = decode(centres, extent, self.config.most)
        return {"boxes": boxes[None], "scores": scores[None], "centres": centres[None], "extent": extent[None]}


def upsampled(x: Array) -> Array:
    """Every pixel twice in both axes: (N, H, W, C) -> (N, 2 H, 2 W, C)."""
    n, height, width, channels = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None], (n, height, 2, width, 2, channels))
    return wide.reshape(n, 2 * height, 2 * width, channels)


assert 2 ** (_STAGES + 1) == 8 * STRIDE  # the pyramid ends at the stride of the maps
