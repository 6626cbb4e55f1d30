"""The family of single-view heat-map networks: Simple Baselines and HRNet."""

import jax.numpy as jnp
from flax import nnx

from jaxhar.core import map_names
from jaxhar.core.family import Entry, Family, Rule, Transfer
from jaxhar.core.pixels import Pixels
from jaxhar.core.skeleton import COCO, MPII
from jaxhar.models.baseline.network import Baseline, BaselineConfig
from jaxhar.nn.maps import Backbone, MapsConfig


def build(config: BaselineConfig, *, dtype=jnp.float32, rngs: nnx.Rngs) -> nnx.Module:
    """The network of these settings."""
    return Baseline(config, dtype=dtype, rngs=rngs)


def table(config: BaselineConfig) -> tuple[Rule, ...]:
    """The names of single-person-pose-estimation for its network, which ends in a sigmoid, else the common ones."""
    return map_names.table(map_names.lip if config.sigmoid else str)


def dialects(config: BaselineConfig) -> tuple[tuple[Rule, ...], ...]:
    """The common names, which torchvision's ResNets have too."""
    return (map_names.table(),)


COCO_SIZE = 256, 192

ENTRIES = {
    "simple-baseline-lip": Entry(
        BaselineConfig(depth=18, deconv_filters=(512, 512, 512), sigmoid=True),
        MPII,
        published="LIP validation: mean squared error 0.00031 on the first 30 % of the rows (name of its file)",
        size=(23_783_376, 8_039_432_192),
    ),
    "simple-baseline-mpii": Entry(
        BaselineConfig(),
        MPII,
        published="MPII validation, 256 x 256, flip test: 88.5 PCKh@0.5 (ECCV'18)",
        size=(34_054_096, 7_234_125_824),
    ),
    "simple-baseline-coco": Entry(
        BaselineConfig(image_size=COCO_SIZE, num_joints=17),
        COCO,
        published="COCO validation, 256 x 192, detected persons: 70.4 AP (ECCV'18)",
        size=(34_054_353, 5_426_380_800),
    ),
    "hrnet-w32-coco": Entry(
        BaselineConfig(image_size=COCO_SIZE, num_joints=17, backbone=Backbone.HRNET, width=32, pixels=Pixels.IMAGENET),
        COCO,
        published="COCO validation, 256 x 192, detected persons: 74.4 AP (CVPR'19)",
        size=(28_590_449, 7_645_003_776),
    ),
    "hrnet-w48-coco": Entry(
        BaselineConfig(image_size=COCO_SIZE, num_joints=17, backbone=Backbone.HRNET, width=48, pixels=Pixels.IMAGENET),
        COCO,
        published="COCO validation, 256 x 192, detected persons: 75.1 AP (CVPR'19)",
        size=(63_675_329, 15_691_825_152),
    ),
}

_HEAD = r"single\.(?:deconv|final)\..*"

FAMILY = Family(
    name="baseline",
    config=BaselineConfig,
    build=build,
    entries=ENTRIES,
    tiny=MapsConfig.TINY,
    table=table,
    dialects=dialects,
    # torchvision's ResNets have a classifier.
    ignored=(r".*\.num_batches_tracked", r"fc\..*"),
    trunk="single.backbone",
    whole_trunk=True,
    # A multi-view network has the same part, and matrices of its own.
    transfer=Transfer(fresh=(_HEAD,), unused=(_HEAD, r"fusion\..*")),
    skeletons=(MPII, COCO),
)
