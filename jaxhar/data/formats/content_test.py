"""What a file holds decides how it is read; only regular files are opened, and no files that they name."""

import os
import socket
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from jaxhar.data.formats import content
from jaxhar.data.formats.picture import read_image
from jaxhar.data.formats.source import Images, open_file, open_source
from jaxhar.data.formats.video import Video
from jaxhar.data.own import folder as own_folder
from jaxhar.host.errors import Problem

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def clip(path: Path, count: int = 5, **options: str) -> Path:
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(count):
            shade = np.full((48, 64, 3), 40 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_pipes_devices_and_sockets_are_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.mp4"))
        for name in ("pipe.mp4", "pipe.jpg", "link.mp4", "socket.mp4", "/dev/zero"):
            path = tmp_path / name
            for read in (open_source, Video, read_image, content.read_head, lambda path: own_folder._read(path, 64)):
                with pytest.raises(Problem, match=f"{path} is a pipe, a device or a socket; only regular files"):
                    read(path)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["12:30:05.mp4", "http:x.mp4", "concat:a|b.mp4", "pipe:0", "-", "%03d.mp4", "a?b.mp4"])
def test_names_that_look_like_something_else(tmp_path: Path, name: str, monkeypatch):
    clip(tmp_path / "plain.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / name):
        assert len(list(open_file(path).frames())) == 5
    assert len(own_folder._read(Path(name), 640)[0]) == 5


def test_files_that_name_other_files_are_not_followed(tmp_path: Path):
    clip(tmp_path / "a.mp4")
    subprocess.run([FFMPEG, "-v", "error", "-i", "a.mp4", "-c", "copy", "a.ts"], cwd=tmp_path, check=True)
    Image.new("RGB", (64, 48)).save(tmp_path / "img001.jpg")
    lists = {
        "list.txt": "ffconcat version 1.0\nfile a.mp4\n",
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        "list.mp4": "ffconcat version 1.0\nfile a.mp4\n",
        "list.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(Problem, match=f"{name}: this file cannot be read: it holds no video of a known kind"):
            open_file(tmp_path / name)
    with pytest.raises(Problem, match="there is no such file"):
        open_file(tmp_path / "img%03d.jpg")


def test_the_content_decides_and_not_the_ending(tmp_path: Path):
    clip(tmp_path / "video.mp4").rename(tmp_path / "video.jpg")
    image = Image.fromarray(np.full((48, 64, 3), 99, np.uint8))
    image.save(tmp_path / "picture.mp4", "JPEG")
    image.save(tmp_path / "picture.avi", "PNG")
    image.save(tmp_path / "webp.jpg", "WEBP")
    image.save(tmp_path / "noending", "AVIF")
    assert isinstance(open_file(tmp_path / "video.jpg"), Video)
    for name in ("picture.mp4", "picture.avi", "webp.jpg", "noending"):
        source = open_file(tmp_path / name)
        assert isinstance(source, Images), name
        (frame,) = source.frames()
        assert frame.image is not None and abs(int(frame.image[20, 20, 0]) - 99) < 4


@pytest.mark.parametrize("name", ["song.mp3", "song.m4a", "song.ogg", "song.flac", "song.mka"])
def test_songs_with_a_cover_are_no_videos(tmp_path: Path, name: str):
    Image.new("RGB", (64, 48)).save(tmp_path / "cover.jpg")
    cover = ["-i", "cover.jpg", "-map", "0", "-map", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic"]
    cover = (
        []
        if name.endswith("ogg")
        else ["-attach", "cover.jpg", "-metadata:s:t", "mimetype=image/jpeg"] * (name.endswith("mka")) or cover
    )
    words = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "sine=d=0.3", *cover, name]
    subprocess.run(words, cwd=tmp_path, check=True)
    with pytest.raises(Problem, match=f"{name}: this file .*no video"):
        open_file(tmp_path / name)


def test_a_file_in_which_sound_begins_later(tmp_path: Path):
    """Its header knows of the video alone."""
    words = "-f lavfi -i testsrc2=s=64x48:r=5:d=20 -f lavfi -itsoffset 19 -i sine=d=0.5 -c:v flv -c:a mp3 a.flv".split()
    subprocess.run([FFMPEG, "-v", "error", *words], cwd=tmp_path, check=True)
    data = bytearray((tmp_path / "a.flv").read_bytes())
    data[4] &= ~4  # "there is sound"
    (tmp_path / "a.flv").write_bytes(data)
    video = open_file(tmp_path / "a.flv")
    assert isinstance(video, Video) and len(list(video.frames(0))) == 100 and video.fps == 5


def test_jpeg_pictures_one_after_another(tmp_path: Path):
    clip(tmp_path / "a.mp4")
    words = "-i a.mp4 -c:v mjpeg -q:v 2 -f mjpeg a.mjpeg".split()
    subprocess.run([FFMPEG, "-v", "error", *words], cwd=tmp_path, check=True)
    shades = [frame.image.mean() for frame in open_file(tmp_path / "a.mjpeg").frames() if frame.image is not None]
    np.testing.assert_allclose(shades, range(0, 200, 40), atol=4)


def test_a_video_with_a_cover_is_the_video(tmp_path: Path):
    clip(tmp_path / "a.mp4")
    Image.new("RGB", (640, 480)).save(tmp_path / "cover.jpg")
    words = "-i cover.jpg -i a.mp4 -map 0 -map 1 -c copy -disposition:v:0 attached_pic b.mp4".split()
    subprocess.run([FFMPEG, "-v", "error", *words], cwd=tmp_path, check=True)
    frames = list(open_file(tmp_path / "b.mp4").frames())
    assert len(frames) == 5 and frames[0].image is not None and frames[0].image.shape == (48, 64, 3)
