"""SPNet on Penn Action (Luvizon et al., TPAMI'20), as in deephar's train_penn_multimodel.py.

    JAXHAR_DATA=DIR python launch.py --config=configs/spnet_penn.py:paper        DIR has Penn_Action and MPII
    python launch.py --config=configs/spnet_penn.py:demo

The network is that of the released weights: 6 pyramids, action blocks on the last two, clips of 8 frames of 256 x 256.
The settings are those of the script: poses from 32 persons of MPII and actions from 4 clips per step, RMSprop with
learning rate 1e-3. First 2 epochs of the action blocks only, then 28 epochs of the full network, with the learning rate
divided by 10 after 14 and 24 of them. An epoch is a sixth of MPII's number of persons, in steps. To start from the
weights of a pose network: --config.init_from=DIR. deephar's script alternates between the two tasks, with an optimizer
for each; here a step adds their gradients. We do not know the paper's figures, and have not run this experiment to its
end.

The demo: 2 pyramids of 3 levels, narrow, on generated data in the layouts of both sets, 64 x 64.
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.data import presets, transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.mixed import Mixed
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.penn.settings import Penn
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.deephar import Deephar
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.samples import Samples
from jaxhar.training.experiment import Experiment, Stage, Train, pick
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import QUICK, Optimizer, keras_rmsprop

ACTION_ONLY = Multitask(pose=0.0, visible=0.0, action=0.01)
EPOCH = 22_246 // 6  # steps
EVAL = Eval(views=("single", "multi"), scorers=(Pose(), Action(), Deephar(), Samples()))


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which, ("Penn_Action", "MPII"), demo=demo, paper=paper)


def paper() -> Experiment:
    model = zoo.config("spnet-penn")
    rmsprop = Optimizer(keras_rmsprop, learning_rate=1e-3)
    return Experiment(
        name="spnet-penn",
        model=model,
        data=Mixed(
            {"penn": Penn(augment=presets.PENN_CLIPS_TPAMI, clip_frames=model.num_frames), "mpii": MPII()},
            "penn",
            stills={"mpii": 32},
            clips={"penn": 4},
        ),
        losses=Multitask(pose=1.0, visible=0.01, action=0.01, clip_pose=0.0),
        optimizer=replace(
            rmsprop,
            schedule=optax.piecewise_constant_schedule,
            schedule_options={"boundaries_and_scales": {14 * EPOCH: 0.1, 24 * EPOCH: 0.1}},
        ),
        train=Train(steps=None, eval_every=EPOCH, checkpoint_every=500),
        stages={
            "heads": Stage(2 * EPOCH, replace(rmsprop, table=zoo.trunk_frozen(model)), ACTION_ONLY, {"stills": {}}),
            "all": Stage(28 * EPOCH),
        },
        evals={"penn": replace(EVAL, batch=4, published=(zoo.entry("spnet-penn").published,))},
    )


def demo() -> Experiment:
    model = replace(
        zoo.config("spnet-penn"),
        image_size=64,
        num_pyramids=2,
        action_pyramids=(1, 2),
        num_levels=3,
        growth=48,
        num_pose_features=48,
        num_visual_features=48,
    )
    augment = replace(transforms.NONE, scales=(0.75, 0.85, 1.0), fixed_scale=0.75, hflip=(False, True))
    clips = replace(augment, subsampling=(3,), fixed_subsampling=3)
    shape = {"image_size": 64, "augment": clips, "augment_stills": augment}
    return Experiment(
        name="spnet-penn-demo",
        model=model,
        data=Mixed(
            {
                "penn": Penn(
                    synth=Synth(450, 60, 450, 30, frames=(24, 32), size=(160, 120), clutter=0.0),
                    frame_rate=25.0,
                    clip_frames=model.num_frames,
                    **shape,
                ),
                "mpii": MPII(synth=Synth(600, 30, 300, 15, size=(200, 150), clutter=0.0), **shape),
            },
            "penn",
            stills={"mpii": 32},
            clips={"penn": 4},
        ),
        losses=Multitask(pose=1.0, visible=0.01, action=0.01),
        optimizer=QUICK,
        train=Train(steps=None, checkpoint_every=200),
        stages={
            "heads": Stage(60, replace(QUICK, table=zoo.trunk_frozen(model)), ACTION_ONLY, {"stills": {}}),
            "all": Stage(500),
        },
        evals={"penn": EVAL},
    )
