"""Runs a network on the crops of all views of one moment after the other, with or without the fusion of the views.

The boxes of the crops are those in which each view was predicted before; where a view found nobody they are
interpolated over time, and a view that never found anybody gives its whole picture. A few moments are in memory.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxhar.core import rig as rigs
from jaxhar.core.batch import to_image
from jaxhar.core.camera import Camera
from jaxhar.core.network import Viewing, frame_size
from jaxhar.data import transforms
from jaxhar.data.formats.ahead import read_ahead
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Video
from jaxhar.host.errors import Problem
from jaxhar.inference import infer
from jaxhar.predict.search import finite
from jaxhar.weights.checkpoint import Meta

#: Degrees by which a rig may differ from that of the training, see `core.rig.difference`.
_ALIKE = 10.0


@dataclass(frozen=True)
class Moments:
    """Predictions for B moments in V views.

    Attributes:
      first: index of the first one.
      pixels: (B, V, J, 2) of the image. confidence: (B, V, J), 1 where the network gives none.
      affine: (B, V, 3, 3) image pixels -> crop units. maps: (B, V, h, w, J), None for a network without.
    """

    first: int
    pixels: np.ndarray
    confidence: np.ndarray
    affine: np.ndarray
    maps: np.ndarray | None


def fusing(meta: Meta, weights: Path, cameras: Sequence[Camera], other_rig: bool) -> tuple[bool, str | None]:
    """Whether a network fuses the views of these cameras, and a sentence about it.

    Args:
      other_rig: the views may be those of another rig; then they are not fused.

    Raises:
      Problem: the network was trained for another rig.
    """
    config = meta.config
    if not isinstance(config, Viewing) or config.frames_apart:
        return False, None
    if other_rig:
        return False, "every view is predicted alone, without the fusion of the network (--other-rig)"
    advice = "--other-rig predicts every view alone, without fusion"
    if len(cameras) != config.views:
        raise Problem(
            f"the network of {weights} fuses the views of {config.views} cameras, {len(cameras)} are given; {advice}"
        )
    known = (meta.trained or {}).get("cameras")
    if not known:
        return True, (
            f"{weights} does not say for which cameras its fusion was trained, only their number: for others, or in "
            f"another order, the joints are wrong; {advice}"
        )
    off = rigs.difference([Camera.from_vector(np.array(one)) for one in known], cameras)
    if off > _ALIKE:
        raise Problem(
            f"the network of {weights} was trained for cameras that stand otherwise, or for another order of these: "
            f"directions differ by up to {off:.0f} degrees; {advice}"
        )
    return True, f"views are fused; the cameras stand as those of the training to within {off:.1f} degrees"


def predict(
    model: Any,
    sources: Sequence[Video | Images],
    boxes: np.ndarray,
    *,
    fuse: bool,
    batch: int,
    progress: bool,
) -> Iterator[Moments]:
    """Predictions for all moments, in order.

    Args:
      sources: V, one for each view. boxes: (V, F, 4) of the crops, NaN where unknown.
      fuse: all views of a moment are given to the network together; else each one alone.
      batch: crops in one run of the network; rounded down to whole moments, at least one.
    """
    count, size = max(1, batch // len(sources)), frame_size(model.config)
    with contextlib.ExitStack() as stack:
        crops = [
            stack.enter_context(contextlib.closing(read_ahead(_crops(source, one, size), 2 * count)))
            for source, one in zip(sources, boxes, strict=True)
        ]
        bar = stack.enter_context(tqdm(desc="all views", total=boxes.shape[1], unit="frame", disable=not progress))
        for first in range(0, boxes.shape[1], count):
            wanted = min(count, boxes.shape[1] - first)
            moments = [[next(one, None) for one in crops] for _ in range(wanted)]
            cut = np.zeros((count, len(sources), *size, 3), np.uint8)  # of one shape, to be compiled once
            affine = np.zeros((wanted, len(sources), 3, 3))
            for n, moment in enumerate(moments):
                for v, found in enumerate(moment):
                    if found is None:
                        raise Problem("a view changed while it was read; start again when all are complete")
                    cut[n, v], affine[n, v] = found
            bar.update(wanted)
            yield _run(model, cut, affine, first, fuse)


def _run(model: Any, crops: np.ndarray, affine: np.ndarray, first: int, fuse: bool) -> Moments:
    """Predictions for crops (B, V, H, W, 3), of which those with an affine map are kept."""
    together = crops.shape[:2]
    if fuse:
        preds = infer(model, {"frames": crops, "together": np.ones(together[0], bool)})
    else:
        preds = infer(model, crops.reshape(-1, 1, *crops.shape[2:]))
    found = {
        key: preds[key][-1].reshape(*together, *preds[key].shape[3:])[: len(affine)]
        for key in ("pose", "visible", "maps")
        if key in preds
    }
    finite(*found.values())
    pixels = to_image(affine, found["pose"])
    return Moments(first, pixels, found.get("visible", np.ones(pixels.shape[:-1])), affine, found.get("maps"))


def _crops(source: Video | Images, boxes: np.ndarray, size: tuple[int, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The crop and its affine map for each box (F, 4)."""
    known = np.flatnonzero(np.isfinite(boxes).all(-1))
    if len(known):
        boxes = np.stack([np.interp(np.arange(len(boxes)), known, boxes[known, n]) for n in range(4)], 1)
    for frame, box in zip(source.frames(), boxes, strict=False):
        assert frame.image is not None
        shape = frame.image.shape[1::-1]
        box = box if len(known) else transforms.centred_bbox(shape)
        plan = transforms.plan_crop(transforms.fit_aspect(box, size), shape, size)
        yield transforms.crop_image(frame.image, plan), plan.affine
