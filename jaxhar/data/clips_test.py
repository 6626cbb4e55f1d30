"""Clips and crops at the edges: short videos, pictures that no crop fits, upright ones."""

import numpy as np
import pytest

from jaxhar.data import clips
from jaxhar.host.errors import Problem


def test_a_video_shorter_than_the_span_ends_with_its_last_frame():
    span = clips.span(16, 4, 30)
    assert clips.random_start(40, span, 0.9) == 0 and clips.fixed_start(40, span, 9, 10) == 0
    frames = clips.frames_of(40, 0, span, 16)
    assert frames[0] == 0 and (frames[-6:] == 39).all()
    with pytest.raises(Problem, match="without a single frame"):
        clips.frames_of(0, 0, span, 16)


def test_clips_are_spread_from_the_start_to_the_end():
    span = clips.span(16, 4, 30)
    starts = [clips.fixed_start(300, span, clip, 10) for clip in range(10)]
    assert starts[0] == 0 and np.ptp(np.diff(starts)) == 0 and 300 - span - 10 < starts[-1] <= 300 - span
    assert clips.fixed_start(300, span, 0, 1) == 118


def test_random_crops_lie_within_the_picture():
    rng = np.random.default_rng(0)
    for _ in range(200):
        crop = clips.random_crop(60, 80, (0.08, 1), (0.75, 1.3333), rng.uniform, lambda n: int(rng.integers(n)))
        assert 0 <= crop.top <= 60 - crop.height and 0 <= crop.left <= 80 - crop.width
        assert 0.07 < crop.height * crop.width / 4800 <= 1 and 0.7 < crop.width / crop.height < 1.4


def test_views_of_an_upright_video_lie_below_each_other():
    assert clips.short_side(320, 240, 60) == (80, 60)
    assert [clips.place(80, 60, 60, which) for which in range(3)] == [(0, 0), (10, 0), (20, 0)]


def test_scaling_keeps_a_constant_picture_and_the_middle():
    frames = np.full((2, 8, 10, 3), 7.0)
    np.testing.assert_allclose(clips.scaled(frames, 4, 5), 7)
    ramp = np.tile(np.arange(8.0), (1, 4, 1))
    np.testing.assert_allclose(clips.scaled(ramp, 4, 4)[0, 0], [0.5, 2.5, 4.5, 6.5])
