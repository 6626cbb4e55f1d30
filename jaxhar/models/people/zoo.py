"""The family of person detectors."""

import jax.numpy as jnp
from flax import nnx

from jaxhar.core.family import Entry, Family
from jaxhar.models.people.network import People, PeopleConfig


def build(config: PeopleConfig, *, dtype=jnp.float32, rngs: nnx.Rngs) -> nnx.Module:
    """The network of these settings."""
    return People(config, dtype=dtype, rngs=rngs)


FAMILY = Family(
    name="people",
    config=PeopleConfig,
    build=build,
    entries={"people": Entry(PeopleConfig(), size=(464_669, 161_521_664))},
    tiny={"image_size": 64, "widths": (8, 8, 16, 16), "blocks": (1, 1, 2, 1), "neck": 8, "most": 5},
)
