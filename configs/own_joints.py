"""Joints of one's own: photos or frames of videos with keypoints in COCO's format, from COCO, CVAT or Label Studio.

    python launch.py --config=configs/own_joints.py:DIR
    python launch.py --config=configs/own_joints.py:DIR,WEIGHTS --config.train.steps=4000
    python launch.py --config=configs/own_joints.py:demo

DIR is what `jaxhar data check coco --root DIR` reads (docs/data.md). WEIGHTS, from which the training starts, is the
name of a network with published weights, a model folder, a .safetensors file or a training run; the default is the
published reception-mpii, fetched once (16 joints of MPII). The network's joints and size of pictures are those of the
weights; joints that DIR does not label are not trained.

The settings are our choice: a low rate, moderate turns and scales. Where people overlap, and `jaxhar predict` gets
their boxes, it helps to hide what lies around each box, see `jaxhar.data.coco.settings.Surroundings`:

    --config.data.augment_stills.around="(0, 0.05, 0.1, None)" --config.data.augment.fixed_around=0.03

The demo does so: a narrow network from random weights on generated scenes of one to six persons, 64 x 64, with COCO's
joints.
"""

from dataclasses import replace
from pathlib import Path

import optax

from jaxhar import zoo
from jaxhar.core.network import frame_size
from jaxhar.core.skeleton import COCO
from jaxhar.data.coco.settings import Coco, Surroundings
from jaxhar.data.generate.film import Synth
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PCK
from jaxhar.evaluation.oks import OKSAP
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.samples import Samples
from jaxhar.host.errors import Usage
from jaxhar.predict.predictor import located, needs_pose
from jaxhar.training.experiment import Experiment, Train
from jaxhar.training.losses.maps import Maps
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import QUICK_FULL, Optimizer
from jaxhar.weights import checkpoint

WEIGHTS = "reception-mpii"
#: What the demo's training sees around a person's box, sometimes all: it is to find joints without a box, too.
AROUND = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, None)
EVALS = {"own": Eval(views=("single", "flip"), scorers=(Pose((PCK(0.2),)), OKSAP(), Samples()))}


def get_config(which: str = "") -> Experiment:
    """The experiment for a folder, "DIR" or "DIR,WEIGHTS", or the demo."""
    if which == "demo":
        return demo()
    folder, _, weights = which.partition(",")
    if not folder:
        raise Usage("the folder is missing: give configs/own_joints.py:DIR, or DIR,WEIGHTS, or :demo")
    return own(folder, weights or WEIGHTS)


def own(folder: str, weights: str) -> Experiment:
    path = located(weights)
    _, meta = checkpoint.load_model(path)
    needs_pose(meta.config, path)
    skeleton = meta.joints("training joints")
    assert meta.config.pose_shape is not None  # so says needs_pose
    turns = tuple(range(-30, 31, 5))
    augment = Surroundings(angles=turns, scales=(0.8, 0.9, 1.0, 1.15, 1.3), hflip=(False, True))
    maps = "maps" in meta.config.predicts
    return Experiment(
        name=f"joints-{Path(folder).stem}",
        model=meta.config,
        data=Coco(
            root=folder,
            skeleton=skeleton,
            dims=meta.config.pose_shape[1],
            image_size=frame_size(meta.config),
            augment=augment,
            augment_stills=augment,
            stills_per_batch=16,
        ),
        losses=Maps(weight=1 / (2 * len(skeleton))) if maps else Multitask(pose=1.0, visible=0.01),
        optimizer=Optimizer(
            rule=optax.adamw,
            options={"weight_decay": 1e-4},
            learning_rate=2e-4,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 100},
            clip_norm=10.0,
        ),
        train=Train(steps=2000, eval_every=500, checkpoint_every=250, best="pck@0.2"),
        evals=EVALS,
        init_from=str(path),
    )


def demo() -> Experiment:
    model = replace(
        zoo.config("reception-mpii"), image_size=64, num_joints=len(COCO), num_blocks=2, width=192, stem_width=12
    )
    augment = Surroundings(
        scales=(0.8, 0.9, 1.0), fixed_scale=0.9, hflip=(False, True), around=AROUND, fixed_around=0.03
    )
    return Experiment(
        name="joints-demo",
        model=model,
        data=Coco(
            synth=Synth(600, 60, 600, 60, size=(200, 150), clutter=0.0),
            augment=augment,
            augment_stills=augment,
            image_size=64,
            stills_per_batch=48,
        ),
        losses=Multitask(pose=1.0, visible=0.01),
        optimizer=QUICK_FULL,
        train=Train(steps=1500, checkpoint_every=200),
        evals=EVALS,
        banner=(
            "EMBEDDED DEMO: a narrow network learns joints from generated scenes in COCO's format.\n"
            "For pictures of your own: --config=configs/own_joints.py:DIR\n"
        ),
    )
