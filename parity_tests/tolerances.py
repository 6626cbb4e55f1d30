"""Tolerances between two implementations, relative to the largest value, with reasons for those above 1e-5."""

import numpy as np

GOLDEN = {
    "pe2d_small": 1e-5,
    "pe3d_small": 1e-5,
    "pe3d_master_small": 1e-5,
    "ar_penn_small": 1e-5,
    "ar_ntu_small": 1e-5,
    "sp_penn_small": 1e-5,
    "sp_ntu_small": 1e-5,
    # deephar's later code weights context points by unbounded logits and divides by their sum, which can be near zero;
    # its outputs have float32 noise of this size.
    "pe2d_master_small": 1e-4,
    "pe2d_ctx1_master_small": 1e-4,
    "ar_penn_master_small": 1e-4,
}
OUTPUTS = 1e-5
#: The last of many predictions that refine each other; float32 and float64 differ by as much. HRNets have 300 layers:
#: with the statistics of one image their maps differ by 4e-5, with random ones by 2e-6.
LATE = {"spnet-penn": 2e-3, "spnet-pose": 2e-4, "hrnet-w32-coco": 1e-4, "hrnet-w48-coco": 1e-4}
#: Poses in bfloat16 against float32, in units of the crop.
HALF = 0.01
#: Heat maps in bfloat16 against float32; an HRNet's 300 layers with random weights come to 0.14.
HALF_MAPS = 0.2
LOSSES = 1e-6
#: Both sides in float64.
DOUBLE = 1e-8
#: Gradients through the divisions of dozens of batch norms, summed in different orders.
GRADIENTS = 1e-4
#: Parameter changes of two steps in float64: RMSprop divides rounding errors in gradients near zero by 1e-7.
MOVES = 1e-6
STATISTICS = 1e-5


def distance(a, b) -> float:
    """Largest difference relative to the largest value of `b`; for tuples, the largest distance of their elements."""
    if isinstance(b, tuple):
        assert len(a) == len(b)
        return max(distance(x, y) for x, y in zip(a, b, strict=True))
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
