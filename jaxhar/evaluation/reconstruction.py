"""The scorer of masked autoencoders: how far the patches are that the network did not see."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import Reconstructing
from jaxhar.core.patches import Patching, deviations, target_frames, unpatchify
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Picture, Section


@dataclass(frozen=True)
class ReconstructionError:
    """Mean squared error of the removed patches, as the loss of the pretraining, and pictures of some examples.

    Attributes:
      pictures: number of examples to show.
    """

    pictures: int = 4
    reads = ("patches", "removed", "frames")

    def begin(self, context: Context) -> "_Sums | None":
        """Empty sums; None for a network that reconstructs nothing."""
        network = context.network
        return _Sums(network.patching, self.pictures, context) if isinstance(network, Reconstructing) else None

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The true patches, all of them removed; {} for a network that reconstructs nothing."""
        if not isinstance(context.network, Reconstructing):
            return {}
        target = np.asarray(context.network.patching.target(batch))
        return {"patches": target[None], "removed": np.ones((1, *target.shape[:2]), np.float32)}


class _Sums:
    def __init__(self, patching: Patching, pictures: int, context: Context):
        self._patching, self._most, self._context = patching, pictures, context
        self._errors: list[float] = []
        self._pictures: list[Picture] = []
        self._covered = False

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if "patches" not in preds:
            return
        batch = Batch(frames=np.asarray(example["frames"])[None])
        if "cover" in example:
            batch["cover"] = np.asarray(example["cover"])[None]
        found, removed = float64(preds["patches"][-1]), float64(preds["removed"][-1])
        self._errors.append(error(self._patching, batch, found, removed))
        if len(self._pictures) < self._most:
            frames = side_by_side(self._patching, batch, found, removed)
            image, name = frames[len(frames) // 2], self._context.name(example)
            self._pictures.append(Picture("reconstruction", image=image, name=name))
            self._covered |= "cover" in example

    def sections(self) -> list[Section]:
        """See `Sums`."""
        if not self._errors:
            return []
        key = f"reconstruction{self._context.suffix}"
        cover = ", the boxes of persons" if self._covered else ""
        about = f"The middle frame{cover}, what the network saw of it, and its reconstruction with what it saw."
        return [
            Section(
                "Reconstruction",
                scalars={key: float(np.mean(self._errors))},
                units={key: "σ²" if self._patching.norm_pixels else ""},
                pictures=tuple(self._pictures),
                about=(about,),
                json={"errors": self._errors},
                if_true={key: (0.0, 1e-6)},
                if_learned={key: (0.0, 0.5)},
            )
        ]


def error(patching: Patching, batch: Batch, found: np.ndarray, removed: np.ndarray) -> float:
    """Mean squared error of the removed patches of one example, as in the loss; arguments as of `side_by_side`."""
    squares = ((found - float64(patching.target(batch))[0]) ** 2).mean(-1)
    return float((squares * removed).sum() / removed.sum())


def side_by_side(patching: Patching, batch: Batch, found: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """(T, H, 3 W or 4 W, 3) uint8: each frame to be reconstructed, what was seen of it, and the reconstruction.

    If the batch has a cover, that of the frame stands beside it. Where something was seen, it is shown in the
    reconstruction as it is.

    Args:
      batch: of one example. found: (N, P) its predicted patches. removed: (N,).
    """
    patches = patching.patches(batch)
    true, hidden = np.asarray(patches)[0], removed[:, None] > 0
    if patching.norm_pixels:
        mean, deviation = (np.asarray(value)[0] for value in deviations(patches))
        found = found * deviation + mean
    rows = jnp.stack([true, np.where(hidden, 0, true), np.where(hidden, found, true)])
    size = batch["frames"].shape[2:4]
    clips = np.asarray(unpatchify(rows, patching.frames_per_token, patching.patch, size))
    frame, *others = (patching.pixels.picture(clip) for clip in clips)
    if "cover" in batch:
        shown = batch["cover"][0][target_frames(patching.num_frames, patching.pred_frames)]
        others.insert(0, (255 * np.clip(shown, 0, 1)).round().astype(np.uint8)[..., None].repeat(3, -1))
    return np.concatenate([frame, *others], axis=2)
