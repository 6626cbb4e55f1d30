import struct
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from jaxhar.data.formats import jpeg
from jaxhar.data.formats.ahead import read_ahead
from jaxhar.data.formats.picture import read_image
from jaxhar.data.formats.source import Images, open_source
from jaxhar.data.formats.video import Video
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.own import folder as own_folder
from jaxhar.host.errors import Problem


def write_video(path: Path, images: list[np.ndarray], fps: int = 25) -> Path:
    with VideoWriter(path, Fraction(fps), images[0].shape[1], images[0].shape[0]) as writer:
        for n, image in enumerate(images):
            writer.write(image, n / fps)
    return path


def quarters(height: int = 64, width: int = 96) -> np.ndarray:
    """Red in the upper left quarter, grey elsewhere."""
    image = np.full((height, width, 3), 120, np.uint8)
    image[: height // 2, : width // 2] = (220, 30, 30)
    return image


def is_red(pixel: np.ndarray) -> bool:
    return int(pixel[0]) > 180 and int(pixel[1]) < 90


def test_video_survives_writing_and_reading(tmp_path: Path):
    shades = [np.full((48, 64, 3), 20 * n, np.uint8) for n in range(10)]
    source = Video(write_video(tmp_path / "a.mp4", shades, fps=5))
    assert source.fps == 5 and source.total == 10
    frames = list(source.frames())
    assert [f.index for f in frames] == list(range(10))
    np.testing.assert_allclose([f.time for f in frames], np.arange(10) / 5)
    assert all(f.image is not None and f.image.shape == (48, 64, 3) for f in frames)
    np.testing.assert_allclose([f.image.mean() for f in frames], [20 * n for n in range(10)], atol=3)
    with av.open(str(tmp_path / "a.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")


def test_colours_survive(tmp_path: Path):
    source = Video(write_video(tmp_path / "a.mp4", [quarters()] * 3))
    image = next(source.frames()).image
    assert image is not None
    np.testing.assert_allclose(image[16, 24], (220, 30, 30), atol=8)


def test_uneven_times_are_kept(tmp_path: Path):
    times = [0.0, 0.1, 0.5, 0.6, 2.0]
    with VideoWriter(tmp_path / "a.mp4", Fraction(10), 32, 32) as writer:
        for t in times:
            writer.write(np.zeros((32, 32, 3), np.uint8), t)
    np.testing.assert_allclose([f.time for f in Video(tmp_path / "a.mp4").frames()], times, atol=1e-3)


@pytest.mark.parametrize("height, width", [(33, 47), (1, 1), (2, 3)])
def test_odd_sizes_grow_by_one(tmp_path: Path, height: int, width: int):
    path = write_video(tmp_path / "a.mp4", [np.zeros((height, width, 3), np.uint8)] * 2)
    image = next(Video(path).frames()).image
    assert image is not None and image.shape == (height + height % 2, width + width % 2, 3)


def test_only_asked_frames_are_converted(tmp_path: Path):
    source = Video(write_video(tmp_path / "a.mp4", [quarters()] * 7))
    assert [f.image is not None for f in source.frames(3)] == [True, False, False, True, False, False, True]
    assert all(f.image is None for f in source.frames(0))


@pytest.mark.parametrize(
    "matrix, corner",
    [
        ((1, 0, 0, 1), "upper left"),
        ((0, 1, -1, 0), "upper right"),
        ((-1, 0, 0, -1), "lower right"),
        ((0, -1, 1, 0), "lower left"),
        ((-1, 0, 0, 1), "upper right"),
        ((1, 0, 0, -1), "lower left"),
        ((0, 1, 1, 0), "upper left"),
        ((0, -1, -1, 0), "lower right"),
        ((0, 0, 0, 0), "upper left"),
    ],
)
def test_turned_and_mirrored_videos_are_shown_upright(tmp_path: Path, matrix: tuple[int, ...], corner: str):
    path = write_video(tmp_path / "a.mp4", [quarters()] * 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the display matrix of the track header
    a, b, c, d = (v << 16 for v in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    image = next(Video(path).frames()).image
    assert image is not None
    assert image.shape == ((96, 64, 3) if matrix[1] else (64, 96, 3))
    # training reads the same pictures
    assert np.abs(jpeg.decode(own_folder._read(path, 640)[0][0], "").astype(int) - image).mean() < 3
    y = image.shape[0] // 4 if "upper" in corner else image.shape[0] * 3 // 4
    x = image.shape[1] // 4 if "left" in corner else image.shape[1] * 3 // 4
    assert is_red(image[y, x])


@pytest.mark.parametrize(
    ("aspect", "turned", "shape"),
    [
        ("16/15", False, (64, 102)),
        ("8/9", False, (64, 85)),
        ("8/9", True, (96, 72)),
        ("1/1", False, (64, 96)),
        ("1/100", False, (64, 96)),
    ],
)
def test_pixels_that_are_not_square(tmp_path: Path, aspect: str, turned: bool, shape: tuple[int, int]):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if turned:
            stream.set_display_rotation(90)
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(), format="rgb24")))
        container.mux(stream.encode())
    image = next(Video(tmp_path / "a.mp4").frames()).image
    assert image is not None and image.shape[:2] == shape
    assert own_folder._read(tmp_path / "a.mp4", 640)[1] == shape[::-1]


def test_interlaced_clips_are_the_same_in_training_and_prediction(tmp_path: Path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"flags": "+ildct+ilme", "x264-params": "tff=1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(9):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(), format="rgb24")))
        container.mux(stream.encode())
    packed = own_folder._read(tmp_path / "a.mp4", 640)[0]
    frames = list(Video(tmp_path / "a.mp4").frames())
    assert len(packed) == len(frames) == 9
    for data, frame in zip(packed, frames, strict=True):
        assert frame.image is not None
        assert np.abs(frame.image.astype(int) - quarters()).mean() < 5
        assert np.abs(jpeg.decode(data, "").astype(int) - frame.image).mean() < 5


def test_a_size_that_changes(tmp_path: Path):
    parts = []
    for n, size in enumerate(((64, 96), (32, 48))):
        path = write_video(tmp_path / f"{n}.mp4", [quarters(*size)] * 5)
        with av.open(str(path)) as source, av.open(str(tmp_path / f"{n}.264"), "w") as container:
            stream = container.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    container.mux(packet)
        parts.append((tmp_path / f"{n}.264").read_bytes())
    (tmp_path / "a.264").write_bytes(b"".join(parts))
    frames = list(Video(tmp_path / "a.264").frames())
    assert [frame.image.shape for frame in frames if frame.image is not None] == [(64, 96, 3)] * 10
    assert frames[-1].image is not None and is_red(frames[-1].image[16, 24])


@pytest.mark.parametrize(
    ("codec", "options"), [("libx264", {"x264-params": "intra-refresh=1:keyint=20"}), ("mpeg4", {})]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_a_part_is_that_of_the_whole(tmp_path: Path, name: str, codec: str, options: dict[str, str]):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"bf": "2", "g": "20", **options})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for n in range(110):
            shade = np.full((32, 32, 3), 2 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(stream.encode())
    video = Video(tmp_path / name)
    whole = [frame.image for frame in video.frames() if frame.image is not None]
    for start in (0.4, 2.0, 3.6):
        part = list(video.between(start, start + 0.2, lambda index: True))
        assert len(part) == 5 and part[0].time == 0
        for k, frame in enumerate(part):
            assert frame.image is not None
            assert np.abs(frame.image.astype(int) - whole[round(25 * start) + k]).max() < 3


def test_images_of_every_kind_become_rgb(tmp_path: Path):
    rgb = quarters(40, 60)
    alpha = np.dstack([rgb, np.full((40, 60), 255, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    Image.fromarray(rgb).convert("P").save(tmp_path / "palette.gif")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(rgb).save(tmp_path / "a.JPG", format="jpeg")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "print.jpeg")
    source = open_source(tmp_path)
    assert isinstance(source, Images)
    frames = list(source.frames())
    assert [f.path.name for f in frames] == sorted(p.name for p in tmp_path.iterdir())
    for frame in frames:
        assert frame.image is not None and frame.image.shape == (40, 60, 3) and frame.image.dtype == np.uint8
        # the palette has steps of 51
        assert abs(int(frame.image[10, 10, 0]) - 220) < 20, frame.path.name
    assert abs(int(read_image(tmp_path / "deep.png")[30, 50, 0]) - 120) <= 1


def bad_sources(folder: Path) -> dict[str, tuple[Path, str]]:
    text = folder / "text.jpg"
    text.write_text("no image")
    clip = folder / "text.mp4"
    clip.write_text("no video at all\n" * 50)
    notes = folder / "notes.txt"
    notes.write_text("not terminal art\n" * 50)
    nothing = folder / "nothing.mp4"
    nothing.write_bytes(b"")
    empty = folder / "empty"
    empty.mkdir()
    Image.fromarray(quarters(300, 300)).save(folder / "cut.png")
    cut = folder / "cut.png"
    cut.write_bytes(cut.read_bytes()[:200])
    sound = folder / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
    return {
        "missing": (folder / "none.mp4", "no such file"),
        "text image": (text, "cannot be read"),
        "text video": (clip, "holds no video of a known kind"),
        "text": (notes, "holds no video of a known kind"),
        "no bytes": (nothing, "holds no video of a known kind"),
        "empty folder": (empty, "holds no images"),
        "cut image": (cut, "cannot be read"),
        "sound": (sound, "holds no video of a known kind"),
    }


@pytest.mark.parametrize(
    "kind", ["missing", "text image", "text video", "text", "no bytes", "empty folder", "cut image", "sound"]
)
def test_bad_sources_give_one_sentence(tmp_path: Path, kind: str):
    path, words = bad_sources(tmp_path)[kind]
    with pytest.raises(Problem, match=words) as caught:
        list(open_source(path).frames())
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_broken_image_stops_the_folder_or_is_skipped(tmp_path: Path):
    for name in ("a.png", "c.png"):
        Image.fromarray(quarters()).save(tmp_path / name)
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(Problem, match="b.png"):
        list(open_source(tmp_path).frames())
    source = open_source(tmp_path, skip_broken=True)
    for _ in range(2):
        assert [(f.index, f.path.name) for f in source.frames()] == [(0, "a.png"), (1, "c.png")]
    assert isinstance(source, Images) and len(source.broken) == 1 and "b.png" in source.broken[0]


def test_ahead_keeps_order_and_never_runs_further_than_its_depth():
    made = taken = 0
    most = 0

    def numbers() -> Iterator[int]:
        nonlocal made, most
        for n in range(50):
            made += 1
            most = max(most, made - taken)
            yield n

    out = []
    for n in read_ahead(numbers(), 3):
        time.sleep(0.001)
        out.append(n)
        taken += 1
    assert out == list(range(50))
    # three in the queue, one in the hand of either side
    assert most <= 5


def test_ahead_hands_errors_on_and_stops_when_closed():
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    stream = read_ahead(read_ahead(endless(), 2), 2)
    assert next(stream) == 1
    stream.close()
    assert closed.is_set() and threading.active_count() == before

    def failing() -> Iterator[int]:
        yield 1
        raise Problem("broken")

    stream = read_ahead(failing(), 2)
    assert next(stream) == 1
    with pytest.raises(Problem, match="broken"):
        next(stream)
    assert threading.active_count() == before
