"""Joints in several synchronised views, with heat maps fused across the views (Qiu et al., ICCV'19).

Qiu, Wang, Wang, Wang, Zeng: "Cross View Fusion for 3D Human Pose Estimation".
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.gaussian import Decoding, joints
from jaxhar.core.network import check_numbers
from jaxhar.core.pixels import Pixels
from jaxhar.nn.layers import drawn
from jaxhar.nn.maps import MapsConfig, MapsNet
from jaxhar.nn.time import is_training, per_frame

Array = jax.Array

#: Weights of a view's own map and of all other views together, see `fuse`.
OWN, OTHERS = 0.4, 0.6


@dataclass(frozen=True)
class MultiViewConfig(MapsConfig):
    """Settings of a multi-view network; see `MapsConfig`.

    Attributes:
      views: V, number of views that are fused.
      fusion: whether the maps are fused; without it, every view is processed alone.
      decoding: how a joint's position is found in its map.
    """

    reads: ClassVar[tuple[str, ...]] = ("frames",)
    predicts: ClassVar[tuple[str, ...]] = ("maps", "pose", "visible")
    classes: ClassVar[tuple[int, ...]] = ()
    pixels: ClassVar[Pixels] = Pixels.IMAGENET_BGR

    num_joints: int = 20
    views: int = 4
    fusion: bool = True
    decoding: Decoding = Decoding.ARGMAX

    def __post_init__(self) -> None:
        check_numbers(self, "num_joints", "width", "modules", "units", "deconv_filters")
        super().__post_init__()
        object.__setattr__(self, "decoding", Decoding(self.decoding))
        if self.views < 2:
            raise ValueError(f"views must be at least 2, not {self.views}")

    @property
    def frames_apart(self) -> bool:
        """True without fusion."""
        return not self.fusion

    @property
    def pose_shape(self) -> tuple[int, int]:
        """(J, 2)."""
        return self.num_joints, 2

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Frames (B, V, H, W, 3)."""
        return {"frames": jax.ShapeDtypeStruct((batch, frames or self.views, *self.size, 3), jnp.float32)}


def sources(views: int) -> tuple[tuple[int, ...], ...]:
    """For each view the other views in ascending order, in the order of the fusion matrices (paper, section 3)."""
    return tuple(tuple(j for j in range(views) if j != i) for i in range(views))


def fuse(maps: Array, matrices: list[Array]) -> Array:
    """Fused heat maps: 0.4 of a view's own and 0.6 of the mean of the others', each mapped by its matrix.

    Args:
      maps: (B, V, h, w, J).
      matrices: V (V - 1) arrays (P, P) with P = h w, rows: pixels of the source by rows of the map, columns: those of
        the target. That of source j for target i is number i (V - 1) + (rank of j among the views other than i).

    Returns:
      (B, V, h, w, J).
    """
    batch, views, height, width, joints = maps.shape
    flat = jnp.moveaxis(maps.reshape(batch, views, height * width, joints), 3, 2)  # (B, V, J, P)
    fused = []
    for i, others in enumerate(sources(views)):
        of_view = matrices[i * (views - 1) : (i + 1) * (views - 1)]
        moved = sum(flat[:, j] @ matrix for j, matrix in zip(others, of_view, strict=True))
        fused.append(OWN * flat[:, i] + OTHERS / (views - 1) * moved)
    return jnp.moveaxis(jnp.stack(fused, 1), 2, 3).reshape(maps.shape)


class Matrix(nnx.Module):
    """A fusion matrix (P, P), the same for all joints; at first uniform in [0, 0.1], as in the original."""

    def __init__(self, pixels: int, *, rngs: nnx.Rngs):
        shape = (pixels, pixels)
        self.kernel = nnx.Param(drawn(rngs.params(), shape, lambda rng, shape: rng.uniform(0, 0.1, shape)))


class MultiView(nnx.Module):
    """The network. Built by `zoo.create`.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: MultiViewConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.single = MapsNet(config, dtype=dtype, rngs=rngs)
        pixels, count = int(np.prod(config.heatmap_size)), config.views * (config.views - 1)
        self.fusion = nnx.List(Matrix(pixels, rngs=rngs) for _ in range(count)) if config.fusion else None

    def appearance(self, batch: Batch) -> Array:
        """The mean of the backbone's features over positions: frames (B, V, H, W, 3) -> (B, V, S)."""
        return per_frame(_appearance, self.single, self.config.pixels(batch))

    def _views(self, frames: Array) -> Array:
        """Raw maps (B, T, h, w, J). In training batch norms see one view after the other, as in the original."""
        if not is_training(self.single):
            return per_frame(MapsNet.__call__, self.single, frames)
        return jnp.stack([self.single(frames[:, view]) for view in range(frames.shape[1])], 1)

    def fuse(self, maps: Array, batch: Batch) -> Array:
        """Fused maps (B, V, h, w, J); the maps themselves where `together` says that they are not of one moment."""
        assert self.fusion is not None
        fused = fuse(maps, [matrix.kernel[...].astype(maps.dtype) for matrix in self.fusion])
        if "together" not in batch:
            return fused
        return jnp.where(batch["together"][:, None, None, None, None], fused, maps)

    def __call__(self, batch: Batch) -> Preds:
        """Heat maps and joints of every view, before and after the fusion.

        Args:
          batch: with frames (B, T, H, W, 3). They are fused if T is the number of views; other numbers are processed
            one by one, e.g. single images.

        Returns:
          maps (K, B, T, h, w, J), pose (K, B, T, J, 2), visible (K, B, T, J); K = 2 with fusion, else 1.
        """
        raw = self._views(self.config.pixels(batch))
        fusing = self.fusion is not None and raw.shape[1] == self.config.views
        maps = jnp.stack([raw, self.fuse(raw, batch)] if fusing else [raw])
        pose, visible = joints(maps, self.config.decoding)
        return {"maps": maps, "pose": pose, "visible": visible}


def _appearance(net: MapsNet, images: Array) -> Array:
    return net.features(images).astype(jnp.float32).mean((-3, -2))
