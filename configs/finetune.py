"""A user's own actions: action heads trained on a frozen pose network (Luvizon et al., CVPR'18, section 4).

    python launch.py --config=configs/finetune.py:DIR
    python launch.py --config=configs/finetune.py:DIR,WEIGHTS --config.train.steps=1000

DIR has CLASS/*.mp4, *.jpg or *.png, or a CSV file that lists them (`jaxhar.data.own.folder`). WEIGHTS is a ported
network, a .safetensors file or a training run; the default is the folder reception-penn, made by `jaxhar weights
reception-penn`. A quarter of the people is used for testing.

`jaxhar finetune DIR --weights WEIGHTS` trains the same heads with cross-validation and compares them with a logistic
regression. It runs the pose network only once per clip, not in every step.
"""

from pathlib import Path

from jaxhar.finetune import run as finetune
from jaxhar.host.errors import Usage
from jaxhar.training.experiment import Experiment

WEIGHTS = "reception-penn"


def get_config(which: str = "") -> Experiment:
    """The experiment for a folder, "DIR" or "DIR,WEIGHTS"."""
    folder, _, weights = which.partition(",")
    if not folder:
        raise Usage("the folder is missing: give configs/finetune.py:DIR, or DIR,WEIGHTS")
    if not weights and not Path(WEIGHTS).exists():
        raise Usage(
            f"the weights are missing: give configs/finetune.py:{folder},WEIGHTS, or run `jaxhar weights {WEIGHTS}`"
        )
    return finetune.experiment(Path(folder), Path(weights or WEIGHTS))
