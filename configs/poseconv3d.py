"""PoseConv3D: actions of skeletons in pictures (Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR'22).

    JAXHAR_DATA=DIR python launch.py --config=configs/poseconv3d.py:ntu60_xsub_joint        DIR/pyskl/ntu60_hrnet.pkl
    JAXHAR_DATA=DIR python launch.py --config=configs/poseconv3d.py:k400_joint     DIR/pyskl/k400_hrnet.pkl, kpfiles/
    JAXHAR_DATA=DIR python launch.py --config=configs/poseconv3d.py:rgbpose   DIR/pyskl-videos/ntu60_hrnet.pkl, videos/
    python launch.py --config=configs/poseconv3d.py:own:set.pkl
    python launch.py --config=configs/poseconv3d.py:demo

SlowOnly on volumes of 48 frames, 56 x 56 in training and 64 x 64 in evaluation, of joints or of limbs, by the settings
of mmaction2: batches of 128, SGD, a cosine from 0.2 to 0 over 240 epochs (24 of ten repetitions each). Published for
NTU RGB+D: cross-subject 93.7 % by joints and 93.4 % by limbs, cross-view 96.5 % and 96.0 %; NTU RGB+D 120,
cross-subject, 85.9 %; FineGYM 93.8 % mean-class accuracy; Kinetics-400 47.3 %. We have not run these.

rgbpose is RGBPose-Conv3D, on 8 frames and 32 moments of the skeletons, by mmaction2's settings: batches of 48, SGD, a
rate of 0.0075 that falls by ten after 12 and 16 of 20 epochs. mmaction2 starts both paths from networks that were
trained alone (--config.init_from).

The demo: a narrow network on 16 frames of generated persons, 12 actions of one and 3 of two, whom it has not seen in
training.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import optax

from jaxhar import zoo
from jaxhar.data.generate.film import Synth
from jaxhar.data.pyskl import folder as pyskl_folder
from jaxhar.data.pyskl.settings import Pyskl
from jaxhar.data.pyskl.videos import PysklVideos
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.results import Published
from jaxhar.evaluation.samples import Samples
from jaxhar.training.experiment import Experiment, Train, pick
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer

BATCH = 128
#: Name -> file in DIR/pyskl, division, network, number of classes, training samples, weight decay, published accuracy.
VARIANTS = {
    "ntu60_xsub_joint": ("ntu60_hrnet.pkl", "xsub", "poseconv3d-ntu60-joint", 60, 40_091, 3e-4, 0.937),
    "ntu60_xsub_limb": ("ntu60_hrnet.pkl", "xsub", "poseconv3d-ntu60-limb", 60, 40_091, 3e-4, 0.934),
    "ntu60_xview_joint": ("ntu60_hrnet.pkl", "xview", "poseconv3d-ntu60-joint", 60, 37_646, 3e-4, 0.965),
    "ntu60_xview_limb": ("ntu60_hrnet.pkl", "xview", "poseconv3d-ntu60-limb", 60, 37_646, 3e-4, 0.960),
    "ntu120_xsub_joint": ("ntu120_hrnet.pkl", "xsub", "poseconv3d-ntu60-joint", 120, 63_026, 3e-4, 0.859),
    "gym_joint": ("gym_hrnet.pkl", "", "poseconv3d-ntu60-joint", 99, 20_484, 3e-4, None),
    "k400_joint": ("k400_hrnet.pkl", "", "poseconv3d-k400-joint", 400, 240_000, 1e-4, 0.473),
}


def get_config(which: str = "") -> Experiment:
    """The experiment `which`; "own:FILE" is one on a pickle of your own, with splits train and val."""
    if which.startswith("own:"):
        return own(Path(which.removeprefix("own:")).expanduser())
    variants = {name: partial(paper, name) for name in VARIANTS}
    variants["rgbpose"] = rgbpose
    variants["own:FILE"] = partial(own, Path("FILE"))  # for the list of all
    return pick(which, ("pyskl",), demo=demo, paper=variants["ntu60_xsub_joint"], **variants)


def _trained(name: str, model, data: Pyskl, samples: int, decay: float, accuracy: float | None) -> Experiment:
    epoch = max(1, 10 * samples // BATCH)  # steps: the training set is read ten times in an epoch
    return Experiment(
        name=name,
        model=model,
        data=data,
        losses=Multitask(),
        optimizer=Optimizer(
            optax.sgd,
            {"momentum": 0.9},
            learning_rate=0.2,
            schedule=optax.cosine_decay_schedule,
            clip_norm=40.0,
            decay=((".*", decay),),
            decoupled=False,
        ),
        train=Train(steps=24 * epoch, eval_every=epoch, checkpoint_every=500, best="accuracy/single"),
        evals={
            "skeletons": Eval(
                views=("single", "multi"),
                scorers=(Action("sum"), Samples()),
                batch=16,
                published=() if accuracy is None else (Published("accuracy/multi", accuracy, "pyskl"),),
            )
        },
    )


def paper(name: str) -> Experiment:
    file, division, network, actions, samples, decay, accuracy = VARIANTS[name]
    return _trained(
        f"poseconv3d_{name}",
        replace(zoo.config(network), num_actions=actions),
        Pyskl(division=division, num_actions=actions, clips_per_batch=BATCH, file=file),
        samples,
        decay,
        accuracy,
    )


def rgbpose() -> Experiment:
    batch, samples = 48, 40_091
    epoch = 10 * samples // batch  # steps
    return Experiment(
        name="rgbpose_ntu60_xsub",
        model=zoo.config("rgbpose-conv3d-ntu60"),
        data=PysklVideos(num_actions=60, clips_per_batch=batch, file="ntu60_hrnet.pkl"),
        losses=Multitask(),
        optimizer=Optimizer(
            optax.sgd,
            {"momentum": 0.9},
            learning_rate=0.0075,
            schedule=optax.piecewise_constant_schedule,
            schedule_options={"boundaries_and_scales": {12 * epoch: 0.1, 16 * epoch: 0.1}},
            clip_norm=40.0,
            decay=((".*", 1e-4),),
            decoupled=False,
        ),
        train=Train(steps=20 * epoch, eval_every=epoch, checkpoint_every=500, best="accuracy/single"),
        evals={"skeletons": Eval(views=("single", "multi"), scorers=(Action("sum"), Samples()), batch=4)},
    )


def own(file: Path) -> Experiment:
    """The network of NTU RGB+D for the classes of a file, and as many steps as its samples ask for."""
    count, actions = pyskl_folder.size(file, "train")
    data = Pyskl(root=str(file.absolute()), division="", clips_per_batch=BATCH)
    model = replace(zoo.config("poseconv3d-ntu60-joint"), num_actions=actions)
    return _trained(f"poseconv3d_{file.stem}", model, data, count, 3e-4, None)


def demo() -> Experiment:
    synth = Synth(900, 150, 20, 20, frames=(30, 60))
    return Experiment(
        name="poseconv3d-demo",
        model=replace(
            zoo.config("poseconv3d-ntu60-joint"),
            base=8,
            blocks=(1, 2, 1),
            num_actions=15,
            num_frames=16,
            size=24,
            eval_size=None,
            dropout=0.2,
        ),
        data=Pyskl(synth=synth, clip_frames=16, image_size=24, eval_size=24, clips_per_batch=16, clips=3),
        losses=Multitask(),
        optimizer=Optimizer(
            optax.adam,
            learning_rate=3e-3,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 20},
            clip_norm=10.0,
        ),
        train=Train(steps=500, checkpoint_every=250),
        evals={"skeletons": Eval(views=("single", "multi"), scorers=(Action("sum"), Samples()), batch=30)},
    )
