"""Masked autoencoders whose masks are directed towards persons (dmae_st): pretraining on Kinetics-400 with boxes.

    JAXHAR_DATA=DIR python launch.py --config=configs/dmae.py:default        DIR/kinetics with boxes/
    python launch.py --config=configs/dmae.py:demo

The experiments that dmae_st recorded, all of ViT-L: 200 epochs of four clips of every video, 20 of them a warm-up. V1
removes patches on persons e^(1/t) times as likely as others, V2 e^t times; at a curriculum, t falls by half a cosine.

    default                  nine tenths of the patches removed, V1, t = 1
    epochs75                 the same, 75 epochs
    maskratio075             three quarters, V1, t = 0.8
    maskratio075_curriculum  three quarters, V1, t from 1.5 to 0.5
    curriculum               nine tenths, V1, t from 1.5 to 0.5: the best according to a later script of theirs
    flip                     the same, but what lies outside of persons is removed
    v2, v2_T                 nine tenths, V2, t = 1, or T of -1e10, -5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 5, 1e10
    maskratios               no training: how much of the persons V1 removes at t = 1.25, 1, 0.75, 0.5, of nine tenths

dmae_st reports no accuracies, and we have not run these. `configs/mae_finetune.py` goes on from there
(--config.init_from=runs/dmae_default). `jaxhar data boxes --videos` finds the boxes.

The demo: a small network on generated videos, then a probe and a fine-tuning whose features are those of persons.
"""

from dataclasses import replace
from functools import partial

import optax

from jaxhar import zoo
from jaxhar.data.clip_augment import ClipAugment
from jaxhar.data.generate.film import Synth
from jaxhar.data.kinetics.settings import Kinetics
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.box_coverage import BoxCoverage
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.reconstruction import ReconstructionError
from jaxhar.evaluation.samples import Samples
from jaxhar.training.experiment import Experiment, Stage, Train, pick
from jaxhar.training.layers import layer_decay, weight_decay
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.losses.reconstruction import Reconstruction
from jaxhar.training.optim import Optimizer

#: About as many training videos has Kinetics-400.
VIDEOS = 240_000
#: Clips of a video in a batch; videos in a batch, of two or three on each of 64 devices.
REPEAT, TWO, THREE = 4, 128, 192
CURRICULUM = {"masking": "directed_v1", "temperature": 1.5, "temperature_end": 0.5}
V1, V2 = {"masking": "directed_v1"}, {"masking": "directed_v2"}
TEMPERATURES = ("-1e10", "-5", "-2", "-1.5", "-1", "-0.5", "0", "0.5", "1", "1.5", "2", "5", "1e10")
#: Name -> videos in a batch, epochs, settings of the network.
VARIANTS: dict[str, tuple[int, int, dict[str, object]]] = {
    "default": (THREE, 200, V1),
    "epochs75": (THREE, 75, V1),
    "maskratio075": (TWO, 200, {**V1, "mask_ratio": 0.75, "temperature": 0.8}),
    "maskratio075_curriculum": (TWO, 200, {**CURRICULUM, "mask_ratio": 0.75}),
    "curriculum": (THREE, 200, CURRICULUM),
    "flip": (THREE, 200, {**CURRICULUM, "flip_mask": True}),
    "v2": (THREE, 200, V2),
    **{f"v2_{text}": (THREE, 200, {**V2, "temperature": float(text)}) for text in TEMPERATURES},
}


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    every = {name: partial(recorded, name) for name in VARIANTS}
    return pick(which or "default", ("kinetics",), demo=demo, **every, maskratios=maskratios)


def recorded(name: str) -> Experiment:
    videos, epochs, masks = VARIANTS[name]
    epoch = VIDEOS // videos  # steps
    steps = epochs * epoch if "temperature_end" in masks else 0
    return Experiment(
        name=f"dmae_{name}",
        model=replace(zoo.config("mae-st-vit-l"), **masks, temperature_steps=steps),  # type: ignore[type-var]
        data=Kinetics(repeat=REPEAT, clips_per_batch=videos * REPEAT, box_folder="boxes"),
        losses=Reconstruction(),
        optimizer=Optimizer(
            optax.scale_by_adam,
            options={"b1": 0.9, "b2": 0.95},
            learning_rate=4e-4 * videos * REPEAT / 256,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 20 * epoch},
            clip_norm=0.02,
            decay=weight_decay(0.05),
        ),
        train=Train(steps=epochs * epoch, eval_every=10 * epoch, checkpoint_every=500),
        evals={"kinetics": Eval(scorers=(ReconstructionError(), BoxCoverage()), batch=16)},
    )


def maskratios() -> Experiment:
    base = recorded("default")
    small = {"width": 16, "depth": 1, "heads": 2, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
    scorer = BoxCoverage(temperatures=(1.25, 1.0, 0.75, 0.5))
    return replace(
        base,
        name="dmae_maskratios",
        model=replace(base.model, **small),  # masks do not depend on weights
        optimizer=Optimizer(),
        train=Train(steps=0),
        evals={"kinetics": Eval(scorers=(scorer,), split="train", batch=16)},
    )


def demo() -> Experiment:
    size = {"image_size": 64, "num_frames": 8, "patch": 8, "width": 96, "depth": 4, "heads": 4}
    decoder = {"decoder_width": 48, "decoder_depth": 1, "decoder_heads": 2, "pred_frames": 8, "mask_ratio": 0.75}
    masks = {**CURRICULUM, "temperature_steps": 400}
    pretrained = replace(zoo.config("mae-st-vit-l"), **size, **decoder, **masks)  # type: ignore[type-var]
    pool = {"pool": "covered_mean", "num_actions": 15, "dropout": 0.1}
    model = replace(zoo.config("mae-st-vit-l-k400"), **size, **pool)  # type: ignore[type-var]
    adamw = Optimizer(
        optax.scale_by_adam,
        options={"b2": 0.95},
        learning_rate=1e-3,
        schedule=optax.warmup_cosine_decay_schedule,
        schedule_options={"warmup_steps": 30},
        clip_norm=5.0,
        decay=weight_decay(0.05),
    )
    tune = replace(adamw, table=layer_decay(4, 0.75), decay=weight_decay(0.05, tokens=False))
    return Experiment(
        name="dmae-demo",
        model=model,
        data=Kinetics(
            synth=Synth(600, 120, 600, 60, frames=(24, 32), size=(160, 120), clutter=0.0),
            augment=ClipAugment(area=(0.5, 1.0)),
            clip_frames=8,
            image_size=64,
            side=72,
            rate=3.6,  # 24 frames of these videos
            repeat=2,
            clips_per_batch=16,
            box_folder="boxes",
            clips=3,
            places=1,
            timeout=0,
        ),
        losses=Multitask(),
        optimizer=adamw,
        train=Train(steps=None, checkpoint_every=200, eval_every=200),
        stages={
            "pretrain": Stage(400, losses=Reconstruction(), model=pretrained),
            "probe": Stage(100, replace(adamw, table=zoo.trunk_frozen(model), decay=())),
            "all": Stage(200, tune),
        },
        evals={
            "kinetics": Eval(
                views=("single", "multi"),
                scorers=(Action("sum"), ReconstructionError(), BoxCoverage(), Samples()),
                batch=10,
            )
        },
    )
