"""Speed of reading videos and pictures: our reader, and other ways to read the same frames."""

import functools
import io
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from benchmarks.common import Contenders, Row
from jaxhar.data.formats import jpeg
from jaxhar.data.formats.video import Video
from jaxhar.data.generate import film as synthetic

FRAMES, SIZE = 120, (640, 480)
#: Codec and pixel format by name.
KINDS = {"H.264": ("libx264", "yuv420p", "mp4"), "MJPEG": ("mjpeg", "yuvj422p", "avi")}
#: Kept until the process ends.
_FOLDER = tempfile.TemporaryDirectory()


@functools.cache
def footage() -> list[np.ndarray]:
    """Generated frames (H, W, 3) BGR with some noise, as cameras have it."""
    plan = synthetic.Synth(1, 1, 1, 1, frames=(FRAMES, FRAMES), size=SIZE)
    frames, _ = synthetic.shoot(plan, synthetic.plan(plan)[0])
    rng = np.random.default_rng(0)
    return [np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8) for image in frames.frames]


def video(codec: str, form: str, suffix: str) -> Path:
    path = Path(_FOLDER.name) / f"{codec}.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = *SIZE, form
        for image in footage():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


def reading(codec: str, form: str, suffix: str) -> Contenders:
    path = video(codec, form, suffix)

    def ours() -> int:
        return sum(frame.image is not None for frame in Video(path).frames())

    def plain() -> int:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            return len([frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)])

    def opencv() -> int:
        capture, count = cv2.VideoCapture(str(path)), 0
        while capture.read()[0]:
            count += 1
        capture.release()
        return count

    assert ours() == plain() == opencv() == FRAMES
    return {"ours": ours, "PyAV, each frame by to_ndarray": plain, "OpenCV's VideoCapture (BGR)": opencv}


def pictures() -> Contenders:
    paths = []
    for n, image in enumerate(footage()):
        paths.append(Path(_FOLDER.name) / f"{n}.jpg")
        paths[-1].write_bytes(jpeg.encode(image))

    def ours() -> None:
        for path in paths:
            jpeg.read_jpeg(path)

    def reduced() -> None:
        for path in paths:
            data = path.read_bytes()
            with Image.open(io.BytesIO(data)) as image:
                assert image.size == SIZE
            assert data.endswith(b"\xff\xd9")
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)

    return {"ours": ours, "end marker, OpenCV at an eighth": reduced}


def rows() -> dict[str, Row]:
    size = f"{SIZE[0]}x{SIZE[1]}"
    videos = {
        f"reading {FRAMES} frames of {size} {name}": functools.partial(reading, *kind) for name, kind in KINDS.items()
    }
    return videos | {f"checking {FRAMES} JPEG pictures of {size}": pictures}
