"""Masked autoencoders of videos and images, and the classifiers that are trained from them.

The encoder computes only the tokens that are kept; the decoder gets them back in order, with one learned token in place
of the others, and reconstructs the pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.core import masks
from jaxhar.core.batch import Batch, Preds
from jaxhar.core.masks import Order
from jaxhar.core.patches import patchify
from jaxhar.models.mae.config import (
    MaeConfig,
    Masking,
    MaskSchedule,
    Pool,
    VideoClassifierConfig,
    ViTConfig,
)
from jaxhar.nn.layers import Norm, drawn
from jaxhar.nn.linear import Linear, normal, xavier
from jaxhar.nn.transformer import Form, layer_norm
from jaxhar.nn.vit import PatchEmbed, Tower

Array = jax.Array
#: Share of a patch from which on it counts as covered in the pooling of classifiers.
COVERED = 0.2


class Encoder(Tower):
    """The blocks that see pixels."""

    def __init__(self, config: ViTConfig, path_dropout: float = 0.0, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        patch = (config.patch, config.patch) if config.image else (config.t_patch, config.patch, config.patch)
        self.patch_embed = PatchEmbed(patch, config.width, **kw)
        super().__init__(
            config.width,
            config.depth,
            config.heads,
            config.grid,
            config.positions,
            config.cls_token,
            qkv_bias=config.qkv_bias,
            path_dropout=path_dropout,
            **kw,
        )


class Decoder(Tower):
    """The blocks that reconstruct; an image's class token is that of the encoder."""

    def __init__(self, config: MaeConfig, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        width = config.decoder_width
        pixels = 3 * config.patching.frames_per_token * config.patch**2
        self.embed = Linear(config.width, width, xavier(config.width, width), **kw)
        self.mask_token = nnx.Param(drawn(rngs.params(), (1, 1, width), normal(0.02)))
        super().__init__(
            width,
            config.decoder_depth,
            config.decoder_heads,
            config.grid,
            config.positions,
            config.cls_token,
            own_class=not config.image,
            qkv_bias=config.qkv_bias,
            **kw,
        )
        self.pred = Linear(width, pixels, xavier(width, pixels), **kw)


class Noise(nnx.Module):
    """Uniform noise for masks: random in training, and the same for every clip in evaluation."""

    def __init__(self, tokens: int, *, rngs: nnx.Rngs):
        self.tokens, self.deterministic = tokens, False
        self.rngs = rngs["mask"].fork()

    def set_view(self, deterministic: bool | None = None) -> None:
        """For `nnx.view`."""
        if deterministic is not None:
            self.deterministic = deterministic

    def __call__(self, clips: int) -> Array:
        """(clips, N) in [0, 1)."""
        if self.deterministic:
            fixed = np.random.default_rng(0).random(self.tokens, np.float32)
            return jnp.broadcast_to(fixed, (clips, self.tokens))
        return jax.random.uniform(self.rngs(), (clips, self.tokens))

    def key(self) -> Array | None:
        """What draws the same for all clips, of the run alone; None in evaluation."""
        # apart from those of the noise, which count on from 0
        return None if self.deterministic else jax.random.fold_in(self.rngs.key[...], jnp.uint32(2**32 - 1))


class MaskedAutoencoder(nnx.Module):
    """The network of pretraining. Built by `zoo.create`.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: MaeConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config, dtype=dtype, rngs=rngs)
        self.decoder = Decoder(config, dtype=dtype, rngs=rngs)
        self.noise = Noise(config.tokens, rngs=rngs)

    def order(self, batch: Batch) -> Order:
        """The tokens of a batch in the order in which they are kept, see `__call__`."""
        config = self.config
        noise = batch["noise"] if "noise" in batch else self.noise(batch["frames"].shape[0])
        keys = jnp.asarray(noise)
        if config.masking is Masking.TUBE:
            keys = masks.tube_keys(keys, config.num_frames // config.t_patch)
        if config.directed:
            covered = masks.coverage(batch["cover"], config.t_patch, config.patch)
            temperature = config.temperature_at(batch.get("step"))
            preference = masks.preference(temperature, config.masking is Masking.DIRECTED_V1)
            keys = masks.directed_keys(keys, covered, preference, config.per_step, config.flip_mask)
        return masks.order(keys, config.kept, config.kept_at(batch.get("step"), self.noise.key()))

    def encode(self, batch: Batch, order: Order) -> Array:
        """The kept tokens after the encoder and its norm: (B, 1 + kept, C), a class token first if there is one.

        What comes after those of the step means nothing where the share of removed tokens changes.
        """
        config = self.config
        frames = config.pixels(batch)
        config.check(frames)
        patches = patchify(frames, config.t_patch, config.patch)
        seen = jnp.take_along_axis(patches, order.kept[..., None], axis=1)
        unseen = self._unseen(order)
        return self.encoder.norm(self.encoder(self.encoder.patch_embed(seen), order.kept, padding=unseen))

    def _unseen(self, order: Order) -> Array | None:
        """(B, kept) bool, computed tokens that count as removed in this step; None if a step removes as any other."""
        if self.config.mask_schedule is MaskSchedule.CONSTANT:
            return None
        return jnp.take_along_axis(order.removed, order.kept, axis=1) > 0

    def decode(self, latent: Array, order: Order) -> Array:
        """The reconstructed patches (B, N, P) of the encoder's tokens."""
        config, decoder = self.config, self.decoder
        x = decoder.embed(latent)
        first = int(config.cls_token)
        seen, count = x[:, first:], order.restore.shape[1] - config.kept
        token, hidden = decoder.mask_token[...].astype(x.dtype), self._unseen(order)
        seen = seen if hidden is None else jnp.where(hidden[..., None], token, seen)
        unseen = jnp.broadcast_to(token, (x.shape[0], count, x.shape[-1]))
        every = jnp.take_along_axis(jnp.concatenate([seen, unseen], 1), order.restore[..., None], axis=1)
        x = decoder(every, first=x[:, :1] if config.image and config.cls_token else None)
        return decoder.pred(decoder.norm(x))[:, first:]

    def __call__(self, batch: Batch) -> Preds:
        """Reconstructed patches.

        Args:
          batch: with frames (B, T, H, W, 3); for directed masks, cover (B, T, H, W); optionally noise (B, N) in [0, 1),
            of which the tokens with the smallest are kept. Without it, it is drawn in training, and in evaluation the
            same for all clips. Optionally step, without which schedules are at their end.

        Returns:
          patches (1, B, N, P) and removed (1, B, N), 1 for tokens that were not seen.
        """
        order = self.order(batch)
        x = self.decode(self.encode(batch, order), order)
        return {"patches": x.astype(jnp.promote_types(x.dtype, jnp.float32))[None], "removed": order.removed[None]}


class Head(nnx.Module):
    """Classifies features (B, C) -> (B, A): dropout, a batch normalisation if there is one, and a linear layer."""

    def __init__(self, width: int, classes: int, dropout: float, norm: bool, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.norm = Norm(width, bias=False, momentum=0.9, epsilon=1e-6, unbiased=True, rngs=rngs) if norm else None
        self.linear = Linear(width, classes, normal(0.01 if norm else 2e-5), dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.dropout(x)
        return self.linear(x if self.norm is None else self.norm(x))


class VideoClassifier(nnx.Module):
    """The network of fine-tuning, probes and tests, of videos and of pictures. Built by `zoo.create`.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: VideoClassifierConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config, config.path_dropout, dtype=dtype, rngs=rngs)
        self.fc_norm = layer_norm(config.width, Form.MAE, rngs=rngs) if config.own_norm else None
        if config.own_norm:
            del self.encoder.norm
        self.head = Head(config.width, config.num_actions, config.dropout, config.head_norm, dtype=dtype, rngs=rngs)

    def features(self, batch: Batch) -> Array:
        """What the head gets: (B, C)."""
        x, norm = self.encoder(self._patches(batch)), self.fc_norm or self.encoder.norm
        if self.config.pool is Pool.CLASS:
            return norm(x[:, 0])
        x = x[:, self._left_out :]
        if self.config.pool is Pool.MEAN:
            return norm(x.mean(1))
        inside = self._inside(batch).astype(x.dtype)[:, -x.shape[1] :, None]
        count = x.shape[1] if self.config.pool is Pool.COVERED else jnp.maximum(inside.sum(1), 1)
        return norm((x * inside).sum(1) / count)

    @property
    def _left_out(self) -> int:
        """Number of tokens that are not pooled: the class token, or the first patch."""
        return int(self.config.cls_token or self.config.drop_first)

    def _patches(self, batch: Batch) -> Array:
        """The embedded patches (B, N, C) of all frames."""
        config = self.config
        frames = config.pixels(batch)
        config.check(frames)
        return self.encoder.patch_embed(patchify(frames, config.t_patch, config.patch))

    def _inside(self, batch: Batch) -> Array:
        """Which patches (B, N) are covered by boxes."""
        covered = masks.coverage(batch["cover"], self.config.t_patch, self.config.patch)
        return covered.reshape(covered.shape[0], -1) >= COVERED

    def shows(self, batch: Batch) -> dict[str, Array]:
        """rollout (B, T', h, w): the share of every patch in what is pooled, see `jaxhar.nn.vit.Tower.rollout`.

        T' is 1 for pictures.
        With a class token, its share is missing to a sum of 1.
        """
        config, x = self.config, self._patches(batch)
        if config.pool is Pool.CLASS:
            pooled = jnp.zeros((x.shape[0], 1 + x.shape[1])).at[:, 0].set(1)
        else:
            pooled = jnp.ones(x.shape[:2]) if config.pool is Pool.MEAN else self._inside(batch)
            pooled = jnp.pad(pooled.astype(jnp.float32), ((0, 0), (int(config.cls_token), 0)))
            pooled = pooled.at[:, : self._left_out].set(0)
        found = self.encoder.rollout(x, pooled / jnp.maximum(pooled.sum(1, keepdims=True), 1))
        return {"rollout": found[:, int(config.cls_token) :].reshape(-1, *(1, *config.grid)[-3:])}

    def __call__(self, batch: Batch) -> Preds:
        """Scores of the classes.

        Args:
          batch: with frames (B, T, H, W, 3); to pool by person boxes, cover (B, T, H, W).

        Returns:
          action (1, B, A).
        """
        x = self.head(self.features(batch))
        return {"action": x.astype(jnp.promote_types(x.dtype, jnp.float32))[None]}


def build(config: MaeConfig | VideoClassifierConfig, *, dtype=jnp.float32, rngs: nnx.Rngs) -> nnx.Module:
    """The network of these settings."""
    if isinstance(config, VideoClassifierConfig):
        return VideoClassifier(config, dtype=dtype, rngs=rngs)
    return MaskedAutoencoder(config, dtype=dtype, rngs=rngs)
