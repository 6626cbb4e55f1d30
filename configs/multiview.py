"""Joints in four views of Human3.6M, with heat maps fused across the views (Qiu et al., ICCV'19).

    python launch.py --config=configs/multiview.py             :r50_256_fusion if the data is found, else the demo
    JAXHAR_DATA=DIR python launch.py --config=configs/multiview.py:r50_256_nofusion
    python launch.py --config=configs/multiview.py:demo

The original's settings: groups of four views of Human3.6M and groups of four persons of MPII, Adam with learning rate
1e-3, divided by 10 after epochs 20 and 25 of 30; ImageNet's weights to start from (`jaxhar weights resnet50`;
--config.init_from=None starts from random ones). The original draws the groups of both sets with equal probability;
here a batch has fixed numbers of both, the nearest to that. The original's MobileNetV2 and HRNet start from files that
we cannot name, so those variants start from random weights unless init_from names a file. We have not run these
experiments to their end. Published rates are those of the first version of the original, by its README.

The demo: a narrow ResNet-18 on generated views, 128 x 128, some of which are covered by things in front.
"""

from dataclasses import replace
from functools import partial

import optax

from jaxhar import zoo
from jaxhar.core.gaussian import Decoding
from jaxhar.core.skeleton import H36M17
from jaxhar.data.generate.film import Synth
from jaxhar.data.mixed import Mixed
from jaxhar.data.multiview.settings import MPIIGroups, MultiView
from jaxhar.evaluation.detection import Detection
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.results import Published
from jaxhar.evaluation.samples import Samples
from jaxhar.evaluation.space import Space
from jaxhar.training.experiment import Experiment, Stage, Train, pick
from jaxhar.training.losses.maps import Maps
from jaxhar.training.optim import QUICK_FULL, Optimizer

#: Groups of an epoch: every fifth of 389,938 of Human3.6M's five training subjects, and 5,561 of MPII.
GROUPS = 77_988 + 5_561
_FIRST = "100.0 97.8 90.3 85.3 98.0 88.9 79.9 96.9 98.2 98.4 99.0 92.4 86.9 78.8 92.8 86.1 78.4 91.1"
_FUSED = "100.0 99.3 94.7 89.1 99.4 93.6 84.6 98.0 99.0 99.0 99.0 95.4 93.3 90.3 94.4 91.3 89.5 94.7"
PUBLISHED = tuple(
    (name, tuple(zip((*H36M17.joints, "mean"), map(float, rates.split()), strict=True)))
    for name, rates in (("published, no fusion", _FIRST), ("published, fusion", _FUSED))
)
#: Name -> backbone, depth, side of the crops, groups of a batch of each set, fusion.
VARIANTS: dict[str, tuple[str, int, int, tuple[int, int], bool]] = {
    "r50_256_nofusion": ("resnet", 50, 256, (7, 1), False),
    "r50_256_fusion": ("resnet", 50, 256, (7, 1), True),
    "r152_320_fusion": ("resnet", 152, 320, (1, 1), True),
    "mobilenetv2_256_fusion": ("mobilenetv2", 50, 256, (7, 1), True),
    "hrnet_256_fusion": ("hrnet", 50, 256, (3, 1), True),
}


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    variants = {name: partial(paper, name) for name in VARIANTS}
    return pick(
        which, ("Human3.6M-multiview", "MPII-groups"), demo=demo, paper=partial(paper, "r50_256_fusion"), **variants
    )


def paper(name: str) -> Experiment:
    backbone, depth, side, (views, persons), fusion = VARIANTS[name]
    epoch = GROUPS // (views + persons)
    return Experiment(
        name=f"multiview_{name}",
        model=replace(zoo.config("multiview-h36m"), backbone=backbone, depth=depth, image_size=side, fusion=fusion),
        data=Mixed(
            {"h36m": MultiView(image_size=side), "mpii": MPIIGroups(image_size=side)},
            "h36m",
            clips={"h36m": views, "mpii": persons},
        ),
        losses=Maps(sigma=2.0 if side == 256 else 3.0),
        optimizer=Optimizer(
            rule=optax.adam,
            learning_rate=1e-3,
            schedule=optax.piecewise_constant_schedule,
            schedule_options={"boundaries_and_scales": {20 * epoch: 0.1, 25 * epoch: 0.1}},
        ),
        train=Train(steps=30 * epoch, eval_every=epoch, checkpoint_every=500, best=f"jdr@{side / 20:g}px"),
        init_from=f"torchvision:resnet{depth}" if backbone == "resnet" else None,
        evals={
            "h36m": Eval(
                scorers=(
                    Detection((side / 20, 12.8) if side != 256 else (12.8,), PUBLISHED),
                    Space(),
                    Space("structures"),
                    Samples(),
                ),
                batch=4,
                published=(
                    Published("jdr@12.8px", 0.947, "ResNet-50, 256 x 256, fusion, S9 and S11 (the original's README)"),
                    "26.2 mm by pictorial structures with the true root and limbs, ResNet-152, 320 x 320 (ICCV'19)",
                ),
            )
        },
    )


def demo() -> Experiment:
    synth = Synth(1000, 20, 1000, 20, frames=(2, 2), size=(300, 300), clutter=0.0)
    model = replace(
        zoo.config("multiview-h36m"),
        depth=18,
        image_size=128,
        width=24,
        deconv_filters=(64, 64, 64),
        decoding=Decoding.DARK,
    )
    # The matrices are random at first; trained with the network from the start, they would drown what it learns.
    matrices = replace(QUICK_FULL, rule=optax.adam, learning_rate=3e-3, table=((r"fusion\..*", 1.0), (".*", 0.0)))
    # A cell of a fused map sums 1024 weights, each of which moves by the learning rate in a step.
    together = replace(QUICK_FULL, learning_rate=0.012, table=((r"fusion\..*", 0.2), (".*", 1.0)))
    return Experiment(
        name="multiview-demo",
        model=model,
        data=Mixed(
            {
                "h36m": MultiView(synth=synth, thin=(1, 1), image_size=128),
                "mpii": MPIIGroups(synth=synth, image_size=128),
            },
            "h36m",
            clips={"h36m": 6, "mpii": 1},
        ),
        losses=Maps(sigma=2.0),
        optimizer=QUICK_FULL,
        train=Train(steps=None, checkpoint_every=200),
        stages={
            "views": Stage(900, model=replace(model, fusion=False)),
            "fusion": Stage(200, matrices, data={"clips": {"h36m": 6, "mpii": 0}}),
            "all": Stage(850, together),
        },
        evals={"h36m": Eval(scorers=(Detection((4.0,)), Space(), Samples()), batch=4)},
    )
