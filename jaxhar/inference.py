"""One call from frames to numbers."""

from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx


@partial(jax.jit, static_argnums=0)
def _forward(graphdef: nnx.GraphDef, state: nnx.State, frames: jax.Array) -> dict[str, Any]:
    preds = dict(nnx.merge(graphdef, state)(frames))
    if "action" in preds:
        preds["action"] = jax.tree.map(jax.nn.softmax, preds["action"])
    return preds


def infer(model: nnx.Module, frames: np.ndarray) -> dict[str, Any]:
    """Run a network on frames; compiled once for every network structure and shape.

    Args:
      model: any network of the zoo; it is run in evaluation mode and left as it is.
      frames: (B, H, W, 3) stills or (B, T, H, W, 3) clips, RGB in [-1, 1].

    Returns:
      pose (K, B, T, J, D) in units of the crop, visible (K, B, T, J), and, for action networks, action (K', B, A)
      probabilities, or a tuple of such arrays for a network of several sets of labels. Blocks and heads are in the
      authors' order (p1..p4, v1..v4, m); a CVPR'18 action network gives the pose of its last block, K = 1. T is 1 for
      stills.

    Raises:
      ValueError: frames of another rank, or not three channels.
    """
    frames = np.asarray(frames, np.float32)
    if frames.ndim == 4:
        frames = frames[:, None]
    if frames.ndim != 5 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be (B, H, W, 3) or (B, T, H, W, 3), not {frames.shape}")
    graphdef, state = nnx.split(nnx.view(model, use_running_average=True))
    return jax.tree.map(np.asarray, _forward(graphdef, state, frames))
