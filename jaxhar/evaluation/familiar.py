"""What the crops of a data set look like to a network's trunk, see `jaxhar.core.familiar`."""

from collections.abc import Iterator

import numpy as np
from flax import nnx

from jaxhar.core.batch import Batch
from jaxhar.core.familiar import Familiar, fit
from jaxhar.core.network import Describing, clip_length
from jaxhar.core.prepared import Prepared
from jaxhar.host.errors import Problem
from jaxhar.inference import appearance

#: Largest number of crops whose features are read, of each split.
CROPS = 8192
#: Crops in one run of the network.
_BATCH = 32


def of_data(model: nnx.Module, data: Prepared) -> Familiar | None:
    """Mean, precision and band of a trained network's features: training crops against those of the evaluation split.

    None if the network does not describe images, or there are too few crops.
    """
    if not isinstance(model, Describing):
        return None
    splits = []
    for split in ("train", data.eval_split):
        try:
            stream = data.eval_stream(split, "single", max(1, _BATCH // clip_length(model.config)))  # type: ignore[attr-defined]
        except Problem:  # there is no such split
            return None
        splits.append(_features(model, stream))
    return fit(*splits)


def _features(model: nnx.Module, stream: Iterator[Batch]) -> np.ndarray:
    """(N, S) features of at most `CROPS` crops."""
    found: list[np.ndarray] = []
    count = 0
    for batch in stream:
        features = appearance(model, np.asarray(batch["frames"]))[np.asarray(batch["mask"], bool)]
        found.append(features.reshape(-1, features.shape[-1]))
        count += len(found[-1])
        if count >= CROPS:
            break
    return np.concatenate(found)
