"""Penn Action: 2-D joints and actions (Luvizon et al., CVPR'18, section 5.3).

    python launch.py --config=configs/penn.py             the paper's experiment if the data is found, else the demo
    JAXHAR_DATA=DIR python launch.py --config=configs/penn.py:paper       DIR has the folders Penn_Action and MPII
    python launch.py --config=configs/penn.py:alone --config.data.root=DIR
    python launch.py --config=configs/penn.py:demo

The paper's network: 4 prediction blocks, clips of 16 frames, 256 x 256 pixels. Three stages: the pose network, on
batches of 24 single frames, three quarters from MPII and one from Penn Action; the action heads, on two clips per step,
with the pose network frozen; the full network, with a tenth of the learning rate, for 5 epochs. The paper lowers the
learning rates on plateaus; the numbers of steps here are our choice. Published: 98.6 % accuracy, multi-clip with flips.
We have not run this experiment to its end.

`alone`: the same network without MPII; pose and action are trained together, with the loss weights of deephar's script
for joint training.

The demo: a narrow network of 2 blocks on generated videos in the layout of Penn Action, 64 x 64 pixels, clips of
8 frames; figures in README.md.
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.data import transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.mixed import Mixed
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.penn.settings import Penn
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.deephar import Deephar
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PCK
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.results import Published
from jaxhar.evaluation.samples import Samples
from jaxhar.training.experiment import Experiment, Stage, Train, pick
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import QUICK, Optimizer, keras_rmsprop, nesterov

EVAL = Eval(
    views=("single", "multi"),
    scorers=(Pose((PCK(0.2),)), Action(), Deephar(pose=(PCK(0.2),)), Samples()),
    batch=4,
    published=(Published("accuracy/multi", 0.986, "multi-clip with flips, pose trained on MPII as well (CVPR'18)"),),
)
EPOCH = 1258 // 2  # steps: training sequences, two clips per step


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which, ("Penn_Action", "MPII"), demo=demo, paper=paper, alone=alone)


def paper() -> Experiment:
    model = zoo.config("reception-penn")
    sgd = Optimizer(nesterov, {"momentum": 0.98}, 2e-4, optax.piecewise_constant_schedule)
    later = {"boundaries_and_scales": {40 * EPOCH: 0.2, 60 * EPOCH: 0.2}}
    return Experiment(
        name="penn",
        model=model,
        data=Mixed({"penn": Penn(clip_frames=model.num_frames), "mpii": MPII()}, "penn", clips={"penn": 2}),
        losses=Multitask(pose=1.0, visible=0.01, action=1.0),
        optimizer=Optimizer(
            rule=keras_rmsprop,
            learning_rate=1e-3,
            schedule=optax.piecewise_constant_schedule,
            schedule_options={"boundaries_and_scales": {100_000: 0.2, 130_000: 0.2}},
        ),
        train=Train(steps=None, eval_every=10 * EPOCH, checkpoint_every=500),
        stages={
            "pose": Stage(150_000, data={"stills": {"mpii": 18, "penn": 6}, "clips": {}}),
            "heads": Stage(
                75 * EPOCH,
                replace(sgd, table=zoo.trunk_frozen(model), schedule_options=later),
                Multitask(pose=0.0, visible=0.0, action=1.0),
            ),
            "all": Stage(5 * EPOCH, replace(sgd, learning_rate=2e-5)),
        },
        evals={"penn": EVAL},
    )


def alone() -> Experiment:
    model = zoo.config("reception-penn")
    return Experiment(
        name="penn-alone",
        model=model,
        data=Penn(
            clip_frames=model.num_frames,
            image_size=model.image_size,
            clips_per_batch=4,
            stills_per_batch=32,
        ),
        losses=Multitask(pose=1.0, visible=0.01, action=0.01),
        optimizer=Optimizer(
            rule=keras_rmsprop,
            learning_rate=1e-3,
            schedule=optax.piecewise_constant_schedule,
            schedule_options={"boundaries_and_scales": {20_000: 0.1, 32_000: 0.1}},
        ),
        train=Train(steps=40_000, eval_every=2_000, checkpoint_every=500, best="accuracy/single"),
        evals={"penn": EVAL},
    )


def demo() -> Experiment:
    model = replace(
        zoo.config("reception-penn"),
        image_size=64,
        num_blocks=2,
        width=192,
        stem_width=12,
        num_frames=8,
        pose_stream_width=112,
        visual_stream_width=112,
    )
    # Tighter boxes, because crops have only 64 pixels. No rotation: ten minutes of training are too short for it.
    augment = replace(
        transforms.NONE,
        scales=(0.75, 0.85, 1.0),
        fixed_scale=0.75,
        hflip=(False, True),
        subsampling=(3,),
        fixed_subsampling=3,
    )
    # Shifts, because in the box of a single frame the person is always in the middle, but not in the box of a clip.
    shifts = (-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0)
    quick = replace(QUICK, schedule_options={"warmup_steps": 40})
    return Experiment(
        name="penn-demo",
        model=model,
        data=Penn(
            frame_rate=25.0,
            synth=Synth(
                train_sequences=1500,
                test_sequences=120,
                train_performers=1500,
                test_performers=60,
                frames=(24, 32),
                size=(160, 120),
                clutter=0.0,
            ),
            augment=augment,
            augment_stills=replace(augment, trans_x=shifts, trans_y=shifts),
            clip_frames=model.num_frames,
            image_size=model.image_size,
            clips_per_batch=2,
            stills_per_batch=56,
        ),
        losses=Multitask(pose=1.0, visible=0.01, action=0.001, clip_pose=0.3),
        optimizer=quick,
        train=Train(steps=None, checkpoint_every=400),
        stages={
            "pose": Stage(1200, data={"stills_per_batch": 72, "clips_per_batch": 0}),
            "heads": Stage(
                300,
                replace(quick, table=zoo.trunk_frozen(model)),
                Multitask(pose=0.0, visible=0.0, action=1.0),
                {"stills_per_batch": 0, "clips_per_batch": 8},
            ),
            "all": Stage(150, replace(quick, learning_rate=0.002)),
        },
        evals={
            "penn": Eval(
                views=("single", "multi"), scorers=(Pose((PCK(0.2),)), Action(), Deephar(), Samples()), batch=10
            )
        },
    )
