"""The scorer of masked autoencoders: only removed patches count, and pictures show what was seen."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from jaxhar.core.patches import Patching
from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import View
from jaxhar.evaluation.reconstruction import ReconstructionError, side_by_side
from jaxhar.evaluation.scorer import Context

PATCHING = Patching(4, 2, 4, 4, True, Pixels.KINETICS)
FRAMES = np.random.default_rng(0).integers(30, 220, (2, 4, 8, 12, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class Config:
    patching: ClassVar[Patching] = PATCHING


CONTEXT = Context(View("single", "each"), names=("a", "b"), network=Config())  # type: ignore[arg-type]


def test_the_error_is_that_of_the_removed_patches():
    scorer, batch = ReconstructionError(pictures=1), {"frames": FRAMES}
    truth = scorer.truth(batch, CONTEXT)
    sums = scorer.begin(CONTEXT)
    removed = np.array([1, 1, 1, 0, 0, 0] * 2, np.float32)
    for number in range(2):
        found = truth["patches"][:, number] + np.where(removed[:, None] > 0, 0.5 * (1 + number), 9)
        sums.add({"frames": FRAMES[number], "sequence": number}, {"patches": found, "removed": removed[None]})
    (section,) = sums.sections()
    assert section.scalars["reconstruction"] == pytest.approx((0.25 + 1) / 2, rel=1e-5)
    assert len(section.pictures) == 1 and section.pictures[0].name == "a"


def test_a_picture_shows_the_frame_what_was_seen_and_the_reconstruction():
    batch = {"frames": FRAMES[:1]}
    removed = np.array([0, 1, 0, 0, 0, 0] * 2, np.float32)
    target = np.asarray(PATCHING.target(batch), np.float64)[0]
    clip = side_by_side(PATCHING, batch, target, removed).astype(int)
    frame, seen, made = np.split(clip[2].copy(), 3, axis=1)
    np.testing.assert_array_equal(frame, FRAMES[0, 2])
    assert (seen[:4, 4:8] == seen[0, 4]).all()
    seen[:4, 4:8] = frame[:4, 4:8]
    np.testing.assert_array_equal(seen, frame)
    assert np.abs(made - frame).max() <= 1
    np.testing.assert_array_equal(clip[:, :, :12], FRAMES[0])
    cover = np.zeros(FRAMES[:1].shape[:-1], np.float32)
    cover[:, 1, :4] = 1
    covered = side_by_side(PATCHING, {**batch, "cover": cover}, target, removed)
    np.testing.assert_array_equal(covered[:, :, 12:24], 255 * cover[0][..., None].repeat(3, -1))
    np.testing.assert_array_equal(np.delete(covered, range(12, 24), axis=2), clip)


def test_nothing_is_scored_of_a_network_that_reconstructs_nothing():
    context = dataclasses.replace(CONTEXT, network=None)
    assert ReconstructionError().begin(context) is None and ReconstructionError().truth({}, context) == {}
