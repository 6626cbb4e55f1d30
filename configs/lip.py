"""LIP: 2-D joints of one person, by ResNet-18 and three transposed convolutions (single-person-pose-estimation).

    python launch.py --config=configs/lip.py             the original's experiment if the data is found, else the demo
    python launch.py --config=configs/lip.py:paper --config.data.root=DIR
    python launch.py --config=configs/lip.py:demo

The original's settings: whole pictures resized to 256 x 256, heat maps of 64 x 64 with sigma 1, mean squared error over
all values, Adam with learning rate 1e-4, batches of 32, 20 epochs. It starts from ImageNet's weights: `jaxhar weights
resnet18` fetches them; --config.init_from=None starts from random ones. Published: a validation error of 0.00031. We
have not run this experiment to its end.

The demo: a narrow ResNet-18 on generated pictures in LIP's layout, 128 x 128. It has no sigmoid and targets of sigma 2:
with the original's settings its maps would still be empty at the end of the demo.
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.data.generate.film import Synth
from jaxhar.data.lip.settings import LIP
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.map_error import MapError
from jaxhar.evaluation.metrics import PCKh
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.samples import Samples
from jaxhar.training.experiment import Experiment, Train, pick
from jaxhar.training.losses.maps import Maps
from jaxhar.training.optim import QUICK_FULL, Optimizer

EPOCH = 30_462 // 32  # steps: rows of the training split, in batches of 32
METRICS = (PCKh(0.5), PCKh(0.2))


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which, ("LIP",), demo=demo, paper=paper)


def paper() -> Experiment:
    return Experiment(
        name="lip",
        model=zoo.config("simple-baseline-lip"),
        data=LIP(),
        losses=Maps("lip", weight=1 / 16),
        optimizer=Optimizer(rule=optax.adam, learning_rate=1e-4),
        train=Train(steps=20 * EPOCH, eval_every=EPOCH, checkpoint_every=500, best="-map_mse"),
        init_from="torchvision:resnet18",
        evals={
            "lip": Eval(
                scorers=(MapError(), Pose(METRICS), Samples()),
                published=("a mean squared error of 0.00031 by the original's rule (the name of its file)",),
            )
        },
    )


def demo() -> Experiment:
    model = replace(
        zoo.config("simple-baseline-lip"), sigmoid=False, image_size=128, width=20, deconv_filters=(64, 64, 64)
    )
    return Experiment(
        name="lip-demo",
        model=model,
        data=LIP(synth=Synth(9800, 160, 4900, 160, size=(200, 150), clutter=0.0), image_size=128, stills_per_batch=32),
        losses=Maps(sigma=2.0),
        optimizer=QUICK_FULL,
        train=Train(steps=900, checkpoint_every=200),
        evals={"lip": Eval(scorers=(Pose(METRICS), Samples()), batch=32)},
    )
