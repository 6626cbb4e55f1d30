"""The family PoseConv3D."""

import re
from dataclasses import replace

import jax.numpy as jnp
from flax import nnx

from jaxhar.core import classes
from jaxhar.core.family import Entry, Family, Kind, Rule, Transfer
from jaxhar.core.skeleton import COCO
from jaxhar.core.volume import COCO_LIMBS
from jaxhar.models.poseconv.network import Backbone, PoseConv, PoseConvConfig
from jaxhar.models.poseconv.rgbpose import RGBPose, RGBPoseConfig


def build(config: PoseConvConfig, *, dtype=jnp.float32, rngs: nnx.Rngs) -> nnx.Module:
    """The network of these settings."""
    return PoseConv(config, dtype=dtype, rngs=rngs)


_ARRAYS = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _conv(match: re.Match[str]) -> str:
    return f"backbone.{match[1].replace('shortcut', 'downsample')}.conv.weight"


def _norm(match: re.Match[str]) -> str:
    return f"backbone.{match[1].replace('shortcut', 'downsample')}.bn.{_ARRAYS[match[2]]}"


_DEPTHWISE = r"conv1_t|layer\d\.\d+\.conv2"


def table(config: PoseConvConfig) -> tuple[Rule, ...]:
    """The names of pyskl and mmaction2."""
    depthwise = (Rule(rf"backbone\.({_DEPTHWISE})\.conv\.kernel", _conv, Kind.DEPTHWISE),)
    return (
        *(depthwise if config.backbone is Backbone.X3D_SHALLOW else ()),
        Rule(r"backbone\.(.*?)(?:\.conv)?\.kernel", _conv, Kind.CONV),
        Rule(r"backbone\.(.*)\.norm\.(\w+)", _norm, Kind.NORM),
        Rule(r"head\.kernel", "cls_head.fc_cls.weight", Kind.LINEAR),
        Rule(r"head\.bias", "cls_head.fc_cls.bias", Kind.NORM),
    )


_NTU = PoseConvConfig()
_LIMBS = replace(_NTU, limbs=COCO_LIMBS)
#: Kinetics-400 by number.
_KINETICS = tuple(f"class {i}" for i in range(400))

ENTRIES = {
    "poseconv3d-ntu60-joint": Entry(
        _NTU,
        COCO,
        classes.NTU,
        "NTU RGB+D, cross-subject 93.7 %, cross-view 96.5 %; 10 clips and mirror images (pyskl)",
        size=(2_037_468, 20_415_805_440),
    ),
    "poseconv3d-ntu60-limb": Entry(
        _LIMBS,
        COCO,
        classes.NTU,
        "NTU RGB+D, cross-subject 93.4 %, cross-view 96.0 %; 10 clips and mirror images (pyskl)",
        size=(2_037_468, 20_415_805_440),
    ),
    "poseconv3d-k400-joint": Entry(
        replace(_NTU, blocks=(3, 4, 6), num_actions=400),
        COCO,
        _KINETICS,
        "Kinetics-400 47.3 %; 10 clips (pyskl)",
        size=(3_223_856, 18_931_195_904),
    ),
    "poseconv3d-c3d-ntu60-joint": Entry(
        replace(_NTU, backbone=Backbone.C3D_LIGHT),
        COCO,
        classes.NTU,
        "NTU RGB+D, cross-subject 92.7 % (pyskl)",
        size=(3_406_620, 21_913_156_608),
    ),
    "poseconv3d-x3d-ntu60-joint": Entry(
        replace(_NTU, backbone=Backbone.X3D_SHALLOW),
        COCO,
        classes.NTU,
        "NTU RGB+D, cross-subject 92.1 % (pyskl)",
        size=(261_660, 802_726_560),
    ),
}

FAMILY = Family(
    name="poseconv3d",
    config=PoseConvConfig,
    build=build,
    entries=ENTRIES,
    tiny=PoseConvConfig.TINY,
    table=table,
    trunk="backbone",
    whole_trunk=True,
    # Another set has other classes; a network on limbs learns from one on joints.
    transfer=Transfer(fresh=(r"head\..*",), unused=(r"head\..*",)),
    skeletons=(COCO,),
)

RGBPOSE = Family(
    name="rgbpose-conv3d",
    config=RGBPoseConfig,
    build=RGBPose,
    entries={"rgbpose-conv3d-ntu60": Entry(RGBPoseConfig(), COCO, classes.NTU, size=(36_213_848, 58_005_215_232))},
    tiny=RGBPoseConfig.TINY,
    table=lambda config: (
        Rule(r"(pose_path\.layer\d_lateral)\.kernel", _conv, Kind.DECONV),
        Rule(r"((?:rgb|pose)_path\..*?)(?:\.conv)?\.kernel", _conv, Kind.CONV),
        Rule(r"((?:rgb|pose)_path\..*)\.norm\.(\w+)", _norm, Kind.NORM),
        Rule(r"(rgb|pose)_head\.kernel", r"cls_head.fc_\1.weight", Kind.LINEAR),
        Rule(r"(rgb|pose)_head\.bias", r"cls_head.fc_\1.bias", Kind.NORM),
    ),
    transfer=Transfer(fresh=(r"(?:rgb|pose)_head\..*",), unused=(r"(?:rgb|pose)_head\..*",)),
    skeletons=(COCO,),
)
