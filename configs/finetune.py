"""A user's own actions: action heads trained on a frozen pose network (Luvizon et al., CVPR'18, section 4).

    python launch.py --config=configs/finetune.py:DIR
    python launch.py --config=configs/finetune.py:DIR,WEIGHTS --config.train.steps=1000
    python launch.py --config=configs/finetune.py:demo

DIR has CLASS/*.mp4, *.jpg or *.png, or a CSV file that lists them (`jaxhar.data.own.folder`). WEIGHTS is a ported
network, a .safetensors file or a training run; the default is the folder reception-penn, made by `jaxhar weights
reception-penn`. A quarter of the people is used for testing.

`jaxhar finetune DIR --weights WEIGHTS` trains the same heads with cross-validation and compares them with a logistic
regression. It runs the pose network only once per clip, not in every step.

The demo: straight and bent handstands, 20 generated clips each of ten people. A narrow pose network learns joints in
generated films of 15 other actions, turned by up to 180 degrees; then heads are trained and tested on
the handstands as `jaxhar finetune --turn 180` does, in folds by person. docs/own_actions.md does it with a folder.
"""

from dataclasses import replace
from pathlib import Path

from jaxhar import zoo
from jaxhar.data import transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.generate.handstands import HANDSTANDS
from jaxhar.data.own import generate as own_generate
from jaxhar.data.penn.settings import Penn
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PCK
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.samples import Samples
from jaxhar.finetune import run as finetune
from jaxhar.host.errors import Usage
from jaxhar.training.experiment import Experiment, Train
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import QUICK

WEIGHTS = "reception-penn"
#: The clips of the demo, and its settings for them.
HANDSTAND_CLIPS = Synth(32, 8, 8, 2, frames=(16, 24), size=(160, 120), clutter=0.0, seed=7)
SETTINGS = finetune.Settings(folds=5, frames=8, turn=180.0)


def get_config(which: str = "") -> Experiment:
    """The experiment for a folder, "DIR" or "DIR,WEIGHTS", or the demo."""
    if which == "demo":
        return demo()
    folder, _, weights = which.partition(",")
    if not folder:
        raise Usage("the folder is missing: give configs/finetune.py:DIR, or DIR,WEIGHTS, or :demo")
    if not weights and not Path(WEIGHTS).exists():
        raise Usage(
            f"the weights are missing: give configs/finetune.py:{folder},WEIGHTS, or run `jaxhar weights {WEIGHTS}`"
        )
    return finetune.experiment(Path(folder), Path(weights or WEIGHTS))


def demo() -> Experiment:
    model = replace(
        zoo.config("reception-mpii"),
        image_size=64,
        num_blocks=1,
        width=96,
        stem_width=12,
        pose_stream_width=56,
        visual_stream_width=56,
    )
    turned = replace(
        transforms.NONE,
        angles=tuple(range(-180, 180, 15)),
        scales=(0.75, 0.85, 1.0),
        fixed_scale=0.75,
        hflip=(False, True),
    )
    return Experiment(
        name="finetune-demo",
        model=model,
        data=Penn(
            synth=Synth(2400, 60, 2400, 60, frames=(3, 4), size=(160, 120), clutter=0.0),
            augment=turned,
            augment_stills=turned,
            clip_frames=1,
            image_size=64,
            stills_per_batch=48,
            clips_per_batch=0,
        ),
        losses=Multitask(pose=1.0, visible=0.01),
        optimizer=QUICK,
        train=Train(steps=2000, checkpoint_every=200),
        evals={"joints": Eval(scorers=(Pose((PCK(0.2),)), Samples()), batch=24)},
        then=handstands,
        banner=(
            "EMBEDDED DEMO: a pose network learns from generated films, then tells straight from bent handstands.\n"
            "For clips of your own: jaxhar finetune DIR --weights WEIGHTS --turn 180\n"
        ),
    )


def handstands(workdir: Path) -> None:
    """Generates the clips of handstands; trains and tests heads for them on the pose network of a run."""
    folder = workdir / "handstands"
    own_generate.write(folder, HANDSTAND_CLIPS, names=tuple(HANDSTANDS))
    finetune.run(folder, workdir, workdir / "finetune", SETTINGS)
