"""Videos of many kinds, compared with the pictures, sizes, counts and times that ffmpeg itself gives."""

import functools
import itertools
import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from jaxhar.data.formats.video import Video

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
#: Codecs by container, and the options of the encoder.
CODECS = {
    "h264": ("libx264", ("-preset", "veryfast", "-crf", "12")),
    "h264-b": ("libx264", ("-preset", "veryfast", "-crf", "12", "-bf", "3", "-g", "7")),
    "hevc": ("libx265", ("-preset", "ultrafast", "-crf", "12", "-x265-params", "log-level=none")),
    "mpeg4": ("mpeg4", ("-q:v", "2", "-bf", "2")),
    "mpeg2": ("mpeg2video", ("-q:v", "2")),
    "mjpeg": ("mjpeg", ("-q:v", "2")),
    "vp8": ("libvpx", ("-b:v", "3M", "-deadline", "realtime")),
    "vp9": ("libvpx-vp9", ("-b:v", "3M", "-deadline", "realtime", "-cpu-used", "8")),
    "ffv1": ("ffv1", ()),
    "prores": ("prores_ks", ()),
    "theora": ("libtheora", ("-q:v", "9")),
    "wmv2": ("wmv2", ("-q:v", "2")),
}
CONTAINERS = {
    "mp4": ("h264", "h264-b", "hevc", "mpeg4", "vp9"),
    "mov": ("h264", "prores", "mjpeg"),
    "mkv": ("h264-b", "hevc", "ffv1", "vp9", "mpeg2"),
    "webm": ("vp8", "vp9"),
    "avi": ("mjpeg", "mpeg4", "h264", "ffv1"),
    "flv": ("h264-b",),
    "ts": ("h264-b", "mpeg2", "hevc"),
    "mpg": ("mpeg2",),
    "wmv": ("wmv2",),
    "ogv": ("theora",),
    "nut": ("ffv1", "mpeg4"),
    "264": ("h264",),
}
FORMATS = {
    "yuv420p": ("h264", "h264-b", "hevc", "mpeg4", "mpeg2", "vp8", "vp9", "ffv1", "theora", "wmv2"),
    "yuvj420p": ("mjpeg", "h264"),
    "yuvj422p": ("mjpeg",),
    "yuv422p": ("h264", "mpeg2", "ffv1"),
    "yuv444p": ("h264", "hevc", "vp9", "ffv1"),
    "yuv420p10le": ("h264", "hevc", "ffv1"),
    "yuv422p10le": ("prores", "h264", "ffv1"),
    "gray": ("h264", "ffv1"),
    "gray16le": ("ffv1",),
    "bgra": ("ffv1",),
}
COLOURS = {
    "unknown": (),
    "bt709": ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
    "bt709 full": ("-colorspace", "bt709", "-color_range", "pc"),
    "bt601": ("-colorspace", "smpte170m", "-color_range", "tv"),
}
#: Display matrices as ffmpeg's options for the input.
TURNS = {
    "upright": (),
    "90": ("-display_rotation", "90"),
    "180": ("-display_rotation", "180"),
    "270": ("-display_rotation", "270"),
    "mirror": ("-display_hflip",),
    "flip": ("-display_vflip",),
    "90 mirror": ("-display_rotation", "90", "-display_hflip"),
    "270 mirror": ("-display_rotation", "270", "-display_hflip"),
}
SCANS = {"progressive": (), "interlaced": ("-flags", "+ildct+ilme", "-field_order", "tt")}
RATES = ("25", "30000/1001", "12", "uneven")
ASPECTS = ("1", "16/15", "8/9")
FRAMES, WIDTH, HEIGHT = 9, 96, 64


@dataclass(frozen=True)
class Kind:
    """One kind of video: keys of the tables above."""

    container: str
    codec: str
    format: str
    colour: str
    turn: str
    scan: str
    rate: str
    aspect: str

    @property
    def possible(self) -> bool:
        """Whether ffmpeg can write it, and keeps the matrix and the times."""
        return (
            (self.turn == "upright" or self.container in ("mp4", "mov", "mkv"))
            and (self.scan == "progressive" or self.codec in ("h264", "h264-b", "mpeg2", "mpeg4"))
            and not (self.scan == "interlaced" and self.format == "gray")
            and not (self.rate == "uneven" and self.codec == "mpeg2")
            and not (self.rate == "uneven" and self.container in ("avi", "mpg", "ts", "264", "ogv", "nut"))
            and not (self.rate == "12" and self.codec == "mpeg2")
            and (self.colour == "unknown" or self.format.startswith("yuv4"))
            and not (self.colour == "bt709 full" and self.codec not in ("h264", "h264-b", "hevc"))
            and not (self.aspect != "1" and self.container in ("wmv", "flv", "webm", "264"))
        )

    def write(self, folder: Path) -> Path:
        encoder, options = CODECS[self.codec]
        path = folder / f"video.{self.container}"
        rate = "25" if self.rate == "uneven" else self.rate
        words = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", rate, "-i", "-"]
        shift = ",setpts='(N+if(gt(N,3),2.6,0)+mod(N,2)*0.2)/TB/25'" if self.rate == "uneven" else ""
        words += ["-vf", f"setsar={self.aspect}{shift}", "-fps_mode", "passthrough", "-enc_time_base", "1/1000"]
        words = words if self.rate == "uneven" else words[:-2]
        words += ["-c:v", encoder, *options, "-pix_fmt", self.format, *COLOURS[self.colour], *SCANS[self.scan]]
        ffmpeg(*words, "-threads", "1", str(path), given=SHAPES.tobytes())
        if self.turn != "upright":
            plain = path.rename(folder / f"plain.{self.container}")
            ffmpeg(*TURNS[self.turn], "-i", str(plain), "-c", "copy", str(path))
        return path


def shapes() -> np.ndarray:
    """(FRAMES, HEIGHT, WIDTH, 3) RGB: a bright square that moves over smooth colours, different in every corner.

    Smooth, so that the ways to upsample colours differ little.
    """
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / HEIGHT
    image = np.stack([40 + 110 * x / 1.5, 60 + 120 * y, 200 - 90 * x / 1.5 - 50 * y], axis=-1).astype(np.uint8)
    frames = np.repeat(image[None], FRAMES, axis=0)
    for n, frame in enumerate(frames):
        frame[8:24, 8 + 6 * n : 24 + 6 * n] = 235
    return frames


SHAPES = shapes()


def ffmpeg(*words: str, given: bytes = b"") -> None:
    done = subprocess.run([FFMPEG, "-v", "error", "-y", *words], capture_output=True, input=given)
    assert not done.returncode, (words, done.stderr.decode())


def pictures_of_ffmpeg(path: Path) -> tuple[np.ndarray, list[float]]:
    """All frames (N, H, W, 3) as ffmpeg shows them, with square pixels, and their times from the first one."""
    words = [FFMPEG, "-v", "info", "-nostats", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough", "-vf"]
    words += ["scale=w=round(iw*sar):h=ih:flags=bilinear,showinfo=checksum=0", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    done = subprocess.run([*words, "-"], capture_output=True, stdin=subprocess.DEVNULL)
    told = done.stderr.decode()
    assert not done.returncode, told
    width, height = map(int, re.findall(r"showinfo.* s:(\d+)x(\d+)", told)[0])
    times = [float(time) for time in re.findall(r"showinfo.* n: *\d+ pts: *\S+ pts_time:(\S+)", told)]
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3), [time - times[0] for time in times]


@functools.cache
def possible() -> list[Kind]:
    """All kinds that ffmpeg can write."""
    forms = [
        (container, codec, form)
        for container, codecs in CONTAINERS.items()
        for codec in codecs
        for form in FORMATS
        if codec in FORMATS[form]
    ]
    others = list(itertools.product(COLOURS, TURNS, SCANS, RATES, ASPECTS))
    return [kind for form in forms for other in others if (kind := Kind(*form, *other)).possible]


@functools.cache
def pairwise() -> list[Kind]:
    """Kinds in which every two values that go together occur together at least once; the same ones in every run."""
    kinds = possible()
    order = np.random.default_rng(0).permutation(len(kinds))
    missing = {pair for kind in kinds for pair in pairs(kind)}
    chosen = []
    for least in (12, 8, 5, 3, 1):  # those that bring many new pairs first
        for i in order:
            new = pairs(kinds[i]) & missing
            if len(new) >= least:
                chosen.append(kinds[i])
                missing -= new
    return chosen


def pairs(kind: Kind) -> set[tuple]:
    return set(itertools.combinations(vars(kind).items(), 2))


def check(kind: Kind, folder: Path) -> None:
    path = kind.write(folder)
    right, times = pictures_of_ffmpeg(path)
    video = Video(path)
    found = list(video.frames())
    assert len(found) == len(right) == FRAMES, kind
    pictures = np.stack([frame.image for frame in found])
    assert pictures.shape == right.shape, kind
    np.testing.assert_allclose([frame.time for frame in found], times, atol=1e-6, err_msg=str(kind))
    # the ways to upsample colours and to scale differ; a wrong range or matrix of colours is farther off
    apart = np.abs(pictures.astype(int) - right)
    assert apart.mean() < 2.5 and np.median(apart) <= 2, (kind, apart.mean(), np.median(apart))
    # FLV and WMV hold times in milliseconds and no rate
    near = 5e-3 if kind.container in ("wmv", "flv") else 1e-9
    assert kind.rate == "uneven" or abs(float(video.fps / Fraction(kind.rate)) - 1) < near, (kind, video.fps)


@pytest.mark.parametrize("container", CONTAINERS)
def test_pictures_sizes_and_times_are_those_of_ffmpeg(tmp_path: Path, container: str):
    kinds = [kind for kind in pairwise() if kind.container == container]
    assert kinds
    for kind in kinds:
        check(kind, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_more_kinds(tmp_path: Path, part: int):
    kinds = possible()
    for i in np.random.default_rng(part).choice(len(kinds), 50, replace=False):
        check(kinds[i], tmp_path)
