"""Videos that break off or are damaged are told, whole ones with odd headers are not."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from jaxhar.data.formats.source import open_file
from jaxhar.data.formats.video import Video
from jaxhar.data.own import folder as own_folder
from jaxhar.host.errors import Problem

COUNT = 60
NOISE = np.random.default_rng(0).integers(0, 255, (COUNT, 64, 64, 3), np.uint8)


def write(path: Path, codec: str = "libx264", form: str | None = None, sound: float = 0.0, **options: str) -> Path:
    """Noise at 25 frames a second, perhaps with a stream of silence that is longer."""
    with av.open(str(path), "w", format=form, options=options) as container:
        video = container.add_stream(codec, rate=25)
        video.width, video.height = 64, 64
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        silence = container.add_stream("mp3", rate=22050, layout="mono") if sound else None
        for image in NOISE:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        if silence is not None:
            for n in range(round(sound * 22050 / 576)):
                samples = av.AudioFrame(format="s16p", layout="mono", samples=576)
                samples.planes[0].update(bytes(samples.planes[0].buffer_size))
                samples.sample_rate, samples.pts = 22050, 576 * n
                container.mux(silence.encode(samples))
            container.mux(silence.encode())
    return path


KINDS = {
    "a.mp4": {"movflags": "+faststart"},
    "fragments.mp4": {"movflags": "frag_keyframe+empty_moov"},
    "a.mov": {"codec": "mjpeg", "movflags": "+faststart"},
    "a.avi": {"codec": "mjpeg"},
    "b.avi": {"codec": "mpeg4"},
    "a.mkv": {},
    "a.webm": {"codec": "libvpx"},
    "a.flv": {},
    "sound.mkv": {"sound": 5.0},
    "sound.avi": {"codec": "mjpeg", "sound": 5.0},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_cut_off(tmp_path: Path, name: str):
    path = write(tmp_path / name, **KINDS[name])  # type: ignore[arg-type]
    assert len(list(Video(path).frames(0))) == COUNT
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(Problem, match=f"{name}: the video (ends|is damaged) after frame .*; restore it") as caught:
        list(Video(path).frames(0))
    where, promised = map(int, re.findall(r"frame (\d+)\D+(\d+)", str(caught.value))[0])
    assert COUNT / 5 < where < COUNT * 0.8 and (promised >= COUNT or name == "fragments.mp4")
    with pytest.raises(Problem, match="restore it"):  # training reads the same way
        own_folder._read(path, 640)
    video = Video(path, skip_broken=True)
    assert COUNT / 5 < len(list(video.frames(0))) < COUNT * 0.8 and len(video.broken) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "b.avi", "a.mkv"])
def test_a_file_that_is_overwritten_in_the_middle(tmp_path: Path, name: str):
    path = write(tmp_path / name, **KINDS[name])  # type: ignore[arg-type]
    data = bytearray(path.read_bytes())
    middle, length = len(data) // 2, len(data) // 12
    data[middle : middle + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(data)
    with pytest.raises(Problem, match=f"{name}: the video (is damaged|ends) after frame"):
        list(Video(path).frames(0))
    video = Video(path, skip_broken=True)
    counts = {len(list(video.frames(0))) for _ in range(3)}
    assert len(counts) == 1 and COUNT / 5 < counts.pop() <= COUNT and len(video.broken) == 1


@pytest.mark.parametrize("name", ["sound.mkv", "sound.avi", "sound.flv", "sound.mp4"])
def test_sound_may_be_longer(tmp_path: Path, name: str):
    codec = "mjpeg" if name.endswith("avi") else "libx264"
    video = Video(write(tmp_path / name, codec, sound=5.0))
    assert len(list(video.frames(0))) == COUNT and video.fps == 25


def lie(path: Path, said: int) -> Path:
    """Write a number of frames into both headers of an .avi."""
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"avih", 24), (b"strh", 40)):
        at = data.index(mark) + offset
        data[at : at + 4] = said.to_bytes(4, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("said", "fits"), [(0, True), (1, True), (COUNT + 1, True), (COUNT + 2, True), (500, False)])
def test_a_header_with_another_count(tmp_path: Path, said: int, fits: bool):
    video = Video(lie(write(tmp_path / "a.avi", "mjpeg"), said))
    if fits:
        assert len(list(video.frames(0))) == COUNT and not video.broken
    else:
        with pytest.raises(Problem, match=f"ends after frame {COUNT}, but its header says {said} frames"):
            list(video.frames(0))


def test_frames_that_an_editor_cut_away(tmp_path: Path):
    """An edit list: the file holds more frames than are shown."""
    whole = write(tmp_path / "a.mp4")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "b.mp4"), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.dts = packet.pts - 20 * packet.duration, packet.dts - 20 * packet.duration
                packet.stream = stream
                container.mux(packet)
    frames = list(Video(tmp_path / "b.mp4").frames())
    assert len(frames) == COUNT - 20 and frames[0].time == 0
    right = [frame.image for frame in Video(whole).frames()][20]
    np.testing.assert_array_equal(frames[0].image, right)


def test_a_codec_that_cannot_be_decoded(tmp_path: Path):
    path = write(tmp_path / "a.avi", "mjpeg")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZQZQ"))
    with pytest.raises(Problem, match="a.avi: the video is in a codec that .*cannot be decoded here; convert it"):
        open_file(path)


def test_a_recording_of_a_broadcast_may_begin_and_end_anywhere(tmp_path: Path):
    path = write(tmp_path / "a.ts", "mpeg2video", "mpegts")
    data = path.read_bytes()
    third = len(data) // 3 // 188 * 188
    path.write_bytes(data[third : 2 * third + 500])
    assert COUNT / 5 < len(list(Video(path).frames(0))) < COUNT / 2
    data = bytearray(data)
    data[third : third + 188 * 30] = bytes(188 * 30)
    path.write_bytes(data)
    with pytest.raises(Problem, match="is damaged after frame"):
        list(Video(path).frames(0))


def test_a_clip_before_the_damage_is_read(tmp_path: Path):
    path = write(tmp_path / "a.mp4", movflags="+faststart")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert len(list(Video(path).between(0.4, 0.8, lambda index: True))) == 10
    assert Fraction(Video(path).fps) == 25
