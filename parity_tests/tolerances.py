"""How far two implementations may lie apart, relative to the largest value; a reason beside everything above 1e-5."""

import numpy as np

GOLDEN = {
    "pe2d_small": 1e-5,
    "pe3d_small": 1e-5,
    "pe3d_master_small": 1e-5,
    "ar_penn_small": 1e-5,
    "ar_ntu_small": 1e-5,
    "sp_penn_small": 1e-5,
    "sp_ntu_small": 1e-5,
    # The later code weights context points by unbounded logits and divides by their sum, which comes near zero: the
    # authors' own outputs there carry float32 noise of this size.
    "pe2d_master_small": 1e-4,
    "pe2d_ctx1_master_small": 1e-4,
    "ar_penn_master_small": 1e-4,
}
OUTPUTS = 1e-5
#: The last of many predictions, each refining the one before: float32 against float64 differs as much.
LATE = {"spnet-penn": 2e-3, "spnet-pose": 2e-4}
#: Poses in bfloat16 against float32, in units of the crop.
HALF = 0.01
LOSSES = 1e-6
#: Both sides in float64.
DOUBLE = 1e-8
#: Gradients pass the quotients of batch normalisation in dozens of layers, each summed in another order.
GRADIENTS = 1e-4
#: What two steps add to the parameters, in float64: RMSprop divides rounding errors in gradients near zero by 1e-7.
MOVES = 1e-6
STATISTICS = 1e-5


def distance(a, b) -> float:
    """Largest difference relative to the largest value of `b`; of tuples, the largest distance of their members."""
    if isinstance(b, tuple):
        assert len(a) == len(b)
        return max(distance(x, y) for x, y in zip(a, b, strict=True))
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
