"""Functions of arrays: the person's box over time, and the division of a video into clips."""

import math

import numpy as np
from scipy import ndimage

from jaxhar.data import transforms

#: The box is computed from joints with at least this confidence (deephar's threshold).
BOX_CONFIDENCE = 0.25
#: With fewer confident joints a frame has no box, because e.g. an arm alone would give a box that is far too small.
BOX_JOINTS = 4
#: Smallest size of a person, as a fraction of the picture's longer side: about 12 pixels in the crop.
BOX_EXTENT = 0.05


def seen(confidence: np.ndarray) -> np.ndarray:
    """Which joints (..., J) are confident enough to be shown; all of a network without confidence (NaN)."""
    return ~(confidence < BOX_CONFIDENCE)


def anyone(confidence: np.ndarray) -> np.ndarray:
    """Whether enough joints of (..., J) are confident for a person to be there."""
    return seen(confidence).sum(-1) >= min(BOX_JOINTS, confidence.shape[-1])


def person_box(pose: np.ndarray, confidence: np.ndarray, crop_box: np.ndarray) -> np.ndarray | None:
    """The square around the confident joints, 1.5 times their extent.

    Args:
      pose: (J, >=2) in units of the crop. confidence: (J,); a joint with NaN counts as confident.
      crop_box: (4,) the crop's box in image pixels.

    Returns:
      (4,) image pixels, or None if too few joints are confident or their extent is too small.
    """
    points = pose[seen(confidence), :2]
    if not anyone(confidence) or np.ptp(points, axis=0).max() < BOX_EXTENT:
        return None
    return transforms.valid_bbox(crop_box[:2] + points * (crop_box[2:] - crop_box[:2]))


def deephar_box(pose: np.ndarray, confidence: np.ndarray, crop_box: np.ndarray) -> np.ndarray | None:
    """As `person_box`, by the rule of deephar's script, which selects joints by their last coordinate."""
    del confidence
    points = pose[pose[:, -1] > BOX_CONFIDENCE, :2]
    return transforms.valid_bbox(crop_box[:2] + points * (crop_box[2:] - crop_box[:2])) if len(points) else None


def smooth(boxes: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth the boxes (N, 4) of one video: a median filter against outliers, then a Gaussian of `sigma` frames."""
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    window = 2 * math.ceil(sigma) + 1
    # Sizes are smoothed as logarithms, so that errors by a factor of 2 and of 1/2 cancel out.
    track = np.concatenate([centre, np.log(np.maximum(side, 1))], axis=1)
    track = ndimage.median_filter(track, size=(window, 1), mode="nearest")
    track = ndimage.gaussian_filter1d(track, sigma, axis=0, mode="nearest")
    half = np.exp(track[:, 2:]) / 2
    return np.concatenate([track[:, :2] - half, track[:, :2] + half], axis=1)


def union(boxes: np.ndarray) -> np.ndarray:
    """The smallest box (4,) around boxes (N, 4). One crop serves all frames of a clip, as in deephar's evaluation."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def timed_clips(times: np.ndarray, length: int, step: float) -> list[np.ndarray]:
    """As `clips`, with frames that are `step` seconds apart: always the frame whose time is the nearest.

    At a low frame rate frames are repeated. Each frame is in at least one window.

    Args:
      times: (n,) of the frames, in seconds, rising.
    """
    n, span = len(times), float(times[-1] - times[0])
    if span <= 0:
        return clips(n, length)
    step = min(step, span * n / (n - 1) / length)
    middles = (times[1:] + times[:-1]) / 2
    end = 1.5 * times[-1] - 0.5 * times[-2]  # until then the last frame is the nearest

    def track(moments: np.ndarray) -> np.ndarray:
        return np.searchsorted(middles, moments + 1e-6 * step)

    until = np.searchsorted(times, times + step * (1 - 1e-6))
    phases = int((until - np.arange(n)).max())
    windows = []
    for first in range(min(phases, n)):
        count = max(length, int((end - times[first]) / step) + 1)
        indices = track(times[first] + step * np.arange(count))
        last = count - length
        windows += [indices[start : start + length] for start in [*range(0, last, max(1, length // 2)), last]]
    seen = np.unique(np.concatenate(windows))
    for missed in np.setdiff1d(np.arange(n), seen):  # between uneven times
        windows.append(track(times[missed] + step * (np.arange(length) - length // 2)))
    return sorted(windows, key=lambda window: (window[0], window[-1]))


def clips(num_frames: int, length: int, stride: int = 1) -> list[np.ndarray]:
    """Windows of `length` frames that overlap by half and cover every frame, as (length,) indices, by first frame.

    The frames of a window are `stride` apart, or less if the video is too short. With a stride of 2, each window is
    repeated one frame later, so that skipped frames get a pose (with 3, one and two frames later, and so on). If the
    video has fewer than `length` frames, frames are repeated, as in deephar's clip sampling.
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
