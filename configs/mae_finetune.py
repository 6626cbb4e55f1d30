"""Actions of Kinetics-400 by fine-tuned masked autoencoders, by the scripts of dmae_st, and their test.

    JAXHAR_DATA=DIR python launch.py --config=configs/mae_finetune.py:full          DIR/kinetics, runs/mae_vit_l
    ... --config=configs/mae_finetune.py:tenth --config.init_from=vit_l_k400.pth

    full         ViT-L: 100 epochs, batches of 96 clips, layer decay 0.75, RandAugment, erasing, mixup and CutMix
    vit_b, vit_h the same for these sizes, from runs/mae_vit_b and runs/mae_vit_h
    tenth        the same as full on a tenth of the videos, drawn by their names
    tenth_epochs1000  the same for 1000 epochs, evaluated every ten
    masked       features are those of persons: box pooling, from runs/dmae_default; boxes in DIR/kinetics/boxes
    test         the 10 x 3 views of a network that was fine-tuned, runs/mae_finetune_full; nothing is trained
    masked_test  the same, pooled over persons

`init_from` is a run, or a file of mae_st or dmae_st. Every experiment ends with the 10 x 3 views, whose probabilities
are summed. Published by 3 crops of 7 clips: ViT-B 81.3, ViT-L 84.8, ViT-H 85.1 % (SlowFast); ViT-L 84.35 % (mae_st). We
have not run these.
Without Kinetics, `configs/mae.py:demo` pretrains and fine-tunes on generated videos.
"""

from dataclasses import replace
from functools import partial

import optax

from jaxhar import zoo
from jaxhar.data.kinetics.settings import FINETUNE, PROBE, Kinetics
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.results import Published
from jaxhar.evaluation.samples import Samples
from jaxhar.models.mae.config import VideoClassifierConfig
from jaxhar.training.augment import Mixing
from jaxhar.training.experiment import Experiment, Train, pick
from jaxhar.training.layers import layer_decay, weight_decay
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer

#: About as many training videos has Kinetics-400.
VIDEOS = 240_000
#: Three clips on each of 32 devices, which draw mixtures of their own.
BATCH, DEVICES = 96, 32
EPOCHS = 100
MIXING = Mixing(mixup=0.8, cutmix=1.0, smoothing=0.1, erasing=0.25, groups=DEVICES)
BOXES = {"box_folder": "boxes"}
#: Accuracies of SlowFast by 3 crops of 7 clips, all videos of training.
PUBLISHED = {"b": 0.813, "l": 0.848, "h": 0.851}


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(
        which or "full",
        (),
        full=finetuning,
        vit_b=partial(finetuning, "vit_b", "b"),
        vit_h=partial(finetuning, "vit_h", "h"),
        tenth=tenth,
        tenth_epochs1000=tenth_epochs1000,
        masked=masked,
        test=test,
        masked_test=masked_test,
    )


def network(size: str, **settings: object) -> VideoClassifierConfig:
    found = zoo.config(f"mae-st-vit-{size}-k400")
    return replace(found, path_dropout=0.2, dropout=0.3, **settings)  # type: ignore[type-var, return-value]


def finetuning(name: str = "full", size: str = "l", fraction: float = 1.0, epochs: int = EPOCHS) -> Experiment:
    model = network(size)
    known = Published("accuracy/multi", PUBLISHED[size], f"SlowFast, ViT-{size.upper()}, 3 crops of 7 clips")
    epoch = int(VIDEOS * fraction) // BATCH  # steps
    return Experiment(
        name=f"mae_finetune_{name}",
        model=model,
        data=Kinetics(augment=FINETUNE, clips_per_batch=BATCH, fraction=fraction),
        losses=Multitask(),
        optimizer=Optimizer(
            optax.scale_by_adam,
            options={"b1": 0.9, "b2": 0.999},
            learning_rate=2.4e-3 * BATCH / 256,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 10 * epoch, "end_value": 1e-6},
            clip_norm=5.0,
            table=layer_decay(model.depth, 0.75),
            decay=weight_decay(0.05, tokens=False),
        ),
        train=Train(steps=epochs * epoch, eval_every=epoch, checkpoint_every=500, best="accuracy/single"),
        evals={
            "kinetics": Eval(
                views=("single", "multi"),
                scorers=(Action("sum"), Samples()),
                batch=30,
                published=(known,) if fraction == 1 else (),
            )
        },
        init_from=f"runs/mae_vit_{size}",
        mixing=MIXING,
    )


def tenth() -> Experiment:
    return finetuning("tenth", fraction=0.1)


def tenth_epochs1000() -> Experiment:
    found = finetuning("tenth_epochs1000", fraction=0.1, epochs=1000)
    return replace(found, train=replace(found.train, eval_every=10 * found.train.eval_every))


def masked() -> Experiment:
    base = finetuning("masked")
    return replace(
        base,
        model=network("l", pool="covered"),
        data=Kinetics(augment=PROBE, clips_per_batch=BATCH, **BOXES),  # type: ignore[arg-type]
        init_from="runs/dmae_default",
        mixing=Mixing(smoothing=0.1),
        evals=unpublished(base),
    )


def unpublished(base: Experiment) -> dict[str, Eval]:
    """The evaluation, without a figure to compare with."""
    return {"kinetics": replace(base.evals["kinetics"], published=())}


def test() -> Experiment:
    base = finetuning("test")
    nothing = {"train": Train(steps=0), "optimizer": Optimizer(), "mixing": Mixing()}
    return replace(base, init_from="runs/mae_finetune_full", **nothing)  # type: ignore[arg-type]


def masked_test() -> Experiment:
    data = Kinetics(**BOXES)  # type: ignore[arg-type]
    model, evals = network("l", pool="covered"), unpublished(test())
    return replace(test(), name="mae_finetune_masked_test", model=model, data=data, evals=evals)
