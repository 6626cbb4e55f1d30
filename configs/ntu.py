"""NTU RGB+D: 3-D joints and actions (Luvizon et al., CVPR'18, section 5.4).

    python launch.py --config=configs/ntu.py              the paper's experiment if the data is found, else the demo
    JAXHAR_DATA=DIR python launch.py --config=configs/ntu.py:paper        DIR has the folders nturgb+d, MPII, Human3.6M
    python launch.py --config=configs/ntu.py:demo

The paper's network: 4 blocks, 20 joints, clips of 20 frames of 256 x 256. Three stages: the pose network, on batches of
24 photos, 10 % of NTU, 45 % of MPII and 45 % of Human3.6M; the action heads, on two clips per step, with the pose
network frozen; the full network, with a tenth of the learning rate, for 5 epochs. The paper lowers the learning rates
on plateaus; the numbers of steps here are our choice. Published: 85.5 % cross-subject. We have not run this experiment
to its end.

The demo: a narrow network of 2 blocks on generated data in the layouts of the three sets, 64 x 64, clips of 8 frames.
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.core.skeleton import PA20
from jaxhar.data import presets, transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.mixed import Mixed
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.ntu.settings import NTU
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.deephar import Deephar
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.results import Published
from jaxhar.evaluation.samples import Samples
from jaxhar.training.experiment import Experiment, Stage, Train, pick
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import QUICK, Optimizer, keras_rmsprop, nesterov

EPOCH = 40_091 // 2  # steps: clips of the training subjects, two per step
EVAL = Eval(views=("single", "multi"), scorers=(Pose(), Action(), Deephar(), Samples()))
PUBLISHED = (Published("accuracy/multi", 0.855, "cross-subject (CVPR'18)"),)


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which, ("nturgb+d", "MPII", "Human3.6M"), demo=demo, paper=paper)


def paper() -> Experiment:
    model = zoo.config("reception-ntu")
    shape = {"skeleton": PA20, "dims": 3}
    sgd = Optimizer(nesterov, {"momentum": 0.98}, 2e-4, optax.piecewise_constant_schedule)
    return Experiment(
        name="ntu",
        model=model,
        data=Mixed(
            {
                "ntu": NTU(clip_frames=model.num_frames, frame_rate=30.0, **shape),
                "mpii": MPII(**shape),
                "h36m": H36M(augment_stills=presets.HUMAN36M_CVPR, **shape),
            },
            "ntu",
            clips={"ntu": 2},
        ),
        losses=Multitask(pose=1.0, visible=0.01, action=1.0),
        optimizer=Optimizer(
            keras_rmsprop,
            learning_rate=1e-3,
            schedule=optax.piecewise_constant_schedule,
            schedule_options={"boundaries_and_scales": {120_000: 0.2, 160_000: 0.2}},
        ),
        train=Train(steps=None, eval_every=EPOCH, checkpoint_every=500),
        stages={
            "pose": Stage(200_000, data={"stills": {"ntu": 2, "mpii": 11, "h36m": 11}, "clips": {}}),
            "heads": Stage(
                20 * EPOCH,
                replace(
                    sgd,
                    table=zoo.trunk_frozen(model),
                    schedule_options={"boundaries_and_scales": {10 * EPOCH: 0.2, 15 * EPOCH: 0.2}},
                ),
                Multitask(pose=0.0, visible=0.0, action=1.0),
            ),
            "all": Stage(5 * EPOCH, replace(sgd, learning_rate=2e-5)),
        },
        evals={"ntu": replace(EVAL, batch=2, published=PUBLISHED)},
    )


def demo() -> Experiment:
    model = replace(
        zoo.config("reception-ntu"),
        image_size=64,
        num_blocks=2,
        width=192,
        stem_width=12,
        num_frames=8,
        pose_stream_width=112,
        visual_stream_width=112,
    )
    augment = replace(transforms.NONE, scales=(0.8, 0.9, 1.0), hflip=(False, True))
    clips = replace(augment, subsampling=(3,), fixed_subsampling=3)
    shape = {"skeleton": PA20, "dims": 3, "image_size": 64, "augment": clips, "augment_stills": augment}
    return Experiment(
        name="ntu-demo",
        model=model,
        data=Mixed(
            {
                "ntu": NTU(
                    synth=Synth(150, 30, 20, 10, frames=(24, 32), size=(160, 90), clutter=0.0),
                    clip_frames=model.num_frames,
                    frame_rate=30.0,
                    **shape,
                ),
                "mpii": MPII(synth=Synth(600, 15, 300, 5, size=(200, 150), clutter=0.0), **shape),
                "h36m": H36M(synth=Synth(60, 15, 5, 2, frames=(6, 6), size=(160, 160), clutter=0.0), **shape),
            },
            "ntu",
            clips={"ntu": 8},
        ),
        losses=Multitask(pose=1.0, visible=0.01, action=0.01),
        optimizer=QUICK,
        train=Train(steps=None, checkpoint_every=200),
        stages={
            "pose": Stage(400, data={"stills": {"ntu": 16, "mpii": 16, "h36m": 16}, "clips": {}}),
            "heads": Stage(200, replace(QUICK, table=zoo.trunk_frozen(model)), Multitask(pose=0, visible=0, action=1)),
            "all": Stage(40, replace(QUICK, learning_rate=2e-3, schedule_options={"warmup_steps": 5})),
        },
        evals={"ntu": EVAL},
    )
