"""Video masked autoencoders (MAE-ST, Feichtenhofer et al., NeurIPS'22): pretraining, fine-tuning and a linear probe.

    python launch.py --config=configs/mae.py:demo

The demo: a small vision transformer on generated videos, 64 x 64 pixels, clips of 8 frames. Three stages in one run: it
learns to reconstruct three quarters of the patches, without any label; then a linear layer on its frozen encoder learns
the actions; then the whole network does.

Published for ViT-B, L and H on Kinetics-400, by 3 crops of 7 clips: 81.3, 84.8 and 85.1 % (SlowFast). We have not run
these.
"""

from dataclasses import replace

import optax

from jaxhar import zoo
from jaxhar.data import transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.penn.settings import Penn
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.reconstruction import ReconstructionError
from jaxhar.evaluation.samples import Samples
from jaxhar.models.mae.config import MaeConfig
from jaxhar.training.experiment import Experiment, Stage, Train, pick
from jaxhar.training.layers import layer_decay, weight_decay
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.losses.reconstruction import Reconstruction
from jaxhar.training.optim import Optimizer


def get_config(which: str = "") -> Experiment:
    """The experiment `which`."""
    return pick(which or "demo", (), demo=demo)


def demo() -> Experiment:
    depth = 4
    size = {"image_size": 64, "num_frames": 8, "patch": 8, "width": 96, "depth": depth, "heads": 4}
    decoder = {"decoder_width": 48, "decoder_depth": 1, "decoder_heads": 2, "pred_frames": 8, "mask_ratio": 0.75}
    pretrained: MaeConfig = replace(zoo.config("mae-st-vit-b"), **size, **decoder)  # type: ignore[type-var, assignment]
    model = replace(zoo.config("mae-st-vit-b-k400"), **size, num_actions=15, dropout=0.1)  # type: ignore[type-var]
    adamw = Optimizer(
        optax.scale_by_adam,
        options={"b2": 0.95},
        learning_rate=1e-3,
        schedule=optax.warmup_cosine_decay_schedule,
        schedule_options={"warmup_steps": 30},
        clip_norm=5.0,
        decay=weight_decay(0.05),
    )
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
        optimizer=adamw,
        train=Train(steps=None, checkpoint_every=200, eval_every=200),
        stages={
            "pretrain": Stage(400, losses=Reconstruction(), model=pretrained),
            "probe": Stage(100, replace(adamw, table=zoo.trunk_frozen(model), decay=())),
            "all": Stage(
                200,
                replace(adamw, table=layer_decay(depth, 0.75), decay=weight_decay(0.05, tokens=False)),
            ),
        },
        evals={
            "penn": Eval(
                views=("single", "multi"),
                scorers=(Action("sum"), ReconstructionError(), Samples()),
                batch=10,
            )
        },
    )
