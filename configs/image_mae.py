"""Masked autoencoders of pictures (He et al., CVPR'22), plain and directed towards persons: pretraining on ImageNet.

    JAXHAR_DATA=DIR python launch.py --config=configs/image_mae.py:mae      DIR/imagenet; :vit_l for the larger one
    JAXHAR_DATA=DIR python launch.py --config=configs/image_mae.py:dmae     with DIR/imagenet/boxes; :dmae_vit_l
    python launch.py --config=configs/image_mae.py:demo

By the scripts of dmae_st: three quarters of the patches are removed, 800 epochs in batches of 4096 (40 a warm-up),
crops of a fifth of the picture or more. Directed masks are V1 with temperature 1. Published for ViT-B after 1600 epochs
and fine-tuning: 83.6 % (He et al.). We have not run these.

The demo: a small network on generated scenes with directed masks.
"""

from dataclasses import replace
from functools import partial

import optax

from jaxhar import zoo
from jaxhar.data.generate.film import Synth
from jaxhar.data.imagenet.settings import PRETRAIN, ImageNet
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.reconstruction import ReconstructionError
from jaxhar.training.experiment import Experiment, Train, pick
from jaxhar.training.layers import weight_decay
from jaxhar.training.losses.reconstruction import Reconstruction
from jaxhar.training.optim import Optimizer

PICTURES = 1_281_167
BATCH = 4096
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
        evals={"imagenet": Eval(scorers=(ReconstructionError(),), batch=64)},
    )


def demo() -> Experiment:
    small = {"image_size": 64, "patch": 8, "width": 96, "depth": 4, "heads": 4}
    decoder = {"decoder_width": 48, "decoder_depth": 1, "decoder_heads": 2}
    base = pretraining("demo", masks=DIRECTED, boxes="boxes")
    return replace(
        base,
        name="image-mae-demo",
        model=replace(base.model, **small, **decoder),  # type: ignore[type-var]
        data=ImageNet(
            synth=Synth(300, 60, 300, 60, frames=(8, 12), size=(160, 120), clutter=0.0),
            image_size=64,
            clips_per_batch=32,
            box_folder="boxes",
        ),
        optimizer=replace(base.optimizer, learning_rate=1e-3, schedule_options={"warmup_steps": 30}),
        train=Train(steps=400, eval_every=200, checkpoint_every=200),
    )
