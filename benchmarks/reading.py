"""Speed of reading videos and pictures: our reader, and other ways to read the same frames."""

import functools
import importlib
import importlib.util
import io
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from benchmarks.common import Contenders, Measured, Row
from jaxhar.data import clips
from jaxhar.data.formats import jpeg
from jaxhar.data.formats.video import Video
from jaxhar.data.generate import film as synthetic
from jaxhar.data.kinetics.settings import Kinetics

FRAMES, SIZE = 120, (640, 480)
#: Codec and pixel format by name.
KINDS = {"H.264": ("libx264", "yuv420p", "mp4"), "MJPEG": ("mjpeg", "yuvj422p", "avi")}
#: Of the videos whose clips are read: how many, their size and length in frames; and frames of a clip, loading threads,
#: clips of a round.
VIDEOS, SMALL, LENGTH, CLIP, THREADS, CLIPS = 16, (340, 256), 300, 16, 2, 48
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


def kinetics() -> Path:
    """A folder of H.264 videos in the layout of Kinetics."""
    root = Path(_FOLDER.name) / "kinetics"
    root.mkdir(exist_ok=True)
    left, top = (SIZE[0] - SMALL[0]) // 2, (SIZE[1] - SMALL[1]) // 2
    frames = [image[top : top + SMALL[1], left : left + SMALL[0]] for image in footage()]
    for number in range(VIDEOS):
        with av.open(str(root / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(30))
            stream.width, stream.height, stream.pix_fmt = *SMALL, "yuv420p"
            for n in range(LENGTH):
                image = frames[(n + 7 * number) % FRAMES]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode())
    for split in ("train", "val"):
        (root / f"{split}.csv").write_text("".join(f"{number}.mp4 0\n" for number in range(VIDEOS)))
    return root


def random_clip(rng: np.random.Generator) -> list[int]:
    """The frames of a random clip."""
    span = clips.span(CLIP, 4.0, 30)
    return clips.frames_of(LENGTH, clips.random_start(LENGTH, span, rng.random()), span, CLIP).tolist()


def by_decord(path: Path, wanted: list[int]) -> None:
    """Decode some frames by decord."""
    decord = importlib.import_module("decord")
    decord.VideoReader(str(path), num_threads=1).get_batch(wanted).asnumpy()


def by_pyav(path: Path, wanted: list[int]) -> None:
    """Decode some frames by PyAV: from the key frame before them, and none behind them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        assert stream.time_base is not None
        container.seek(int(wanted[0] / 30 / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            number = round(float(frame.pts * stream.time_base) * 30)  # type: ignore[operator]
            if number in wanted:
                frame.to_ndarray(format="rgb24")
            if number >= wanted[-1]:
                break


def video_clips(repeat: int) -> Measured:
    """Clips per second, 16x224x224x3 in batches of 8: decoding alone, and the pipeline with crops, in two threads."""
    root = kinetics()
    settings = Kinetics(
        root=str(root), cache=str(root / "cache"), clips_per_batch=8, repeat=repeat, threads=THREADS, prefetch=THREADS
    )
    prepared = settings.prepare(root)
    rng = np.random.default_rng(0)
    others = {"decoding alone by PyAV": by_pyav}
    if importlib.util.find_spec("decord"):
        others["decoding alone by decord"] = by_decord
    values: dict[str, list[float]] = {"ours": [], **{name: [] for name in others}}
    for seed in range(5):
        for name, decode in others.items():
            wanted = [random_clip(rng) for _ in range(CLIPS)]
            paths = [root / f"{number % VIDEOS}.mp4" for number in range(CLIPS)]
            with ThreadPoolExecutor(THREADS) as pool:
                start = time.perf_counter()
                list(pool.map(decode, paths, wanted))
                values[name].append(CLIPS / (time.perf_counter() - start))
        stream = prepared.train_stream(seed)
        for _ in range(1 + THREADS):  # those that are loaded ahead while the threads start
            next(stream)
        start = time.perf_counter()
        for _ in range(CLIPS // settings.clips_per_batch):
            next(stream)
        values["ours"].append(CLIPS / (time.perf_counter() - start))
        stream.close()
        time.sleep(0.5)
    return Measured("clips/s", values)


def rows() -> dict[str, Row]:
    size = f"{SIZE[0]}x{SIZE[1]}"
    videos = {
        f"reading {FRAMES} frames of {size} {name}": functools.partial(reading, *kind) for name, kind in KINDS.items()
    }
    videos |= {
        f"clips of {SMALL[0]}x{SMALL[1]} H.264 videos, {repeat} of each at once": functools.partial(video_clips, repeat)
        for repeat in (1, 4)
    }
    return videos | {f"checking {FRAMES} JPEG pictures of {size}": pictures}
