"""Human3.6M: 3-D joints from one photo (Luvizon et al., CVPR'18, section 5.2).

    python launch.py --config=configs/h36m.py             the paper's experiment if the data is found, else the demo
    JAXHAR_DATA=DIR python launch.py --config=configs/h36m.py:paper       DIR has the folders Human3.6M and MPII
    python launch.py --config=configs/h36m.py:demo

The paper's network: 8 blocks with 16 depth maps per joint, batches of 12 photos of Human3.6M and 12 of MPII, RMSprop
with learning rate 1e-3, divided by 5 on every plateau. The paper does not give the steps of the plateaus; those here
are our choice. Published: 55.1 mm from a single crop, 53.2 mm from five crops with flips (subjects 9 and 11). We have
not run this experiment to its end.

The demo: a narrow network of 2 blocks on generated photos in the layouts of both sets, 64 x 64.
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.core.skeleton import PA17
from jaxhar.data import transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.mixed import Mixed
from jaxhar.data.mpii.settings import MPII
from jaxhar.evaluation.deephar import Deephar
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PCKh
from jaxhar.evaluation.metrics_3d import MPJPE, AbsoluteMPJPE, ProcrustesMPJPE
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.results import Published
from jaxhar.evaluation.samples import Samples
from jaxhar.evaluation.world import World
from jaxhar.training.experiment import Experiment, Train, pick
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import QUICK, Optimizer, keras_rmsprop

METRICS = (MPJPE(), MPJPE(deephar=True), ProcrustesMPJPE(), AbsoluteMPJPE())


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which, ("Human3.6M", "MPII"), demo=demo, paper=paper)


def paper() -> Experiment:
    shape = {"skeleton": PA17, "dims": 3}
    return Experiment(
        name="h36m",
        model=zoo.config("reception-h36m"),
        data=Mixed({"h36m": H36M(**shape), "mpii": MPII(**shape)}, "h36m", stills={"h36m": 12, "mpii": 12}),
        losses=Multitask(pose=1.0, visible=0.01),
        optimizer=Optimizer(
            rule=keras_rmsprop,
            learning_rate=1e-3,
            schedule=optax.piecewise_constant_schedule,
            schedule_options={"boundaries_and_scales": {150_000: 0.2, 190_000: 0.2}},
        ),
        train=Train(steps=230_000, eval_every=10_000, checkpoint_every=500),
        evals={
            "h36m": Eval(
                views=("single", "flip", "multi"),
                scorers=(World(METRICS), Deephar(world=METRICS), Samples()),
                published=(
                    Published("mpjpe", 55.1, "S9 and S11, every 64th frame, single crop (CVPR'18)", "mm"),
                    Published(
                        "mpjpe/multi", 53.2, "S9 and S11, every 64th frame, five crops with flips (CVPR'18)", "mm"
                    ),
                ),
            ),
            "mpii": Eval(views=("single", "flip"), scorers=(Pose((PCKh(0.5),)), Samples()), part="mpii"),
        },
    )


def demo() -> Experiment:
    model = replace(zoo.config("reception-h36m"), image_size=64, num_blocks=2, width=192, stem_width=12, depth_maps=8)
    augment = replace(transforms.NONE, scales=(0.8, 0.9, 1.0), hflip=(False, True))
    shape = {"skeleton": PA17, "dims": 3, "image_size": 64, "augment": augment, "augment_stills": augment}
    return Experiment(
        name="h36m-demo",
        model=model,
        data=Mixed(
            {
                "h36m": H36M(synth=Synth(60, 30, 5, 2, frames=(6, 6), size=(160, 160), clutter=0.0), **shape),
                "mpii": MPII(synth=Synth(800, 60, 400, 30, size=(200, 150), clutter=0.0), **shape),
            },
            "h36m",
            stills={"h36m": 24, "mpii": 24},
        ),
        losses=Multitask(pose=1.0, visible=0.01),
        optimizer=QUICK,
        train=Train(steps=600, checkpoint_every=200),
        evals={
            "h36m": Eval(views=("single", "flip"), scorers=(World(METRICS), Samples()), batch=24),
            "mpii": Eval(scorers=(Pose((PCKh(0.5),)), Samples()), part="mpii", batch=24),
        },
    )
