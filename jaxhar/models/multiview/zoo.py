"""The family of multi-view networks with fused heat maps."""

import re

import jax.numpy as jnp
from flax import nnx

from jaxhar.core import map_names
from jaxhar.core.family import Entry, Family, Kind, Rule, Transfer
from jaxhar.core.skeleton import H36M17, UNION20
from jaxhar.models.multiview.network import MultiView, MultiViewConfig
from jaxhar.nn.maps import MapsConfig


def build(config: MultiViewConfig, *, dtype=jnp.float32, rngs: nnx.Rngs) -> nnx.Module:
    """The network of these settings."""
    return MultiView(config, dtype=dtype, rngs=rngs)


def _matrix(match: re.Match[str]) -> str:
    return f"aggre_layer.aggre.{match[1]}.weight"


_FUSION = Rule(r"fusion\.(\d+)\.kernel", _matrix, Kind.EMBEDDING)


def table(config: MultiViewConfig) -> tuple[Rule, ...]:
    """The original's names: `resnet.` in front of those of the backbone, whichever it is."""
    return (_FUSION, *map_names.table(lambda name: f"resnet.{name}"))


def dialects(config: MultiViewConfig) -> tuple[tuple[Rule, ...], ...]:
    """The names of single-view networks and of torchvision's ResNets."""
    return ((_FUSION, *map_names.table()),)


ENTRIES = {
    "multiview-h36m": Entry(
        MultiViewConfig(),
        UNION20,
        published="Human3.6M, ResNet-50, 256 x 256, trained with MPII: joint detection rate 94.7 % (pacom's README)",
        size=(235_381_716, 32_979_812_352),
    ),
}

_HEAD = r"(?:single\.(?:deconv|final)|fusion)\..*"

FAMILY = Family(
    name="multiview",
    config=MultiViewConfig,
    build=build,
    entries=ENTRIES,
    tiny=MapsConfig.TINY,
    table=table,
    dialects=dialects,
    # The original writes its matrices also for a network without fusion, which never uses them.
    ignored=(r".*\.num_batches_tracked", r"aggre_layer\.aggre\.\d+\.weight", r"fc\..*"),
    trunk="single.backbone",
    whole_trunk=True,
    # A single-view network has the same part `single`.
    transfer=Transfer(fresh=(_HEAD,), unused=(_HEAD,)),
    skeletons=(UNION20, H36M17),
)
