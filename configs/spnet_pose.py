"""SPNet without actions, on four data sets at once (Luvizon et al., TPAMI'20), as in deephar's train_pose_baseline.py.

    JAXHAR_DATA=DIR python launch.py --config=configs/spnet_pose.py:paper
    python launch.py --config=configs/spnet_pose.py:demo

DIR has the folders MPII, Human3.6M, Penn_Action and nturgb+d. The network: 8 pyramids, 17 joints in 3-D, photos of
256 x 256. Batches of 14 persons of MPII, 14 photos of Human3.6M, 2 frames of Penn Action and 2 of NTU; RMSprop with
learning rate 1e-3, 60 epochs of MPII. We do not know the paper's figures, and have not run this experiment to its end.

The demo: 2 pyramids of 3 levels, narrow, on generated data in the layouts of the four sets, 64 x 64.
"""

from dataclasses import replace

from jaxhar import zoo
from jaxhar.core.skeleton import PA17
from jaxhar.data import presets, transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.mixed import Mixed
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.ntu.settings import NTU
from jaxhar.data.penn.settings import Penn
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PCKh
from jaxhar.evaluation.metrics_3d import MPJPE, ProcrustesMPJPE
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.samples import Samples
from jaxhar.evaluation.world import World
from jaxhar.training.experiment import Experiment, Train, pick
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import QUICK, Optimizer, keras_rmsprop

EPOCH = 22_246 // 14  # steps: persons of MPII's training split, 14 per step
EVAL = Eval(("single", "flip"), (World((MPJPE(), MPJPE(deephar=True), ProcrustesMPJPE())), Samples()))
MPII_EVAL = Eval(scorers=(Pose((PCKh(0.5),)), Samples()), part="mpii")


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which, ("MPII", "Human3.6M", "Penn_Action", "nturgb+d"), demo=demo, paper=paper)


def paper() -> Experiment:
    shape = {"skeleton": PA17, "dims": 3}
    return Experiment(
        name="spnet-pose",
        model=zoo.config("spnet-pose"),
        data=Mixed(
            {
                "mpii": MPII(**shape),
                "h36m": H36M(augment_stills=presets.HUMAN36M, **shape),
                "penn": Penn(augment_stills=presets.PENN_CLIPS_TPAMI, **shape),
                "ntu": NTU(augment_stills=presets.NTU_STILLS_TPAMI, keep_every=2, **shape),
            },
            "h36m",
            stills={"mpii": 14, "h36m": 14, "penn": 2, "ntu": 2},
        ),
        losses=Multitask(pose=1.0, visible=0.01),
        optimizer=Optimizer(keras_rmsprop, learning_rate=1e-3),
        train=Train(steps=60 * EPOCH, eval_every=EPOCH, checkpoint_every=500),
        evals={
            "h36m": replace(EVAL, published=(zoo.entry("spnet-pose").published,)),
            "mpii": replace(MPII_EVAL, views=("single", "flip")),
        },
    )


def demo() -> Experiment:
    model = replace(zoo.config("spnet-pose"), image_size=64, num_pyramids=2, num_levels=3, growth=48)
    augment = replace(transforms.NONE, scales=(0.8, 0.9, 1.0), hflip=(False, True))
    shape = {"skeleton": PA17, "dims": 3, "image_size": 64, "augment": augment, "augment_stills": augment}
    synth = Synth(600, 30, 300, 15, frames=(4, 4), size=(160, 120), clutter=0.0)
    rooms = Synth(60, 30, 5, 2, frames=(6, 6), size=(160, 160), clutter=0.0)
    return Experiment(
        name="spnet-pose-demo",
        model=model,
        data=Mixed(
            {
                "mpii": MPII(synth=synth, **shape),
                "h36m": H36M(synth=rooms, **shape),
                "penn": Penn(synth=replace(synth, train_sequences=150, train_performers=150), **shape),
                "ntu": NTU(synth=Synth(30, 15, 10, 5, frames=(4, 4), size=(160, 90), clutter=0.0), **shape),
            },
            "h36m",
            stills={"mpii": 14, "h36m": 14, "penn": 2, "ntu": 2},
        ),
        losses=Multitask(pose=1.0, visible=0.01),
        optimizer=QUICK,
        train=Train(steps=500, checkpoint_every=100),
        evals={"h36m": replace(EVAL, batch=24), "mpii": replace(MPII_EVAL, batch=24)},
    )
