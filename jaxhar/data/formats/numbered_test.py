from pathlib import Path

import cv2
import numpy as np
import pytest

from jaxhar.data.formats import numbered
from jaxhar.data.formats.video_test import quarters, write_video
from jaxhar.host.errors import Problem

COUNT = 150


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """A video whose frame n has the brightness n, in 25 frames per second."""
    shades = [np.full((32, 48, 3), n + 40, np.uint8) for n in range(COUNT)]
    return write_video(tmp_path_factory.mktemp("film") / "a.mp4", shades)


def shades(pictures: np.ndarray) -> np.ndarray:
    return pictures.mean((1, 2, 3)) - 40


def test_frames_by_their_numbers(film):
    found = numbered.survey(film)
    assert found.fps == 25 and found.size == (48, 32)
    np.testing.assert_allclose(found.times, np.arange(COUNT) / 25, atol=1e-9)
    numbers = [0, 3, 4, 70, 149]  # farther apart than is decoded
    np.testing.assert_allclose(shades(numbered.read(film, numbers, found.times)), numbers, atol=2)
    small = numbered.read(film, [100, 101], found.times, side=16)
    assert small.shape == (2, 16, 24, 3)
    np.testing.assert_allclose(shades(small), [100, 101], atol=2)
    # where times are not known, frames are counted
    np.testing.assert_array_equal(
        numbered.read(film, numbers, np.full(COUNT, np.nan)), numbered.read(film, numbers, found.times)
    )


def test_a_part_counts_from_its_own_first_frame(film):
    found = numbered.survey(film, 2.0, 4.0)
    assert len(found.times) == 50 and found.times[0] == 2.0
    for times in (found.times, np.full(50, np.nan)):
        np.testing.assert_allclose(shades(numbered.read(film, [0, 49], times, start=2.0, end=4.0)), [50, 99], atol=2)
    with pytest.raises(Problem, match="a.mp4: this video has no frame between 7 and 9 s"):
        numbered.survey(film, 7.0, 9.0)


def test_pictures_are_scaled_as_they_are_shown(tmp_path):
    path = write_video(tmp_path / "tall.mp4", [quarters(96, 64)] * 3)
    assert numbered.survey(path).size == (64, 96)
    assert numbered.read(path, [1], np.arange(3) / 25, side=32).shape == (1, 48, 32, 3)


def test_avi_files_are_counted(tmp_path):
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    for n in range(5):
        writer.write(np.full((32, 48, 3), n + 40, np.uint8))
    writer.release()
    found = numbered.survey(path)
    assert np.isnan(found.times).all() and len(found.times) == 5 and found.fps == 10
    np.testing.assert_allclose(shades(numbered.read(path, [1, 4], found.times)), [1, 4], atol=2)
    with pytest.raises(Problem, match="frame 7 is needed, but the video has fewer now"):
        numbered.read(path, [7], np.full(8, np.nan))


def test_damage_within_a_video_is_found_where_all_is_decoded(film, tmp_path):
    data = bytearray(film.read_bytes())
    begin = data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2
    data[begin : begin + 400] = bytes(400)
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    assert len(numbered.survey(path).times) == COUNT
    with pytest.raises(Problem, match="a.mp4: the video is damaged after frame"):
        numbered.survey(path, thorough=True)
    assert len(numbered.survey(film, thorough=True).times) == COUNT


def test_a_file_that_ends_early_or_is_no_video(film, tmp_path):
    data = film.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(Problem, match=r"cut.mp4: the video ends after frame \d+, but its header says 150 frames"):
        numbered.survey(tmp_path / "cut.mp4")
    (tmp_path / "words.mp4").write_text("words")
    with pytest.raises(Problem, match="words.mp4: this file cannot be read"):
        numbered.survey(tmp_path / "words.mp4")
    with pytest.raises(Problem, match="the frame at 9.000 s cannot be decoded"):
        numbered.read(film, [0], np.array([9.0]))
