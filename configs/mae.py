"""Video masked autoencoders (MAE-ST, Feichtenhofer et al., NeurIPS'22): pretraining, fine-tuning and a linear probe.

    JAXHAR_DATA=DIR python launch.py --config=configs/mae.py:vit_l       DIR/kinetics; also :vit_b and :vit_h
    python launch.py --config=configs/mae.py:demo
    python launch.py --config=configs/mae.py:benefit

vit_b, vit_l and vit_h: pretraining on Kinetics-400 as in the scripts of dmae_st, with the rate of mae_st: 200 epochs of
four clips of every video, batches of 512 clips, a tenth of the patches seen. `configs/mae_finetune.py` and
`configs/mae_probe.py` go on from there. Published after fine-tuning, by 3 crops of 7 clips: 81.3, 84.8 and 85.1 %
(SlowFast). We have not run these.

The demo: a small vision transformer on generated videos, 64 x 64 pixels, clips of 8 frames. Three stages in one run: it
learns to reconstruct three quarters of the patches, without any label; then a linear layer on its frozen encoder learns
the actions; then the whole network does.

benefit: what pretraining is for. 600 generated videos of 15 actions, of which 65 have labels; the same network is
trained on these from random weights (scratch), and after a pretraining on all videos, with masks at random (plain) or
directed towards persons as in `configs/dmae.py:curriculum`, at the same cost. Three seeds each, and a report with
intervals. Run on 29 November 2026 (10 min of processor time a seed): of 150 test videos, from random weights 8.7 %
(5.1 to 12.7), after plain pretraining 11.3 % (6.7 to 16.7), after directed 10.2 % (6.0 to 15.3), where chance finds
6.7 %. None is told apart from another: nothing was shown to be gained.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import optax
from optax import contrib

from jaxhar import zoo
from jaxhar.data import transforms
from jaxhar.data.clip_augment import ClipAugment
from jaxhar.data.generate.film import Synth
from jaxhar.data.kinetics.settings import Kinetics
from jaxhar.data.penn.settings import Penn
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.reconstruction import ReconstructionError
from jaxhar.evaluation.samples import Samples
from jaxhar.host.settings import override
from jaxhar.models.mae.config import MaeConfig, VideoClassifierConfig
from jaxhar.training.augment import Mixing
from jaxhar.training.experiment import Comparison, Experiment, Stage, Train, pick
from jaxhar.training.layers import layer_decay, weight_decay
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.losses.reconstruction import Reconstruction
from jaxhar.training.optim import Optimizer

#: About as many training videos has Kinetics-400.
VIDEOS = 240_000
#: Four clips of each of two videos on each of 64 devices.
REPEAT, BATCH = 4, 512


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    sizes = {f"vit_{size}": partial(pretraining, size) for size in "blh"}
    return pick(which or "demo", ("kinetics",), demo=demo, **sizes, benefit=benefit)


def pretraining(size: str) -> Experiment:
    epoch = VIDEOS * REPEAT // BATCH  # steps
    return Experiment(
        name=f"mae_vit_{size}",
        model=zoo.config(f"mae-st-vit-{size}"),
        data=Kinetics(repeat=REPEAT, clips_per_batch=BATCH),
        losses=Reconstruction(),
        optimizer=Optimizer(
            optax.scale_by_adam,
            options={"b1": 0.9, "b2": 0.95},
            learning_rate=4e-4 * BATCH / 256,
            schedule=optax.warmup_cosine_decay_schedule,
            schedule_options={"warmup_steps": 20 * epoch},
            clip_norm=0.02,
            decay=weight_decay(0.05),
        ),
        train=Train(steps=200 * epoch, eval_every=10 * epoch, checkpoint_every=500),
        evals={"kinetics": Eval(scorers=(ReconstructionError(),), batch=16)},
    )


#: The network of demo and benefit: its trunk, and the decoder of its pretraining.
SMALL = {"image_size": 64, "num_frames": 8, "patch": 8, "width": 96, "depth": 4, "heads": 4}
DECODER = {"decoder_width": 48, "decoder_depth": 1, "decoder_heads": 2, "pred_frames": 8, "mask_ratio": 0.75}
#: Pretraining in a few hundred steps.
QUICK = Optimizer(
    optax.scale_by_adam,
    options={"b2": 0.95},
    learning_rate=1e-3,
    schedule=optax.warmup_cosine_decay_schedule,
    schedule_options={"warmup_steps": 30},
    clip_norm=5.0,
    decay=weight_decay(0.05),
)
#: The same for fine-tuning.
TUNE = replace(QUICK, table=layer_decay(4, 0.75), decay=weight_decay(0.05, tokens=False))

#: Benefit's network: half the blocks and the tokens, and fixed positions.
SHALLOW = {"t_patch": 4, "depth": 2, "positions": "sincos"}
#: Its classifier: a batch normalisation before the last layer.
NORMED = {"head_norm": True, "dropout": 0.0, "path_dropout": 0.0}
#: Its optimizer: Muon for matrices, Adam for the rest.
MUON = replace(
    QUICK,
    rule=contrib.muon,
    options={"consistent_rms": 0.2, "adam_b2": 0.95},
    learning_rate=4e-3,
    schedule_options={"warmup_steps": 20},
)


def small(trunk: Mapping[str, object] = SMALL, **head: object) -> tuple[MaeConfig, VideoClassifierConfig]:
    """The small networks of pretraining and of 15 actions."""
    model = replace(zoo.config("mae-st-vit-b-k400"), **trunk, **{"num_actions": 15, "dropout": 0.1, **head})  # type: ignore[type-var]
    return replace(zoo.config("mae-st-vit-b"), **trunk, **DECODER), model  # type: ignore[type-var, return-value]


def demo() -> Experiment:
    pretrained, model = small()
    augment = replace(
        transforms.NONE,
        scales=(0.75, 0.85, 1.0),
        fixed_scale=0.75,
        hflip=(False, True),
        subsampling=(3,),
        fixed_subsampling=3,
    )
    return Experiment(
        name="mae-demo",
        model=model,
        data=Penn(
            synth=Synth(
                train_sequences=600,
                test_sequences=120,
                train_performers=600,
                test_performers=60,
                frames=(24, 32),
                size=(160, 120),
                clutter=0.0,
            ),
            augment=augment,
            clip_frames=8,
            image_size=64,
            clips_per_batch=16,
            stills_per_batch=0,
        ),
        losses=Multitask(),
        optimizer=QUICK,
        train=Train(steps=None, checkpoint_every=200, eval_every=200),
        stages={
            "pretrain": Stage(400, losses=Reconstruction(), model=pretrained),
            "probe": Stage(100, replace(QUICK, table=zoo.trunk_frozen(model), decay=())),
            "all": Stage(200, TUNE),
        },
        evals={
            "penn": Eval(
                views=("single", "multi"),
                scorers=(Action("sum"), ReconstructionError(), Samples()),
                batch=10,
            )
        },
    )


def benefit() -> Experiment:
    pretrained, model = small({**SMALL, **SHALLOW}, **NORMED)
    steps = 600
    tune = replace(MUON, table=layer_decay(2, 0.75), decay=TUNE.decay)
    curriculum = {"masking": "directed_v1", "temperature": 1.5, "temperature_end": 0.5, "temperature_steps": steps}
    few = {"fraction": 0.1, "fraction_seed": 54, "repeat": 2, "clips_per_batch": 16}  # 65 videos, 3 to 7 of each action
    return Experiment(
        name="mae-benefit",
        model=model,
        data=Kinetics(
            synth=Synth(600, 150, 600, 150, frames=(26, 32), size=(80, 80), clutter=0.0),
            augment=ClipAugment(area=(0.5, 1.0)),
            clip_frames=8,
            image_size=64,
            side=80,
            rate=3.6,  # 24 frames of these videos
            repeat=4,
            clips_per_batch=32,
            box_folder="boxes",
            timeout=0,
        ),
        losses=Multitask(),
        optimizer=tune,
        train=Train(steps=None, checkpoint_every=200),
        stages={
            "pretrain": Stage(steps, MUON, Reconstruction(), model=replace(pretrained, **curriculum)),  # type: ignore[arg-type]
            "all": Stage(250, data=few, mixing=Mixing(smoothing=0.1)),
        },
        evals={"kinetics": Eval(scorers=(Action("sum"), Samples()), batch=10)},
        compare=Comparison({"scratch": scratch, "plain": plain, "directed": directed}),
    )


def scratch(experiment: Experiment) -> Experiment:
    """From random weights, on the videos with labels alone."""
    return replace(experiment, stages={"all": experiment.stages["all"]})


def plain(experiment: Experiment) -> Experiment:
    """After a pretraining with masks at random."""
    return override(experiment, {"stages.pretrain.model.masking": "random"})


def directed(experiment: Experiment) -> Experiment:
    """After a pretraining with masks directed towards persons."""
    return experiment
