"""A linear layer on the frozen encoder of a masked autoencoder learns the actions of Kinetics-400 (dmae_st).

    JAXHAR_DATA=DIR python launch.py --config=configs/mae_probe.py:linear        DIR/kinetics, runs/mae_vit_l

    linear   SGD with momentum, 100 epochs, 10 of them a warm-up; no mixtures but smoothed labels
    bn_lars  a batch normalisation before the layer, and LARS, 90 epochs: as image_mae does it for pictures
    masked   SGD without momentum on features of persons, from runs/dmae_default; boxes in DIR/kinetics/boxes

--config.init_from=FILE starts from another run, or from a file of mae_st or dmae_st. The batch of 512 is our choice, as
is that of the last one; the rate is 0.1 for 256 clips, as theirs. No figures are published, and we have not run these.
Kinetics is missing? `configs/mae.py:demo` pretrains and probes on generated videos.
"""

from dataclasses import replace
from functools import partial

import optax

from jaxhar import zoo
from jaxhar.data.kinetics.settings import PROBE, Kinetics
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.samples import Samples
from jaxhar.training.augment import Mixing
from jaxhar.training.experiment import Experiment, Train, pick
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer, lars

#: About as many training videos has Kinetics-400.
VIDEOS = 240_000
BATCH = 512


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which or "linear", (), linear=probe, bn_lars=bn_lars, masked=masked)


def probe(name: str = "linear", epochs: int = 100, rule=optax.sgd, momentum: float = 0.9, **settings) -> Experiment:
    model = replace(zoo.config("mae-st-vit-l-k400"), path_dropout=0.0, dropout=0.0, **settings)  # type: ignore[type-var]
    epoch = VIDEOS // BATCH  # steps
    return Experiment(
        name=f"mae_probe_{name}",
        model=model,
        data=Kinetics(augment=PROBE, clips_per_batch=BATCH),
        losses=Multitask(),
        optimizer=Optimizer(
            rule,
            options={"momentum": momentum},
            learning_rate=0.1 * BATCH / 256,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 10 * epoch, "end_value": 1e-6},
            table=zoo.trunk_frozen(model),
        ),
        train=Train(steps=epochs * epoch, eval_every=epoch, checkpoint_every=500, best="accuracy/single"),
        evals={"kinetics": Eval(views=("single", "multi"), scorers=(Action("sum"), Samples()), batch=30)},
        init_from="runs/mae_vit_l",
        mixing=Mixing(smoothing=0.1),
    )


bn_lars = partial(probe, "bn_lars", 90, lars, head_norm=True)


def masked() -> Experiment:
    base = probe("masked", momentum=0.0, pool="covered")
    data = Kinetics(augment=PROBE, clips_per_batch=BATCH, box_folder="boxes")
    return replace(base, data=data, init_from="runs/dmae_default")
