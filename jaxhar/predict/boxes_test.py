import numpy as np
import pytest

from jaxhar.predict import boxes as tracking


@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("num_frames", [1, 2, 5, 7, 16, 17, 31, 32, 33, 60, 101])
def test_clips_hold_every_frame_in_order(num_frames: int, length: int, stride: int):
    windows = tracking.clips(num_frames, length, stride)
    assert all(len(w) == length for w in windows)
    assert set(np.concatenate(windows).tolist()) == set(range(num_frames))
    assert all((np.diff(w) >= 0).all() for w in windows)
    firsts, lasts = [w[0] for w in windows], [w[-1] for w in windows]
    assert firsts == sorted(firsts) and lasts == sorted(lasts)


def test_clips_overlap_by_half_and_end_with_the_video():
    assert [(w[0], w[-1]) for w in tracking.clips(21, 8)] == [(0, 7), (4, 11), (8, 15), (12, 19), (13, 20)]


def test_clips_step_over_frames_but_none_is_left_out():
    windows = tracking.clips(16, 4, 2)
    assert windows[0].tolist() == [0, 2, 4, 6] and windows[1].tolist() == [1, 3, 5, 7]
    assert windows[-1].tolist() == [9, 11, 13, 15]
    # 7 frames have room for one clip of 4 only at a step of 1
    assert tracking.clips(7, 4, 2)[0].tolist() == [0, 1, 2, 3]


def test_short_videos_are_slowed_down_by_the_authors_rule():
    # 7 frames at 1.5 times: 0 0 1 2 2 3 4 4 5 6; the centred clip of 8 would be 0 1 2 2 3 4 4 5
    assert [w.tolist() for w in tracking.clips(7, 8)] == [[0, 0, 1, 2, 2, 3, 4, 4], [1, 2, 2, 3, 4, 4, 5, 6]]
    assert tracking.clips(1, 4)[0].tolist() == [0, 0, 0, 0]


def test_person_box_is_the_square_about_the_sure_joints():
    pose = np.array([[0.2, 0.2], [0.4, 0.8], [0.3, 0.5], [0.3, 0.6], [0.9, 0.1]])
    sure = np.array([0.9, 0.8, 0.5, 0.3, 0.1])
    box = tracking.person_box(pose, sure, np.array([100.0, 0, 300, 200]))
    # extremes in pixels x 140..180, y 40..160: centre (160, 100), side 1.5 * 120
    np.testing.assert_allclose(box, [70, 10, 250, 190])


def test_no_person_box_from_few_joints_or_one_spot():
    whole = np.array([0.0, 0, 100, 100])
    pose = np.random.default_rng(0).uniform(size=(16, 2))
    assert tracking.person_box(pose, np.r_[np.ones(3), np.zeros(13)], whole) is None
    assert tracking.person_box(np.full((16, 2), 0.5), np.ones(16), whole) is None


def test_smoothing_removes_a_slip_and_jitter_but_keeps_the_course():
    rng = np.random.default_rng(0)
    n = 200
    x = np.linspace(100, 500, n)
    course = np.stack([x, 0 * x + 50, x + 80, 0 * x + 130], axis=1)
    seen = course + rng.normal(scale=4, size=course.shape)
    seen[77] = [0, 0, 900, 900]
    smoothed = tracking.smooth(seen, 7.0)
    # the ends lag behind, since the first and last box are repeated there
    assert np.abs(smoothed - course)[20:-20].max() < 8
    assert np.abs(smoothed - course).max() < 25
    still = np.tile(np.array([10.0, 20, 50, 60]), (9, 1))
    np.testing.assert_allclose(tracking.smooth(still, 5.0), still, rtol=1e-9)


@pytest.mark.parametrize(("n", "length", "stride"), [(40, 8, 2), (16, 8, 2), (37, 8, 1), (60, 4, 3), (9, 4, 2)])
@pytest.mark.parametrize("fps", [25, 29.97, 50])
def test_windows_by_time_are_those_by_frames_where_both_are_the_same(n, length, stride, fps):
    by_time = tracking.timed_clips(np.arange(n) / fps, length, stride / fps)
    np.testing.assert_array_equal(by_time, tracking.clips(n, length, stride))


def test_a_fast_video_is_seen_at_the_speed_of_a_slow_one():
    windows = tracking.timed_clips(np.arange(120) / 60, 8, 2 / 25)
    assert len({tuple(window) for window in windows}) == len(windows)
    for window in windows:
        np.testing.assert_allclose(np.diff(window) / 60, 2 / 25, atol=1 / 60)
        assert window[-1] - window[0] == pytest.approx(7 * 2 / 25 * 60, abs=1)
    slow = tracking.timed_clips(np.arange(30) / 10, 8, 2 / 25)  # 0.8 frames
    assert {len(set(window.tolist())) for window in slow} <= {6, 7}


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_of_uneven_times_is_in_a_window_and_frames_are_the_nearest(seed):
    rng = np.random.default_rng(seed)
    n, length, step = int(rng.integers(2, 90)), int(rng.integers(2, 17)), float(rng.uniform(0.02, 0.2))
    times = np.cumsum(rng.choice([0.008, 0.033, 0.1, 0.4], n, p=[0.3, 0.5, 0.15, 0.05]))
    windows = tracking.timed_clips(times, length, step)
    assert np.unique(np.concatenate(windows)).tolist() == list(range(n))
    firsts = [(window[0], window[-1]) for window in windows]
    assert firsts == sorted(firsts) and all(len(window) == length for window in windows)
    step = min(step, (times[-1] - times[0]) * n / (n - 1) / length)
    for window in windows:
        assert (np.diff(window) >= 0).all()
        # some start, from which every frame is the nearest to its moment
        offsets = times[window] - step * np.arange(length)
        inside = (window > 0) & (window < n - 1)
        reach = np.diff(times).max() / 2
        if inside.any():
            assert np.ptp(offsets[inside]) <= 2 * reach + 1e-6


def test_times_that_stand_still():
    for n in (1, 9):
        np.testing.assert_array_equal(tracking.timed_clips(np.zeros(n), 4, 0.1), tracking.clips(n, 4))
