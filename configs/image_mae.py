"""Masked autoencoders of pictures (He et al., CVPR'22), plain and directed towards persons, on ImageNet.

    JAXHAR_DATA=DIR python launch.py --config=configs/image_mae.py:mae         DIR/imagenet; :vit_l for the larger one
    JAXHAR_DATA=DIR python launch.py --config=configs/image_mae.py:dmae        with DIR/imagenet/boxes; :dmae_vit_l
    JAXHAR_DATA=DIR python launch.py --config=configs/image_mae.py:finetune    from runs/image_mae; :finetune_vit_l
    JAXHAR_DATA=DIR python launch.py --config=configs/image_mae.py:probe       from runs/image_mae
    python launch.py --config=configs/image_mae.py:demo

Pretraining by the scripts of dmae_st: three quarters of the patches are removed, 800 epochs in batches of 4096 (40 a
warm-up), crops of a fifth of the picture or more. Directed masks are V1 with temperature 1. Fine-tuning by its
defaults: 50 epochs, layer decay 0.75, RandAugment, erasing, smoothed labels; the mean of the patches, after a norm of
its own. The probe is a batch normalisation and a linear layer on the class token of the frozen encoder, 90 epochs of
LARS in batches of 512. In fine-tuning, batches of 1024 and a warm-up of 5 epochs are our choice.
--config.init_from=FILE starts from another run, or from a file of mae or dmae_st. Published for ViT-B after 1600
epochs and fine-tuning: 83.6 % (He et al.). We have not run these.

The demo: a small network on generated scenes. It learns with directed masks; then a linear layer on its frozen encoder
learns the actions; then the whole network does.
"""

from dataclasses import replace
from functools import partial

import optax

from jaxhar import zoo
from jaxhar.data.clip_augment import ClipAugment
from jaxhar.data.generate.film import Synth
from jaxhar.data.imagenet.settings import FINETUNE, PRETRAIN, ImageNet
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.box_coverage import BoxCoverage
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.reconstruction import ReconstructionError
from jaxhar.evaluation.samples import Samples
from jaxhar.training.augment import Mixing
from jaxhar.training.experiment import Experiment, Stage, Train, pick
from jaxhar.training.layers import layer_decay, weight_decay
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.losses.reconstruction import Reconstruction
from jaxhar.training.optim import Optimizer, lars

PICTURES = 1_281_167
BATCH, FINE, PROBE = 4096, 1024, 512
EPOCH = PICTURES // BATCH  # steps
DIRECTED = {"masking": "directed_v1", "temperature": 1.0}


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(
        which,
        ("imagenet",),
        demo=demo,
        paper=partial(pretraining, "mae"),
        mae=partial(pretraining, "mae"),
        vit_l=partial(pretraining, "vit_l", "l"),
        dmae=partial(pretraining, "dmae", "b", DIRECTED, "boxes"),
        dmae_vit_l=partial(pretraining, "dmae_vit_l", "l", DIRECTED, "boxes"),
        finetune=finetuning,
        finetune_vit_l=partial(finetuning, "finetune_vit_l", "l", "runs/image_vit_l"),
        probe=probe,
    )


def pretraining(name: str, size: str = "b", masks: dict | None = None, boxes: str = "") -> Experiment:
    return Experiment(
        name=f"image_{name}",
        model=replace(zoo.config(f"mae-vit-{size}"), **(masks or {})),  # type: ignore[type-var]
        data=ImageNet(augment=PRETRAIN, clips_per_batch=BATCH, box_folder=boxes),
        losses=Reconstruction(),
        optimizer=Optimizer(
            optax.scale_by_adam,
            options={"b1": 0.9, "b2": 0.95},
            learning_rate=1.5e-4 * BATCH / 256,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 40 * EPOCH},
            decay=weight_decay(0.05),
        ),
        train=Train(steps=800 * EPOCH, eval_every=20 * EPOCH, checkpoint_every=500),
        evals={"imagenet": Eval(scorers=(ReconstructionError(), BoxCoverage()), batch=64)},
    )


def finetuning(name: str = "finetune", size: str = "b", start: str = "runs/image_mae") -> Experiment:
    model = zoo.config(f"mae-vit-{size}-in1k")
    epoch = PICTURES // FINE  # steps
    return Experiment(
        name=f"image_{name}",
        model=model,
        data=ImageNet(augment=FINETUNE, clips_per_batch=FINE),
        losses=Multitask(),
        optimizer=Optimizer(
            optax.scale_by_adam,
            options={"b1": 0.9, "b2": 0.999},
            learning_rate=1e-3 * FINE / 256,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 5 * epoch, "end_value": 1e-6},
            table=layer_decay(model.depth, 0.75),  # type: ignore[attr-defined]
            decay=weight_decay(0.05, tokens=False),
        ),
        train=Train(steps=50 * epoch, eval_every=epoch, checkpoint_every=500, best="accuracy/single"),
        evals={"imagenet": Eval(scorers=(Action(), Samples()), batch=64)},
        init_from=start,
        mixing=Mixing(smoothing=0.1, erasing=0.25),
    )


def probe() -> Experiment:
    pooled = {"pool": "class", "head_norm": True, "path_dropout": 0.0}
    model = replace(zoo.config("mae-vit-b-in1k"), **pooled)  # type: ignore[type-var]
    epoch = PICTURES // PROBE  # steps
    return Experiment(
        name="image_probe",
        model=model,
        data=ImageNet(augment=ClipAugment(area=(0.08, 1.0)), clips_per_batch=PROBE),
        losses=Multitask(),
        optimizer=Optimizer(
            lars,
            options={"momentum": 0.9},
            learning_rate=0.1 * PROBE / 256,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 10 * epoch},
            table=zoo.trunk_frozen(model),
        ),
        train=Train(steps=90 * epoch, eval_every=epoch, checkpoint_every=500, best="accuracy/single"),
        evals={"imagenet": Eval(scorers=(Action(), Samples()), batch=64)},
        init_from="runs/image_mae",
    )


def demo() -> Experiment:
    small = {"image_size": 64, "patch": 8, "width": 96, "depth": 4, "heads": 4}
    decoder = {"decoder_width": 48, "decoder_depth": 1, "decoder_heads": 2}
    base, tuning = pretraining("demo", masks=DIRECTED, boxes="boxes"), finetuning()
    model = replace(tuning.model, **small, num_actions=15)  # type: ignore[type-var]
    adamw = replace(base.optimizer, learning_rate=1e-3, schedule_options={"warmup_steps": 30})
    tune = replace(adamw, table=layer_decay(4, 0.75), decay=weight_decay(0.05, tokens=False))
    return replace(
        tuning,
        name="image-mae-demo",
        model=model,
        data=ImageNet(
            synth=Synth(300, 60, 300, 60, frames=(8, 12), size=(160, 120), clutter=0.0),
            image_size=64,
            clips_per_batch=32,
            box_folder="boxes",
        ),
        optimizer=adamw,
        train=Train(steps=None, eval_every=200, checkpoint_every=200),
        stages={
            "pretrain": Stage(400, losses=Reconstruction(), model=replace(base.model, **small, **decoder)),  # type: ignore[type-var]
            "probe": Stage(100, replace(adamw, table=zoo.trunk_frozen(model), decay=())),
            "all": Stage(200, tune),
        },
        evals={"imagenet": Eval(scorers=(Action(), ReconstructionError(), BoxCoverage(), Samples()), batch=30)},
        init_from=None,
        mixing=Mixing(),
    )
