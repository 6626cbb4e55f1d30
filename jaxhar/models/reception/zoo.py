"""The ReceptionNet family: the CVPR'18 networks for pose, and with action heads."""

import jax.numpy as jnp
from flax import nnx

from jaxhar.core import classes
from jaxhar.core.family import Entry, Family, KerasLayout, Transfer
from jaxhar.core.skeleton import PA16, PA17, PA20, PA21, PENN
from jaxhar.models.reception.action import ActionNet
from jaxhar.models.reception.network import PoseNet, Reception, ReceptionConfig
from jaxhar.models.reception.weights import layout, sequence, told, untold

#: That of the authors' repository; it says nothing of its own on the files of weights.
LICENCE = "MIT, the licence of dluvizon/deephar; the data sets that it was trained on have terms of their own"
RELEASES = "https://github.com/dluvizon/deephar/releases/download/"


def build(config: ReceptionConfig, *, dtype=jnp.float32, rngs: nnx.Rngs) -> nnx.Module:
    """A pose network, with action heads if the settings have classes."""
    pose = Reception(config, dtype=dtype, rngs=rngs)
    return pose if config.num_actions is None else ActionNet(pose, dtype=dtype, rngs=rngs)


ENTRIES = {
    "reception-mpii": Entry(
        ReceptionConfig(),
        PA16,
        published="MPII validation, single crop: 89.1 PCKh@0.5",
        release=RELEASES + "v0.1/weights_PE_MPII_cvpr18_19-09-2017.h5",
        md5="d6b85ba4b8a3fc9d05c8ad73f763d999",
        licence=LICENCE,
        size=(14_746_560, 9_832_611_840),
    ),
    "reception-h36m": Entry(
        ReceptionConfig(num_joints=17, num_context=0, depth_maps=16),
        PA17,
        published="Human3.6M, S9 and S11, every 64th frame, single crop: 55.1 mm MPJPE",
        release=RELEASES + "v0.2/weights_3DPE_H36M_cvpr18_Nov-2017.h5",
        md5="af79f83ad939117d4ccc2cf1d4bd37d2",
        licence=LICENCE,
        size=(16_681_920, 11_814_420_480),
    ),
    "reception-penn": Entry(
        ReceptionConfig(num_blocks=4, num_frames=16, num_actions=15),
        PA16,
        classes.PENN,
        published="Penn Action, multi-clip with flips: 98.6 % accuracy (CVPR'18)",
        release=RELEASES + "v0.3/weights_AR_merge_ep074_26-10-17.h5",
        md5="f53f89257077616a79a6c1cd1702d50f",
        licence=LICENCE,
        size=(12_805_120, 96_483_003_904),
    ),
    "reception-ntu": Entry(
        ReceptionConfig(
            num_blocks=4,
            num_joints=20,
            num_context=0,
            depth_maps=8,
            pose_net=PoseNet.V2,
            num_frames=20,
            num_actions=60,
        ),
        PA20,
        classes.NTU,
        published="NTU RGB+D, cross-subject: 85.5 % accuracy (CVPR'18)",
        release=RELEASES + "v0.4/weights_AR_merge_NTU_v2.h5",
        md5="ff98d70a7f6bc5976cc11c7a5760e8b7",
        licence=LICENCE,
        size=(16_943_608, 130_341_219_160),
    ),
}

#: Weights of the action heads: absent in pose networks, and dependent on the number of classes.
_HEADS = r"(?:pose_stream|visual_stream|pose_weight|visual_weight)\..*"

FAMILY = Family(
    name="reception",
    config=ReceptionConfig,
    build=build,
    entries=ENTRIES,
    tiny=ReceptionConfig.TINY,
    keras=KerasLayout(layout, sequence, told=told),
    trunk="pose",
    # In an action network, the pose network is the submodule `pose`.
    transfer=Transfer(renames=((r"(?:stem|blocks)\..*", r"pose.\g<0>"),), fresh=(_HEADS,), unused=(_HEADS,)),
    skeletons=(PA16, PA17, PA20, PA21, PENN),
    untold=untold,
)
