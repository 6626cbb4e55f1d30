"""Deephar's augmentations; the comments give their names in deephar's code."""

from functools import partial

import numpy as np

from jaxhar.data.transforms import Augment


def _steps(limit: float, step: float) -> tuple[float, ...]:
    return tuple(np.arange(-limit, limit + step / 2, step).tolist())


#: Exponents, drawn for each colour channel.
CHANNEL_POWERS = tuple((np.arange(90, 111, 2) / 100).tolist())
#: All augmentations mirror half of the examples and draw an exponent for each channel.
_training = partial(Augment, hflip=(False, True), channel_power=CHANNEL_POWERS)

#: Deephar's "mpii": photos, for pose.
MPII = _training(
    angles=_steps(40, 5),
    scales=(0.7, 1.0, 1.3),
)
#: Deephar's "pennaction_ar": action clips of Penn Action.
PENN_CLIPS = _training(
    angles=_steps(30, 5),
    scales=(0.7, 1.0, 1.3),
    trans_x=_steps(40, 5),
    trans_y=_steps(40, 5),
    subsampling=(1, 2, 3),
    fixed_subsampling=2,
)
#: Deephar's "pennaction" (CVPR'18): single frames of Penn Action, for pose.
PENN_STILLS = _training(
    angles=_steps(30, 5),
    scales=(0.7, 1.0, 1.3, 2.5),
    trans_x=_steps(40, 5),
    trans_y=_steps(40, 5),
    subsampling=(1, 2),
    fixed_subsampling=1,
)
#: Deephar's "pennaction" (TPAMI'20): action clips of Penn Action.
PENN_CLIPS_TPAMI = _training(
    angles=_steps(30, 5),
    scales=(0.7, 1.0, 1.3),
    trans_x=_steps(40, 5),
    trans_y=_steps(10, 5),
    subsampling=(4, 6, 8),
    fixed_subsampling=6,
)
#: Deephar's "pennaction_pe" (TPAMI'20): single frames of Penn Action, for pose.
PENN_STILLS_TPAMI = _training(
    angles=_steps(40, 5),
    scales=(0.7, 1.0, 1.3, 2.0),
    trans_x=_steps(40, 5),
    trans_y=_steps(10, 5),
)
#: Deephar's "ntu_ar" (CVPR'18): action clips of NTU RGB+D, of all frames.
NTU_CLIPS = _training(
    scales=(0.7, 1.0, 1.3),
    trans_x=_steps(40, 5),
    trans_y=_steps(40, 5),
    subsampling=(1, 2, 3),
    fixed_subsampling=2,
)
#: Deephar's "ntu_pe" (CVPR'18): single frames of NTU RGB+D, for pose.
NTU_STILLS = _training(
    angles=_steps(15, 5),
    scales=(0.8, 1.0, 1.2, 2.0),
    trans_x=_steps(40, 5),
    trans_y=_steps(10, 5),
    subsampling=(1, 2, 4),
)
#: Deephar's "ntu" (TPAMI'20): action clips of NTU RGB+D, of every second frame.
NTU_CLIPS_TPAMI = _training(
    scales=(0.7, 1.0, 1.3),
    trans_x=_steps(40, 5),
    trans_y=_steps(10, 5),
    subsampling=(3, 4, 5),
    fixed_subsampling=4,
)
#: Deephar's "ntu_pe" (TPAMI'20): single frames of NTU RGB+D, for pose.
NTU_STILLS_TPAMI = _training(
    angles=_steps(10, 5),
    scales=(0.7, 1.0, 1.3, 2.0),
    trans_x=_steps(40, 5),
    trans_y=_steps(10, 5),
)

#: Deephar's "human36m" (CVPR'18), for pose.
HUMAN36M_CVPR = _training(
    angles=_steps(10, 5),
    scales=(0.8, 1.0, 1.2),
)
#: Deephar's "human36m" (TPAMI'20), for pose.
HUMAN36M = _training(
    angles=_steps(10, 5),
    scales=(0.8, 1.0, 1.2),
    trans_x=_steps(20, 5),
    trans_y=_steps(4, 1),
)
#: Sides for `Augment.occluder`, from deephar's settings of Human3.6M, which deephar's code does not use.
OCCLUDER_SIDES = tuple(range(20, 90))
