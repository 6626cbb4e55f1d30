"""Actions of one's own: heads on the frozen trunk of a trained network (Luvizon et al., CVPR'18, section 4).

    python launch.py --config=configs/finetune.py:DIR
    python launch.py --config=configs/finetune.py:DIR,WEIGHTS --config.train.steps=1000

DIR holds CLASS/*.mp4, *.jpg or *.png, or a CSV file that lists them (`jaxhar.data.own.folder`). WEIGHTS is a ported
network, a .safetensors file or a training run; without it the folder reception-penn, which `jaxhar weights
reception-penn` leaves. A quarter of the people is tested on.

`jaxhar finetune DIR --weights WEIGHTS` trains the same heads in folds, beside a baseline, and runs the trunk once for
each clip in place of once in every step.
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
        raise Usage("which folder? give configs/finetune.py:DIR, or DIR,WEIGHTS")
    if not weights and not Path(WEIGHTS).exists():
        raise Usage(f"which weights? give configs/finetune.py:{folder},WEIGHTS, or run `jaxhar weights {WEIGHTS}`")
    return finetune.experiment(Path(folder), Path(weights or WEIGHTS))
