"""Penn Action: joints and actions together (Luvizon et al., CVPR'18, section 5.3).

    python launch.py --config=configs/penn.py             the paper's experiment if the data is found, else the demo
    python launch.py --config=configs/penn.py:paper --config.data.root=DIR
    python launch.py --config=configs/penn.py:demo

The paper's network: 4 prediction blocks, clips of 16 frames, 256 x 256 pixels. Published: 98.6 % of the test sequences
recognised, multi-clip with flips, after training pose on MPII as well. Here pose and action are trained in one go on
Penn Action alone, with the loss weights of the authors' joint training script. It has not been run to its end by us.

The demo: a narrow network of 2 blocks on generated videos in the layout of Penn Action, 64 x 64 pixels, clips of
8 frames; figures in README.md.
"""

import os
from dataclasses import replace
from pathlib import Path

import optax

from jaxhar import zoo
from jaxhar.config import Experiment, Train
from jaxhar.data import transforms
from jaxhar.data.penn import Penn
from jaxhar.data.synthetic import Synth
from jaxhar.errors import Usage
from jaxhar.losses import Multitask
from jaxhar.metrics import PCK
from jaxhar.optim import Optimizer, keras_rmsprop, muon
from jaxhar.scores import Published

BANNER = """\
EMBEDDED DEMO: no Penn Action on this machine, so a narrow network learns from generated videos.
For the paper's experiment, unpack Penn_Action.tar.gz and run
    python launch.py --config=configs/penn.py:paper --config.data.root=/path/to/Penn_Action
"""


def get_config(which: str = "") -> Experiment:
    """The demo or the paper's experiment; without a word, the paper's if $JAXHAR_DATA/Penn_Action is there."""
    if not which:
        home = os.environ.get("JAXHAR_DATA")
        which = "paper" if home and (Path(home) / "Penn_Action").is_dir() else "demo"
    if which not in ("demo", "paper"):
        raise Usage(f"configs/penn.py:{which}: there are only :demo and :paper")
    return demo() if which == "demo" else paper()


def paper() -> Experiment:
    model = zoo.config("reception-penn")
    return Experiment(
        name="penn",
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
        metrics=(PCK(0.2),),
        protocols=("single", "multi", "authors"),
        eval_batch=4,
        published=(
            Published("accuracy/multi", 0.986, "multi-clip with flips, pose trained on MPII as well (CVPR'18)"),
        ),
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
    # Tighter boxes make the most of 64 pixels; ten minutes leave no time to learn from turned crops.
    augment = replace(
        transforms.NONE,
        scales=(0.75, 0.85, 1.0),
        fixed_scale=0.75,
        hflip=(False, True),
        subsampling=(3,),
        fixed_subsampling=3,
    )
    # The box of a clip holds its whole motion; in the box of a single frame the person would always fill the middle.
    shifts = (-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0)
    return Experiment(
        name="penn-demo",
        model=model,
        data=Penn(
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
        optimizer=Optimizer(
            rule=muon,
            learning_rate=0.02,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 40},
            clip_norm=10.0,
        ),
        train=Train(steps=1600, eval_every=0, checkpoint_every=400),
        metrics=(PCK(0.2),),
        protocols=("single", "multi"),
        eval_batch=10,
        banner=BANNER,
    )
