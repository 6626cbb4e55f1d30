import itertools
import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from jaxhar.data.formats.times import Clock, rate
from jaxhar.data.formats.video import Video

MS = Fraction(1, 1000)


def write(
    path: Path, form: str, codec: str, ticks: list[int], base: Fraction, nominal: Fraction, **options: str
) -> Path:
    """A video with these times, and a header that says `nominal` frames a second."""
    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=nominal)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = base
        for n, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * n, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def uneven(count: int) -> list[int]:
    """Times in milliseconds as the camera of a web page has them, 27 frames a second."""
    steps = random.Random(0).choices([31, 33, 34, 35, 36, 50], k=count - 1)
    return list(itertools.accumulate(steps, initial=0))


@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [
        ("webm", "libvpx", {"live": "1"}),
        ("matroska", "libx264", {}),
        ("flv", "libx264", {}),
        ("asf", "wmv2", {}),
    ],
)
def test_a_nominal_rate_is_not_believed(tmp_path: Path, form: str, codec: str, options: dict[str, str]):
    ticks = uneven(90)
    video = Video(write(tmp_path / "a", form, codec, ticks, MS, Fraction(1000), **options))
    assert float(video.fps) == pytest.approx(89e3 / ticks[-1], rel=0.02)
    assert video.total == 90
    np.testing.assert_allclose([frame.time for frame in video.frames(0)], np.array(ticks) / 1000, atol=2e-3)


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(25), Fraction(1, 60), Fraction(240)])
def test_a_true_rate_is_exact(tmp_path: Path, fps: Fraction):
    ticks = [round(1000 * n / fps) for n in range(40)]
    assert Video(write(tmp_path / "a.mkv", "matroska", "libx264", ticks, MS, fps)).fps == fps


def test_rates():
    every = range(0, 4000, 40)
    assert rate(every, MS, Fraction(1000), Fraction(1000)) == 25
    assert rate(every, MS) == 25
    assert rate([None] * 10, MS, Fraction(25), Fraction(50), codec=Fraction(12)) == 12
    assert rate([None], MS, Fraction(90000), Fraction(90000)) == 25
    assert rate([0], MS) == rate([], MS) == rate([5, 5, 5], MS) == 25
    # two recordings joined, the second of which begins at 0 or an hour later
    assert rate([*every, *every], MS) == rate([*every, *(3_600_000 + tick for tick in every)], MS) == 25
    # a few dropped frames
    assert rate([tick for tick in every if tick % 1000], MS, Fraction(25)) == 25
    # a picture a minute
    assert rate(range(0, 3_600_000, 60_000), MS, Fraction(1000)) == Fraction(1, 60)
    for found in (rate(uneven(90), MS), rate(range(0, 10**9, 99_999_9), Fraction(1, 90000))):
        assert found.numerator < 1 << 20 and found.denominator < 1 << 20  # encoders multiply them


def times(moments: list[float | None], joined: bool = False) -> list[float]:
    clock = Clock(lambda: 0.1, joined)
    return [round(clock(moment), 6) for moment in moments]


def test_times_always_rise():
    assert times([5.0, 5.1, 5.3]) == [0.0, 0.1, 0.3]
    assert times([None, None, None]) == [0.0, 0.1, 0.2]
    assert times([0.0, 0.1, None, 0.3]) == [0.0, 0.1, 0.2, 0.3]
    # out of order: later frames keep their own times
    assert times([0.0, 0.3, 0.2, 0.5]) == [0.0, 0.3, 0.4, 0.5]
    # the clock begins anew: later frames keep their distances
    assert times([0.0, 0.1, 2.0, 0.0, 0.1, 1.9, 3.0]) == [0.0, 0.1, 2.0, 2.1, 2.2, 4.0, 5.1]
    # an hour ahead: a joint in a broadcast, a pause elsewhere
    assert times([0.0, 0.1, 3600.0, 3600.1], joined=True) == [0.0, 0.1, 0.2, 0.3]
    assert times([0.0, 0.1, 3600.0, 3600.1]) == [0.0, 0.1, 3600.0, 3600.1]


def test_joined_recordings(tmp_path: Path):
    part = write(tmp_path / "a.ts", "mpegts", "libx264", list(range(40)), Fraction(1, 20), Fraction(20)).read_bytes()
    (tmp_path / "two.ts").write_bytes(part * 2)
    video = Video(tmp_path / "two.ts")
    assert video.fps == 20
    np.testing.assert_allclose([frame.time for frame in video.frames(0)], np.arange(80) / 20, atol=1e-6)


def test_avi_with_frames_stored_out_of_order(tmp_path: Path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(30):
            shade = np.full((48, 64, 3), 8 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(stream.encode())
    frames = list(Video(path).frames())
    np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 1 / 25, atol=1e-6)
    assert (np.diff([frame.image.mean() for frame in frames if frame.image is not None]) > -1).all()
