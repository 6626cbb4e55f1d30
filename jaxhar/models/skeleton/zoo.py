"""The family of transformers over skeletons."""

from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.core import classes
from jaxhar.core.family import Entry, Family, Kind, Packing, Rule, Transfer
from jaxhar.core.skeleton import NTU
from jaxhar.models.skeleton.network import Positions, SkeletonTransformer, SkeletonTransformerConfig


def build(config: SkeletonTransformerConfig, *, dtype=jnp.float32, rngs: nnx.Rngs) -> nnx.Module:
    """The network of these settings."""
    return SkeletonTransformer(config, dtype=dtype, rngs=rngs)


def _with_sinusoids(config: SkeletonTransformerConfig, learned: np.ndarray) -> np.ndarray:
    return np.concatenate([learned, config.sinusoids.astype(learned.dtype)], -1)


def _without_sinusoids(config: SkeletonTransformerConfig, table: np.ndarray) -> np.ndarray | None:
    given = config.sinusoids
    channels = table.shape[-1] - given.shape[-1]
    if table.shape[:-1] != given.shape[:-1] or not np.allclose(table[..., channels:], given, atol=1e-6):
        return None
    return table[..., :channels]


def table(config: SkeletonTransformerConfig) -> tuple[Rule, ...]:
    """The names of dmae_st. The table of hybrid positions holds their sinusoids, too."""
    hybrid = Packing(partial(_with_sinusoids, config), partial(_without_sinusoids, config))
    packing = hybrid if config.positions is Positions.HYBRID else None
    return (
        Rule(r"positions", "pos_embed", Kind.EMBEDDING, packing),
        Rule(r"cls_token", "cls_token", Kind.EMBEDDING),
        Rule(r"embed\.kernel", "embed_layer.weight", Kind.LINEAR),
        Rule(r"embed\.bias", "embed_layer.bias", Kind.NORM),
        Rule(r"(.*)\.kernel", r"\1.weight", Kind.LINEAR),
        Rule(r"(.*)\.scale", r"\1.weight", Kind.NORM),
        Rule(r"(.*)\.bias", r"\1.bias", Kind.NORM),
    )


ENTRIES = {
    "skeleton-transformer-ntu": Entry(
        SkeletonTransformerConfig(),
        NTU,
        classes.NTU,
        "NTU RGB+D, cross-subject: 50 to 60 % with the original's settings (comments of dmae_st)",
        size=(1_403_196, 5_833_692_672),
    )
}

FAMILY = Family(
    name="skeleton-transformer",
    config=SkeletonTransformerConfig,
    build=build,
    entries=ENTRIES,
    tiny={"width": 16, "depth": 2, "heads": 4},
    table=table,
    trunk="blocks",
    transfer=Transfer(fresh=(r"head\..*",), unused=(r"head\..*",)),
    skeletons=(NTU,),
)
