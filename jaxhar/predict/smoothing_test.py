"""Noise is taken away, motion and what is not seen stay, and what was smoothed is named."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxhar.host.errors import Usage
from jaxhar.predict import smoothing
from jaxhar.predict.frame_result import FrameResult
from jaxhar.predict.options import Options
from jaxhar.predict.predictor_test import draw, write_video
from jaxhar.predict.result_test import dots_network
from jaxhar.predict.smoothing import Smoothing, butterworth

RATE = 25.0
TIMES = np.arange(100) / RATE


def motion(depth: bool = False) -> np.ndarray:
    """Joints (100, 5, D) of a person: one rests, one swings, two walk, one is never seen."""
    swing = 60 * np.sin(2 * np.pi * 0.8 * TIMES)
    rest, walk = np.full(100, 80.0), 60 * TIMES
    ways = ((rest, rest), (swing, rest), (walk, swing), (walk, rest), (rest, walk))
    pose = np.stack([np.stack([x, y], -1) for x, y in ways], 1)
    return np.concatenate([pose, pose[..., :1] / 200], -1) if depth else pose


def filtered(how: str, pose: np.ndarray, away: tuple[int, ...] = ()) -> np.ndarray:
    """The joints after the filter; the person is not there in the frames `away`."""
    sure = np.array([1, 1, 1, 1, 0.1]), np.zeros(5)
    frames = [[FrameResult(i, np.array([0.0, 0, 200, 200]), p, sure[i in away])] for i, p in enumerate(pose.copy())]
    found = list(Smoothing.parse(how)((frame for frame in frames), TIMES.tolist(), RATE))
    return np.array([one.pose for (one,) in found])


@pytest.mark.parametrize(("how", "share"), [("butterworth", 0.8), ("butterworth:4", 0.7), ("one-euro", 0.96)])
@pytest.mark.parametrize("depth", [False, True])
def test_noise_is_taken_away_and_what_is_not_seen_stays(how, share, depth):
    truth = motion(depth)
    noise = np.array([3.0, 3.0, 0.015])[: truth.shape[-1]]
    noisy = truth + noise * np.random.default_rng(0).normal(size=truth.shape)
    found = filtered(how, noisy)
    np.testing.assert_array_equal(found[:, 4], noisy[:, 4])
    rms = [np.sqrt((((values - truth)[:, :4] / noise) ** 2).mean((0, 1))) for values in (noisy, found)]
    assert (rms[1] < share * rms[0]).all(), rms
    jumps = [np.abs(np.diff(values[:, :4] / noise, 2, axis=0)).mean() for values in (noisy, found)]
    assert jumps[1] < 0.65 * jumps[0]


def test_the_one_euro_filter_looks_at_no_later_frame():
    pose = motion()
    later = pose.copy()
    later[60:] += 50
    np.testing.assert_array_equal(filtered("one-euro", pose)[:60], filtered("one-euro", later)[:60])
    assert (filtered("butterworth", pose)[55:60] != filtered("butterworth", later)[55:60]).any()


@pytest.mark.parametrize("how", ["butterworth", "one-euro"])
def test_a_filter_begins_anew_after_a_gap(how):
    pose = motion()
    pose[50:] += 500
    found = filtered(how, pose, away=(48, 49))
    np.testing.assert_array_equal(found[48:50], pose[48:50])
    assert np.abs(found[50:, :4] - pose[50:, :4]).max() < 30, "nothing of the place before the gap"


def test_the_one_euro_filter_by_its_equations():
    """Of one joint along x, step by step as in the paper."""
    x = np.array([10.0, 14.0, 13.0, 20.0, 26.0])
    pose = np.zeros((5, 5, 2))
    pose[:, 0, 0] = x
    found, value, speed = filtered("one-euro:2", pose)[:, 0, 0], x[0], 0.0
    for n, new in enumerate(x):
        if n:
            alpha = 1 / (1 + RATE / (2 * np.pi * smoothing._SPEED_CUTOFF))
            speed = alpha * (new - value) / 200 * RATE + (1 - alpha) * speed
            cutoff = 2 + smoothing._RISE * abs(speed)
            alpha = 1 / (1 + RATE / (2 * np.pi * cutoff))
            value = alpha * new + (1 - alpha) * value
        assert found[n] == pytest.approx(value, rel=1e-9)


def test_butterworth_filters_between_gaps():
    time = np.arange(100) / 50
    truth = np.stack([300 * np.sin(2 * np.pi * time), 1000 * time, 0 * time], -1)[:, None]
    noisy = truth + np.random.default_rng(0).normal(0, 10, truth.shape)
    noisy[40:43] = np.nan
    found = butterworth(noisy, 50.0, 4.0)
    assert (np.isnan(found) == np.isnan(noisy)).all()
    rms = [np.sqrt(np.nanmean((values - truth) ** 2)) for values in (noisy, found)]
    assert rms[1] < 0.65 * rms[0]
    np.testing.assert_allclose(butterworth(truth, 50.0, 4.0)[10:-10, :, 1], truth[10:-10, :, 1], atol=1)


def test_the_lowest_cut_off_keeps_what_rests():
    still = np.full((100, 1, 2), 80.0)
    np.testing.assert_allclose(butterworth(still, RATE, RATE * smoothing._LOWEST), still, rtol=1e-6)


def test_what_was_smoothed_says_so(tmp_path, monkeypatch):
    dots = dots_network(monkeypatch)
    source = write_video(tmp_path / "a.mp4", 20)
    plain = dots.predict(source)
    for words, named in (("butterworth", "butterworth:6"), ("one-euro:0.5", "one-euro:0.5")):
        result = dots.predict(source, smooth=words)
        assert result.made_by["settings"]["smooth"] == named and "smooth" not in plain.made_by["settings"]
        assert 0 < np.abs(result.joints - plain.joints).max() < 12
        np.testing.assert_array_equal(result.confidence, plain.confidence)
        np.testing.assert_array_equal(result.actions, plain.actions)
        dots.write(source, tmp_path / "out", Options(smooth=words))
        result.save(tmp_path / "saved")
        written = (tmp_path / "out" / "poses.json").read_bytes()
        assert written == (tmp_path / "saved" / "poses.json").read_bytes()
        joints = json.loads(written)["frames"][9]["persons"][0]["joints"]
        np.testing.assert_allclose(joints, result.joints[9], atol=0.006)


def test_wrong_filters_are_told(tmp_path, monkeypatch):
    for words in ("", "mean", "butterworth:0", "one-euro:x", "butterworth:nan", "6"):
        with pytest.raises(Usage, match="is no filter: give butterworth or one-euro"):
            Options(smooth=words)
    dots = dots_network(monkeypatch)
    with pytest.raises(Usage, match="--smooth 10 must be below half of the 20 frames per second"):
        dots.predict(write_video(tmp_path / "a.mp4", 3), smooth="butterworth:10")
    with pytest.raises(Usage, match="--smooth 1e-09 must be at least 0.002 Hz at 20 frames per second"):
        dots.predict(tmp_path / "a.mp4", smooth="butterworth:1e-9")
    Image.fromarray(draw((90, 120))).save(tmp_path / "a.png")
    with pytest.raises(Usage, match="--smooth is for videos"):
        dots.predict(tmp_path / "a.png", smooth="one-euro")
