"""A person detector: a small network for boxes, trained on generated scenes of up to six persons.

    python launch.py --config=configs/people.py          17,000 steps: the weights in the package, see docs/people.md
    python launch.py --config=configs/people.py:demo     a short run on fewer and smaller scenes
    python launch.py --config=configs/people.py:mpii     on scenes and on MPII's photos in JAXHAR_DATA; not run by us
    python launch.py --config=configs/people.py --config.data.synth=None --config.data.root=DIR

DIR has annotations in COCO's format (jaxhar/data/people/folder.py); jaxhar/data/people/mpii.py says what the boxes of
MPII are. The method is CenterNet's (Zhou et al., 2019):
heat map of centres with the penalty-reduced focal loss, absolute errors of offset and size, overlap of the boxes.
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.data.generate.film import Synth
from jaxhar.data.mixed import Mixed
from jaxhar.data.people.mpii import PeopleOfMPII
from jaxhar.data.people.settings import AUGMENT, People
from jaxhar.evaluation.boxes_ap import BoxesAP
from jaxhar.evaluation.evaluate import Eval
from jaxhar.host.errors import Usage
from jaxhar.training.experiment import Experiment, Stage, Train
from jaxhar.training.losses.centres import Centres
from jaxhar.training.optim import Optimizer, muon_full

#: Side of the pictures in the evaluation. The training is at smaller sides, on windows of the pictures.
SIDE = 384


def get_config(which: str = "") -> Experiment:
    """The experiment `which`; "" is that of the weights in the package."""
    experiments = {"": full, "paper": full, "demo": demo, "mpii": with_mpii}
    if which not in experiments:
        raise Usage(f"there is no experiment :{which}; there are only :demo, :mpii and :paper, the full one")
    return experiments[which]()


def full() -> Experiment:
    return Experiment(
        name="people",
        model=replace(zoo.config("people"), image_size=SIDE),
        data=People(
            synth=Synth(12_000, 300, 6000, 150, size=(320, 240)), image_size=SIDE, stills_per_batch=8, prefetch=2
        ),
        losses=Centres(),
        optimizer=Optimizer(
            muon_full,
            {"weight_decay": 0.002},
            learning_rate=0.02,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 100},
            clip_norm=20.0,
        ),
        stages={
            "small": Stage(13_000, data={"image_size": 192}),
            "large": Stage(4000, data={"image_size": 256, "augment_stills": replace(AUGMENT, zoom=(0.5, 1.05))}),
        },
        train=Train(steps=None, checkpoint_every=500, log_every=50),
        evals={"people": Eval(scorers=(BoxesAP(),))},
    )


def with_mpii() -> Experiment:
    """Half of each batch are photos, half generated scenes; the evaluation is on photos, and on scenes."""
    experiment = full()
    return replace(
        experiment,
        name="people-mpii",
        data=Mixed(
            {"mpii": PeopleOfMPII(image_size=SIDE, prefetch=2), "scenes": experiment.data},
            "mpii",
            stills={"mpii": 4, "scenes": 4},
        ),
        evals={"mpii": Eval(scorers=(BoxesAP(),)), "scenes": Eval(scorers=(BoxesAP(),), part="scenes")},
    )


def demo() -> Experiment:
    experiment = full()
    return replace(
        experiment,
        name="people-demo",
        model=replace(experiment.model, image_size=128),
        data=People(synth=Synth(500, 60, 250, 60, size=(200, 150)), image_size=128, stills_per_batch=8, prefetch=2),
        stages={},
        train=replace(experiment.train, steps=600),
        banner="EMBEDDED DEMO: a detector of persons learns from a few generated scenes.\n",
    )
