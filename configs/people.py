"""A person detector for `jaxhar predict --detector own`: small network, trained on generated scenes alone.

python launch.py --config=configs/people.py
python launch.py --config=configs/people.py:demo
python launch.py --config=configs/people.py --config.data.root=DIR --config.data.synth=None    pictures in COCO's form
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.data.generate.film import Synth
from jaxhar.data.people.settings import People
from jaxhar.evaluation.boxes_ap import BoxesAP
from jaxhar.evaluation.evaluate import Eval
from jaxhar.training.experiment import Experiment, Train
from jaxhar.training.losses.centres import Centres
from jaxhar.training.optim import Optimizer

#: Side of the pictures in training; in evaluation and prediction a network may read larger ones.
SIDE = 192


def get_config(which: str = "full") -> Experiment:
    """The experiment `which`."""
    return {"full": full, "demo": demo}[which or "full"]()


def full() -> Experiment:
    return Experiment(
        name="people",
        model=replace(zoo.config("people"), image_size=SIDE),
        data=People(
            synth=Synth(3000, 300, 1500, 150, size=(320, 240)),
            image_size=SIDE,
            stills_per_batch=8,
            threads=1,
            prefetch=2,
        ),
        losses=Centres(),
        optimizer=Optimizer(
            optax.adamw,
            {"weight_decay": 0.02},
            learning_rate=2e-3,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 200},
            clip_norm=20.0,
        ),
        train=Train(steps=8000, eval_every=2000, checkpoint_every=500, best="ap@0.5", log_every=50),
        evals={"people": Eval(scorers=(BoxesAP(),), batch=8)},
    )


def demo() -> Experiment:
    experiment = full()
    return replace(
        experiment,
        name="people-demo",
        data=replace(experiment.data, synth=Synth(400, 60, 200, 60, size=(160, 120), clutter=0.5), image_size=128),
        model=replace(experiment.model, image_size=128),
        train=replace(experiment.train, steps=400, eval_every=0, best=""),
    )
