"""SPNet on NTU RGB+D (Luvizon et al., TPAMI'20), as in deephar's train_ntu_spnet.py.

    python launch.py --config=configs/spnet_ntu.py:paper --config.data.root=DIR
    python launch.py --config=configs/spnet_ntu.py:demo

The network: 2 pyramids, both with action blocks, 17 joints in 3-D, clips of 8 frames of 256 x 256. The settings of the
script: poses from 32 single frames and actions from 4 clips per step, every second frame of the videos, SGD with
Nesterov momentum 0.9. First 20 epochs of the action blocks only, with learning rate 0.01; then 70 epochs of the full
network with 1e-3, divided by 10 after 39 and 51 of them. We do not know the paper's figures, and have not run this
experiment to its end.

The demo: the same network, but narrow and with 3 levels, on generated videos in NTU's layout, 64 x 64.
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.core.skeleton import PA17
from jaxhar.data import presets, transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.ntu.settings import NTU
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.deephar import Deephar
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.samples import Samples
from jaxhar.training.experiment import Experiment, Stage, Train, pick
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import QUICK, Optimizer, nesterov

ACTION_ONLY = Multitask(pose=0.0, visible=0.0, action=0.1)
EPOCH = 40_091 // 4  # steps: clips of the training subjects, four per step
EVAL = Eval(views=("single", "multi"), scorers=(Pose(), Action(), Deephar(), Samples()))


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which, ("nturgb+d",), demo=demo, paper=paper)


def paper() -> Experiment:
    model = zoo.config("spnet-ntu")
    return Experiment(
        name="spnet-ntu",
        model=model,
        data=NTU(
            skeleton=PA17,
            augment=presets.NTU_CLIPS_TPAMI,
            augment_stills=presets.NTU_STILLS_TPAMI,
            keep_every=2,
            frame_rate=15.0,
            clip_frames=model.num_frames,
            clips_per_batch=4,
            stills_per_batch=32,
        ),
        losses=Multitask(pose=1.0, visible=0.01, action=0.1, clip_pose=0.0),
        optimizer=Optimizer(
            nesterov,
            learning_rate=1e-3,
            schedule=optax.piecewise_constant_schedule,
            schedule_options={"boundaries_and_scales": {39 * EPOCH: 0.1, 51 * EPOCH: 0.1}},
        ),
        train=Train(steps=None, eval_every=EPOCH, checkpoint_every=500),
        stages={
            "heads": Stage(
                20 * EPOCH,
                Optimizer(nesterov, learning_rate=0.01, table=zoo.trunk_frozen(model)),
                ACTION_ONLY,
                {"stills_per_batch": 0},
            ),
            "all": Stage(70 * EPOCH),
        },
        evals={"ntu": replace(EVAL, batch=4, published=(zoo.entry("spnet-ntu").published,))},
    )


def demo() -> Experiment:
    model = replace(
        zoo.config("spnet-ntu"),
        image_size=64,
        num_levels=3,
        growth=48,
        num_pose_features=48,
        num_visual_features=48,
    )
    augment = replace(transforms.NONE, scales=(0.8, 0.9, 1.0), hflip=(False, True))
    return Experiment(
        name="spnet-ntu-demo",
        model=model,
        data=NTU(
            synth=Synth(150, 30, 20, 10, frames=(24, 32), size=(160, 90), clutter=0.0),
            frame_rate=30.0,
            skeleton=PA17,
            augment=replace(augment, subsampling=(3,), fixed_subsampling=3),
            augment_stills=augment,
            clip_frames=model.num_frames,
            image_size=64,
            clips_per_batch=4,
            stills_per_batch=32,
        ),
        losses=Multitask(pose=1.0, visible=0.01, action=0.1),
        optimizer=QUICK,
        train=Train(steps=None, checkpoint_every=200),
        stages={
            "heads": Stage(60, replace(QUICK, table=zoo.trunk_frozen(model)), ACTION_ONLY, {"stills_per_batch": 0}),
            "all": Stage(400),
        },
        evals={"ntu": EVAL},
    )
