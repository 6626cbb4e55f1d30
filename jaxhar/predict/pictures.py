"""What `jaxhar predict --data NAME --pictures N` does: draw the joints of some examples of a data set, at random.

It is the visualise mode of single-person-pose-estimation, written to files: predictions in red and the truth in blue,
with the original's sizes (a ring at the head where it has a disc). A joint below the threshold is left out; the
original looks its confidence up in another cell of the map.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxhar.core.batch import Batch, to_image
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import pipeline
from jaxhar.data.dataset import PreparedSet
from jaxhar.data.formats.writer import write_png
from jaxhar.data.records import pictures
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.scorer import Example, Predicted, float64
from jaxhar.host.errors import Usage
from jaxhar.viz import draw as viz

TRUTH, PREDICTION = (0, 0, 255), (255, 0, 0)


@dataclass(frozen=True)
class Pictures:
    """Which pictures are drawn, and how.

    Attributes:
      count: number of examples, or all if there are fewer.
      seed: of their choice.
      show_truth: also draw the annotated joints.
      threshold: confidence below which a predicted joint is left out.
      skeleton: whether limbs are drawn.
    """

    count: int
    seed: int = 0
    show_truth: bool = False
    threshold: float = 0.0
    skeleton: bool = True

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise Usage(f"--pictures must be 1 or more and --seed 0 or more, not {self.count} and {self.seed}")


def write(
    model: evaluate.Predictor,
    prepared: PreparedSet,
    split: str,
    view: View,
    out: Path,
    how: Pictures,
    skeleton: Skeleton,
) -> list[Path]:
    """Write NAME.png for each chosen record of a split, in the order of the records; of a clip its middle frame.

    Args:
      view: one of `prepared.views`, not of kind "clips". skeleton: of the network and the data.
    """
    names, source, data = prepared.sequence_names(split), prepared.records(split), prepared.config
    rng = np.random.default_rng(how.seed)
    chosen = np.sort(rng.choice(len(names), min(how.count, len(names)), replace=False)).tolist()

    def batches() -> Iterator[Batch]:
        for number in chosen:
            record = {**source[number], "split": split}
            windows = data.windows(view.name, record["length"])
            yield pipeline.stack([data.example(record, frames, draw, keep_outside=True) for frames, draw in windows])

    written = []
    pairs = evaluate.of_batches(model, batches(), view, skeleton, ("pose", "visible"))
    for number, (example, preds) in zip(chosen, pairs, strict=True):
        record = source[number]
        frames, _ = data.windows(view.name, record["length"])[0]
        (image,) = pictures.frames(record, [frames[len(frames) // 2]])
        name = re.sub(r"\.(jpe?g|png)$", "", names[number], flags=re.IGNORECASE).replace("/", "_")
        written.append(out / f"{name}.png")
        write_png(written[-1], _drawn(image, example, preds, skeleton, how))
    return written


def _drawn(image: np.ndarray, example: Example, preds: Predicted, skeleton: Skeleton, how: Pictures) -> np.ndarray:
    """A picture with the joints of an example in its own pixels."""
    middle = len(example["affine"]) // 2
    limbs = skeleton.limbs if how.skeleton else ()
    head = skeleton.joints.index("head") if "head" in skeleton.joints else None
    if how.show_truth and "pose" in example:
        known = example["valid"][middle, :, :2].all(-1)
        pose = to_image(example["affine"], example["pose"])[middle]
        image = viz.draw_joints(image, np.where(known[:, None], pose, np.nan), limbs, TRUTH, head)
    pose = to_image(example["affine"], preds["pose"][-1])[middle]
    if "visible" in preds:
        sure = float64(preds["visible"][-1, middle]) >= how.threshold
        pose = np.where(sure[:, None], pose, np.nan)
    return viz.draw_joints(image, pose, limbs, PREDICTION, head)
