"""The person's box over time, and the clips that a video is cut into. Arrays in, arrays out."""

import math

import numpy as np
from scipy import ndimage

from jaxhar.data import transforms

#: Joints below this confidence have no say in the person's box (deephar's threshold).
BOX_CONFIDENCE = 0.25
#: With fewer confident joints a frame has no box of its own: an arm alone would give far too small a one.
BOX_JOINTS = 4
#: A smaller figure (as a part of the picture's longer side) is too small to be a person: about 12 pixels in the crop.
BOX_EXTENT = 0.05


def person_box(pose: np.ndarray, confidence: np.ndarray, whole: np.ndarray) -> np.ndarray | None:
    """The square about the confident joints, 1.5 times their extent.

    Args:
      pose: (J, >=2) in units of the crop. confidence: (J,), NaN where the network gives none: then every joint counts.
      whole: (4,) the crop's box in image pixels.

    Returns:
      (4,) image pixels, or None where too few joints are confident or they lie in one spot.
    """
    sure = ~(confidence < BOX_CONFIDENCE)
    points = pose[sure, :2]
    if sure.sum() < min(BOX_JOINTS, len(pose)) or np.ptp(points, axis=0).max() < BOX_EXTENT:
        return None
    return transforms.valid_bbox(whole[:2] + points * (whole[2:] - whole[:2]))


def deephar_box(pose: np.ndarray, confidence: np.ndarray, whole: np.ndarray) -> np.ndarray | None:
    """As `person_box` by deephar's script, which chooses joints by their last coordinate, not their confidence."""
    del confidence
    points = pose[pose[:, -1] > BOX_CONFIDENCE, :2]
    return transforms.valid_bbox(whole[:2] + points * (whole[2:] - whole[:2])) if len(points) else None


def smooth(boxes: np.ndarray, sigma: float) -> np.ndarray:
    """Boxes (N, 4) of one video, steadied: a median against single slips, then a Gaussian of `sigma` frames."""
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    window = 2 * math.ceil(sigma) + 1
    # the logarithm: a box twice and one half as large cancel out
    track = np.concatenate([centre, np.log(np.maximum(side, 1))], axis=1)
    track = ndimage.median_filter(track, size=(window, 1), mode="nearest")
    track = ndimage.gaussian_filter1d(track, sigma, axis=0, mode="nearest")
    half = np.exp(track[:, 2:]) / 2
    return np.concatenate([track[:, :2] - half, track[:, :2] + half], axis=1)


def union(boxes: np.ndarray) -> np.ndarray:
    """The box (4,) that holds boxes (N, 4): one crop serves all frames of a clip, as in deephar's evaluation."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def clips(num_frames: int, length: int, stride: int = 1) -> list[np.ndarray]:
    """Windows of `length` frames that overlap by half and hold every frame, as (length,) indices, by first frame.

    The frames of a window are `stride` apart, less where the video is too short for one such window; in between lie
    the windows that begin one frame later, so that every frame gets its pose. A video below `length` frames is
    slowed down as in deephar's clip sampling: frames are repeated.
    """
    stretch = 1.0
    while num_frames * stretch < length:
        stretch *= 1.5
    step = min(stride, max(1, num_frames // length))
    windows = []
    for phase in range(step):
        track = np.arange(phase, num_frames, step)
        if stretch > 1:
            track = (np.arange(int(num_frames * stretch)) / stretch).astype(int)
        last = len(track) - length
        starts = [*range(0, last, max(1, length // 2)), last]
        windows += [track[start : start + length] for start in starts]
    return sorted(windows, key=lambda window: (window[0], window[-1]))
