"""MPII: 2-D joints in photos (Luvizon et al., CVPR'18, section 5.1), as in deephar's train_mpii_singleperson.py.

    python launch.py --config=configs/mpii.py             the paper's experiment if the data is found, else the demo
    python launch.py --config=configs/mpii.py:paper --config.data.root=DIR
    python launch.py --config=configs/mpii.py:demo

The paper's network: 8 prediction blocks, photos of 256 x 256, batches of 24, 120 epochs of RMSprop with learning rate
1e-3, divided by 5 after epochs 80 and 100. Published: 89.1 PCKh@0.5 on the validation split from a single crop; 91.2 on
the test split from several crops with flips. We have not run this experiment to its end.

The demo: a narrow network of 2 blocks on generated photos in MPII's layout, 64 x 64.
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.data import transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii.settings import MPII
from jaxhar.evaluation.deephar import Deephar
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import AUCh, PCKh
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.results import Published
from jaxhar.evaluation.samples import Samples
from jaxhar.training.experiment import Experiment, Train, pick
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import QUICK, Optimizer, keras_rmsprop

EPOCH = 22_246 // 24  # steps: persons of the training split, in batches of 24
METRICS = (PCKh(0.5), PCKh(0.2), AUCh())


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which, ("MPII",), demo=demo, paper=paper)


def paper() -> Experiment:
    return Experiment(
        name="mpii",
        model=zoo.config("reception-mpii"),
        data=MPII(stills_per_batch=24),
        losses=Multitask(pose=1.0, visible=0.01),
        optimizer=Optimizer(
            rule=keras_rmsprop,
            learning_rate=1e-3,
            schedule=optax.piecewise_constant_schedule,
            schedule_options={"boundaries_and_scales": {80 * EPOCH: 0.2, 100 * EPOCH: 0.2}},
        ),
        train=Train(steps=120 * EPOCH, eval_every=5 * EPOCH, checkpoint_every=500, best="pckh@0.5"),
        evals={
            "mpii": Eval(
                views=("single", "flip", "multi"),
                scorers=(Pose(METRICS), Deephar(pose=METRICS), Samples()),
                published=(
                    Published("pckh@0.5", 0.891, "validation, single crop (deephar's README)"),
                    Published("pckh@0.5/multi", 0.912, "test set, several crops with flips (CVPR'18)"),
                ),
            )
        },
    )


def demo() -> Experiment:
    model = replace(zoo.config("reception-mpii"), image_size=64, num_blocks=2, width=192, stem_width=12)
    augment = replace(transforms.NONE, scales=(0.8, 0.9, 1.0), fixed_scale=0.9, hflip=(False, True))
    return Experiment(
        name="mpii-demo",
        model=model,
        data=MPII(
            synth=Synth(1200, 120, 600, 60, size=(200, 150), clutter=0.0),
            augment_stills=augment,
            augment=augment,
            image_size=64,
            stills_per_batch=48,
        ),
        losses=Multitask(pose=1.0, visible=0.01),
        optimizer=QUICK,
        train=Train(steps=1500, checkpoint_every=200),
        evals={"mpii": Eval(views=("single", "flip", "multi"), scorers=(Pose(METRICS), Samples()), batch=24)},
    )
