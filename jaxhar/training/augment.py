"""Mixtures of clips within the training step, on the device: mixup, CutMix, random erasing, label smoothing.

They are drawn from the seed of the run and the number of the step, so that a resumed run draws the same. The rules are
those of mae_st's fine-tuning; the operations are in `jaxhar.core.mix`.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import betaincinv

from jaxhar.core import mix
from jaxhar.core.batch import Batch
from jaxhar.core.network import NetworkConfig
from jaxhar.host.errors import Problem, Usage

Array = jax.Array

#: Bounds of an erased rectangle: its share of the picture, and its rows over its columns, whose logarithm is uniform.
AREA, RATIO = (0.02, 1 / 3), (0.3, 1 / 0.3)
#: How often a rectangle is drawn until it fits.
TRIES = 10
#: How many equally probable shares stand for a beta distribution, whose own drawing compiles for seconds.
_SHARES = 4096


def _quantiles(a: float) -> np.ndarray:
    """(`_SHARES`,) float32 of the beta distribution (a, a)."""
    return betaincinv(a, a, (np.arange(_SHARES) + 0.5) / _SHARES).astype(np.float32)


@dataclass(frozen=True)
class Mixing:
    """Which mixtures a training draws; by default none.

    Attributes:
      mixup, cutmix: parameter of the beta distribution of the share that a clip keeps; 0 for none. With both, one of
        them is drawn.
      probability: of a mixture. switch: of CutMix if it is drawn between the two.
      smoothing: share of a label that is spread over all classes.
      erasing: probability that a rectangle of a clip is replaced by noise, the same on all its frames.
      groups: number of groups of a batch that draw a mixture each, as the processes of the originals do.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0
    switch: float = 0.5
    smoothing: float = 0.0
    erasing: float = 0.0
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("probability", "switch", "smoothing", "erasing"):
            if not 0 <= vars(self)[name] <= 1:
                raise Usage(f"mixing.{name} is {vars(self)[name]}; it must be from 0 to 1")
        for name, low in {"mixup": 0, "cutmix": 0, "groups": 1}.items():
            if vars(self)[name] < low:
                raise Usage(f"mixing.{name} is {vars(self)[name]}; it must be at least {low}")

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed with each other."""
        return bool(self.mixup or self.cutmix) and self.probability > 0

    @property
    def active(self) -> bool:
        """Whether anything is done to a batch."""
        return self.mixes or bool(self.smoothing or self.erasing)

    def check(self, network: NetworkConfig) -> None:
        """Problem if these mixtures do not suit a network."""
        if (self.mixes or self.erasing) and network.pixels is None:
            raise Problem("mixing draws over frames, which this network does not read; set mixup, cutmix, erasing to 0")
        if self.mixes and (tuple(network.reads), tuple(network.predicts)) != (("frames",), ("action",)):
            raise Problem(
                "mixup and CutMix are for networks that read frames and predict actions, and nothing else; this one "
                f"reads {', '.join(network.reads)} and predicts {', '.join(network.predicts)}: set mixing.mixup and "
                "mixing.cutmix to 0"
            )
        if self.smoothing and not network.classes:
            raise Problem("mixing.smoothing is for labels of actions, which this network does not predict; set it to 0")

    def __call__(self, key: Array, batch: Batch, network: NetworkConfig) -> Batch:
        """A batch with mixtures: frames are normalised as the network does, actions are soft labels.

        Only rectangles are erased in batches without actions.
        """
        erase, drawn = jax.random.split(key)
        found = Batch(**batch)
        if (self.mixes or self.erasing) and network.pixels is not None:
            found["frames"] = network.pixels(batch)
        if self.erasing:
            found["frames"] = self._erased(erase, found["frames"])
        if "action" not in batch or not (self.mixes or self.smoothing):
            return found
        if not self.mixes:
            found["action"] = jax.tree.map(
                lambda labels, classes: mix.mixed_targets(labels, classes, smoothing=self.smoothing),
                batch["action"],
                network.classes if isinstance(batch["action"], tuple) else network.classes[0],
            )
            return found
        frames, labels = found["frames"], jnp.asarray(batch["action"])
        if frames.shape[0] % self.groups:
            raise Problem(
                f"mixing.groups is {self.groups}, which does not divide a batch of {frames.shape[0]} examples"
            )
        grouped = (a.reshape(self.groups, -1, *a.shape[1:]) for a in (frames, labels))
        each = jax.vmap(partial(self._mixed, network.classes[0]))
        mixed, soft = each(jax.random.split(drawn, self.groups), *grouped)
        found["frames"], found["action"] = mixed.reshape(frames.shape), soft.reshape(frames.shape[0], -1)
        return found

    def _mixed(self, classes: int, key: Array, frames: Array, labels: Array) -> tuple[Array, Array]:
        """One mixture of frames (b, T, H, W, 3) and labels, and soft labels (b, A)."""
        keys, size = jax.random.split(key, 6), (frames.shape[2], frames.shape[3])
        cut = jax.random.bernoulli(keys[0], self.switch) if self.mixup and self.cutmix else jnp.bool_(self.cutmix > 0)
        shares = [
            jnp.asarray(_quantiles(a))[jax.random.randint(k, (), 0, _SHARES)] if a else 1.0
            for k, a in zip(keys[1:3], (self.mixup, self.cutmix), strict=True)
        ]
        share = jnp.where(jax.random.bernoulli(keys[3], self.probability), jnp.where(cut, shares[1], shares[0]), 1.0)
        row, column = (jax.random.randint(k, (), 0, side) for k, side in zip(keys[4:], size, strict=True))
        box = mix.cut_box(size, share, row, column)
        kept = jnp.where(cut, mix.kept_share(size, box), share)
        mixed = jnp.where(cut, mix.cutmix(frames, box), mix.mixup(frames, share))
        return mixed, mix.mixed_targets(labels, classes, kept, self.smoothing)

    def _erased(self, key: Array, frames: Array) -> Array:
        """Clips (B, T, H, W, 3), some with a rectangle of noise."""
        keys, batch, size = jax.random.split(key, 6), frames.shape[0], (frames.shape[2], frames.shape[3])
        area = jax.random.uniform(keys[0], (TRIES, batch), minval=AREA[0], maxval=AREA[1])
        low, high = map(math.log, RATIO)
        ratio = jnp.exp(jax.random.uniform(keys[1], (TRIES, batch), minval=low, maxval=high))
        rows, columns = mix.erase_size(size, area, ratio)
        fits = (rows < size[0]) & (columns < size[1])
        first = fits.argmax(0)[None]
        rows, columns = (jnp.take_along_axis(sides, first, 0)[0] for sides in (rows, columns))
        done = fits.any(0) & jax.random.bernoulli(keys[2], self.erasing, (batch,))
        top, left = (
            jax.random.randint(k, (batch,), 0, jnp.maximum(side - part, 0) + 1)
            for k, side, part in zip(keys[3:5], size, (rows, columns), strict=True)
        )
        box = mix.Box(top, top + jnp.where(done, rows, 0), left, left + columns)
        return mix.erased(frames, box, jax.random.normal(keys[5], frames.shape, frames.dtype))
