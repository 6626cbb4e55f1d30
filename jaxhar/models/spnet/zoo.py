"""The SPNet family: the TPAMI'20 networks for pose, and with action blocks."""

from jaxhar.core import classes
from jaxhar.core.family import Entry, Family, KerasLayout, Transfer
from jaxhar.core.skeleton import PA16, PA17, PA20, PA21, PENN
from jaxhar.models.spnet.config import SPNetConfig
from jaxhar.models.spnet.network import SPNet
from jaxhar.models.spnet.weights import infer_config, layout, renumber

ENTRIES = {
    "spnet-penn": Entry(
        SPNetConfig(
            num_pyramids=6,
            action_pyramids=(5, 6),
            num_frames=8,
            num_actions=(15,),
            num_pose_features=160,
            num_visual_features=160,
            pose_replica=True,
        ),
        PA16,
        classes.PENN,
        published="none given with the file",
        release="https://drive.google.com/uc?id=106yIhqNN-TrI34SX81q2xbU-NczcQj6I",  # weights_mpii+penn_ar_028.hdf5
        size=(20_314_088, 49_734_635_520),
    ),
    "spnet-ntu": Entry(
        SPNetConfig(
            num_pyramids=2,
            action_pyramids=(1, 2),
            num_joints=17,
            depth_maps=True,
            num_frames=8,
            num_actions=(60,),
            num_pose_features=192,
            num_visual_features=192,
        ),
        PA17,
        classes.NTU,
        published="none given with the file",
        release="https://drive.google.com/uc?id=1I6GftXEkL5nohLA60Vi6faW0rvTZg6Kx",  # weights_3dp+ntu_ar_062.hdf5
        size=(12_713_752, 35_366_914_752),
    ),
    "spnet-pose": Entry(
        SPNetConfig(num_joints=17, depth_maps=True),
        PA17,
        published="none: no weights were released",
        size=(21_801_472, 7_154_890_752),
    ),
}

_HEADS = r"actions\..*"

FAMILY = Family(
    name="spnet",
    config=SPNetConfig,
    build=SPNet,
    entries=ENTRIES,
    tiny={**SPNetConfig.TINY, "image_div": 4, "num_levels": 2},
    keras=KerasLayout(layout, renumber=renumber, infer=infer_config),
    trunk="pose",
    transfer=Transfer(fresh=(_HEADS,), unused=(_HEADS,)),
    skeletons=(PA16, PA17, PA20, PA21, PENN),
)
