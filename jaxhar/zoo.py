"""The networks by name: settings, the authors' release file, published figures."""

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxhar.core import classes as actions
from jaxhar.core.skeleton import PA16, PA17, PA20, Skeleton, of_size
from jaxhar.host.errors import Usage
from jaxhar.models.reception import network as reception
from jaxhar.models.reception.action import ActionNet
from jaxhar.models.reception.network import Config, PoseNet, Reception
from jaxhar.models.spnet import network as spnet
from jaxhar.models.spnet.network import SPNet
from jaxhar.nn.cost import count

RELEASES = "https://github.com/dluvizon/deephar/releases/download/"

#: The settings of every family of networks, by the name that stands for it in our files.
FAMILIES: dict[str, type] = {"reception": reception.Config, "spnet": spnet.Config}


@dataclass(frozen=True)
class Entry:
    """One published network.

    Attributes:
      config: its settings.
      skeleton: its joints.
      actions: names of its action classes; empty for a pose network.
      release: the authors' weight file: under their releases, or a whole address; "" if they published none.
      md5: of that file; "" if they give none.
      published: the figure given for it, with the protocol.
    """

    config: Any
    skeleton: Skeleton
    actions: tuple[str, ...]
    release: str
    md5: str
    published: str

    @property
    def address(self) -> str:
        """Where the release file is."""
        return self.release if "://" in self.release else f"{RELEASES}{self.release}"

    def labels(self, config: Any) -> tuple[Skeleton, tuple]:
        """Joints and action names of this network with other settings; numbered where their count differs.

        With several sets of labels there is a tuple of names for each.
        """
        joints = self.skeleton if config.num_joints == len(self.skeleton) else of_size(config.num_joints)
        counts = config.num_actions if isinstance(config.num_actions, tuple) else (config.num_actions or 0,)
        sets = tuple(
            self.actions if count == len(self.actions) else tuple(f"class {i}" for i in range(count))
            for count in counts
        )
        return joints, sets if len(sets) > 1 else sets[0]


_ZOO = {
    "reception-mpii": Entry(
        Config(),
        PA16,
        (),
        "v0.1/weights_PE_MPII_cvpr18_19-09-2017.h5",
        "d6b85ba4b8a3fc9d05c8ad73f763d999",
        "MPII validation, single crop: 89.1 PCKh@0.5",
    ),
    "reception-h36m": Entry(
        Config(num_joints=17, num_context=0, depth_maps=16),
        PA17,
        (),
        "v0.2/weights_3DPE_H36M_cvpr18_Nov-2017.h5",
        "af79f83ad939117d4ccc2cf1d4bd37d2",
        "Human3.6M, S9 and S11, every 64th frame, single crop: 55.1 mm MPJPE",
    ),
    "reception-penn": Entry(
        Config(num_blocks=4, num_frames=16, num_actions=15),
        PA16,
        actions.PENN,
        "v0.3/weights_AR_merge_ep074_26-10-17.h5",
        "f53f89257077616a79a6c1cd1702d50f",
        "Penn Action, multi-clip with flips: 98.6 % accuracy (CVPR'18)",
    ),
    "reception-ntu": Entry(
        Config(
            num_blocks=4,
            num_joints=20,
            num_context=0,
            depth_maps=8,
            pose_net=PoseNet.V2,
            num_frames=20,
            num_actions=60,
        ),
        PA20,
        actions.NTU,
        "v0.4/weights_AR_merge_NTU_v2.h5",
        "ff98d70a7f6bc5976cc11c7a5760e8b7",
        "NTU RGB+D, cross-subject: 85.5 % accuracy (CVPR'18)",
    ),
    "spnet-penn": Entry(
        spnet.Config(
            num_pyramids=6,
            action_pyramids=(5, 6),
            num_frames=8,
            num_actions=(15,),
            num_pose_features=160,
            num_visual_features=160,
            pose_replica=True,
        ),
        PA16,
        actions.PENN,
        "https://drive.google.com/uc?id=106yIhqNN-TrI34SX81q2xbU-NczcQj6I",  # weights_mpii+penn_ar_028.hdf5
        "",
        "none given with the file",
    ),
    "spnet-ntu": Entry(
        spnet.Config(
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
        actions.NTU,
        "https://drive.google.com/uc?id=1I6GftXEkL5nohLA60Vi6faW0rvTZg6Kx",  # weights_3dp+ntu_ar_062.hdf5
        "",
        "none given with the file",
    ),
    "spnet-pose": Entry(
        spnet.Config(num_joints=17, depth_maps=True), PA17, (), "", "", "none: no weights were released"
    ),
}


def names() -> tuple[str, ...]:
    """Names of the networks."""
    return tuple(_ZOO)


def entry(name: str) -> Entry:
    """All that is known of a network; Usage lists the names if there is no such one."""
    if name not in _ZOO:
        raise Usage(f"no network is named {name!r}; there are: {', '.join(_ZOO)}")
    return _ZOO[name]


def config(name: str) -> Any:
    """Settings of a network, to be used as they are or changed with `dataclasses.replace`."""
    return entry(name).config


def tiny(name: str) -> Any:
    """Settings of a network of the same kind, narrow and shallow, for images of 64 pixels; for tests."""
    full = config(name)
    return replace(full, **full.TINY)


def create(config: Any, *, rngs: nnx.Rngs | None = None, dtype=jnp.float32) -> nnx.Module:
    """A network with fresh weights, in training mode.

    Args:
      config: its settings, of one of the `FAMILIES`; action heads come with `num_actions`.
      rngs: seeds of the weights; seed 0 if absent.
      dtype: type of the arithmetic. Weights, statistics, soft-argmax and logits stay float32.
    """
    return _BUILDERS[type(config)](config, dtype=dtype, rngs=rngs or nnx.Rngs(0))


def _reception(config: Config, *, dtype, rngs: nnx.Rngs) -> nnx.Module:
    pose = Reception(config, dtype=dtype, rngs=rngs)
    return pose if config.num_actions is None else ActionNet(pose, dtype=dtype, rngs=rngs)


_BUILDERS: dict[type, Any] = {reception.Config: _reception, spnet.Config: SPNet}


def multiply_adds(config) -> int:
    """Multiply-adds of one evaluation of a network on one image, or on one clip of its length."""
    model = nnx.eval_shape(lambda: create(config))
    model.eval()
    graphdef, state = nnx.split(model)
    return count(lambda state, batch: nnx.merge(graphdef, state)(batch), state, config.inputs(1))
