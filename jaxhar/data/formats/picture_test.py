import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxhar.data.formats import jpeg, picture
from jaxhar.data.formats.animation import Animation
from jaxhar.data.formats.picture import read_image
from jaxhar.data.formats.source import Images, open_file, open_source
from jaxhar.data.own import folder as own_folder
from jaxhar.host.errors import Problem


def corners(height: int = 40, width: int = 60) -> np.ndarray:
    """Red, green, blue and grey quarters."""
    image = np.full((height, width, 3), 200, np.uint8)
    image[: height // 2, : width // 2] = (220, 0, 0)
    image[: height // 2, width // 2 :] = (0, 220, 0)
    image[height // 2 :, : width // 2] = (0, 0, 220)
    return image


def near(found: np.ndarray, right: np.ndarray, most: float = 6) -> bool:
    return found.shape == right.shape and float(np.abs(found.astype(int) - right).mean()) < most


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(tmp_path: Path, form: str, orientation: int):
    right = corners()
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](right)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, form, exif=exif)
    assert near(read_image(path), right)
    data, size, _ = jpeg.read_picture(path, 640, upright=True)  # own pictures are packed upright
    assert size == (60, 40) and near(jpeg.decode(data, ""), right)
    if form == "JPEG":  # labels of data sets are in stored pixels
        data, size = jpeg.read_jpeg(path)
        assert size == stored.shape[1::-1] and near(jpeg.decode(data, ""), stored)


def test_pixels_of_every_form(tmp_path: Path):
    rgb = corners()
    grey = np.full((40, 60), 130, np.uint8)
    alpha = Image.fromarray(np.dstack([rgb, np.full((40, 60), 128, np.uint8)]))
    palette = Image.fromarray(rgb).quantize(8)
    files = {
        "cmyk.jpg": Image.fromarray(rgb).convert("CMYK"),
        "palette.png": palette,
        "palette.gif": palette,
        "alpha.png": alpha,
        "alpha.webp": alpha,
        "alpha.tif": alpha,
        "grey_alpha.png": Image.fromarray(grey).convert("LA"),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "deep.tif": Image.fromarray(grey.astype(np.uint16) * 257),
        "deep.pgm": Image.fromarray(grey.astype(np.uint16) * 257),
        "bits.png": Image.fromarray(np.kron([[255, 0], [0, 255]], np.ones((20, 30))).astype(np.uint8)).convert("1"),
        "a.bmp": Image.fromarray(rgb),
        "a.jp2": Image.fromarray(rgb),
        "a.avif": Image.fromarray(rgb),
    }
    for name, image in files.items():
        image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        right = np.repeat(grey[..., None], 3, 2) if name.startswith(("grey", "deep")) else rgb
        right = np.repeat(np.asarray(image.convert("L"))[..., None], 3, 2) if name == "bits.png" else right
        assert near(read_image(tmp_path / name), right), name
        data, size = jpeg.read_jpeg(tmp_path / name)
        assert size == (60, 40) and near(jpeg.decode(data, ""), right), name
    source = open_source(tmp_path)
    assert isinstance(source, Images) and {path.name for path in source.paths} == set(files)
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(Problem, match="float.tif: this image cannot be read: .* floating-point"):
        read_image(tmp_path / "float.tif")


def test_photos_of_phones(tmp_path: Path):
    image = Image.fromarray(corners())
    motion, several, cut = tmp_path / "motion.jpg", tmp_path / "several.jpg", tmp_path / "cut.jpg"
    image.save(motion)
    whole = motion.read_bytes()
    motion.write_bytes(whole + b"\0\0\0\x18ftypmp42" + bytes(5000))
    image.save(several, "MPO", save_all=True, append_images=[image])
    image.save(tmp_path / "png.jpg", "PNG")
    for path in (motion, several, tmp_path / "png.jpg"):
        assert isinstance(open_file(path), Images)
        data, size = jpeg.read_jpeg(path)
        assert size == (60, 40) and near(jpeg.decode(data, ""), corners())
        assert near(jpeg.decode(own_folder._read(path, 640)[0][0], ""), corners())
    assert jpeg.read_jpeg(motion)[0] == motion.read_bytes()  # JPEG is packed as it is
    for length in (len(whole) // 2, len(whole) - 40):
        cut.write_bytes(whole[:length])
        for read in (jpeg.read_jpeg, read_image):
            with pytest.raises(Problem, match="cut.jpg: this image cannot be read: it is cut off"):
                read(cut)


def test_a_large_photo_is_decoded_smaller(tmp_path: Path):
    image = Image.fromarray(corners(1200, 1600))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    data, size, shrink = jpeg.read_picture(tmp_path / "a.jpg", 200, upright=True)
    assert (size, shrink) == ((150, 200), 1 / 8)
    assert near(jpeg.decode(data, ""), np.rot90(corners(150, 200), -1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_an_unreadable_exif_block_turns_nothing(tmp_path: Path):
    path = tmp_path / "a.jpg"
    Image.fromarray(corners()).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(200)))
    assert near(read_image(path), corners())


def test_large_pictures_are_read_and_larger_ones_refused_in_one_sentence(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("1", (16384, 12288)).save(path)  # 201 megapixels
    limit = Image.MAX_IMAGE_PIXELS
    assert picture.size(path) == (16384, 12288) and Image.MAX_IMAGE_PIXELS == limit
    with picture.opened(path) as opened:
        opened.load()  # Pillow's own limit does not stop it
    monkeypatch.setattr(picture, "MOST_PIXELS", 200_000_000)
    with pytest.raises(Problem, match="a.png: this picture has 16384 x 12288 pixels; at most 200 million are read"):
        read_image(path)


def heic(path: Path, image: np.ndarray) -> Path:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(image)).save(path, quality=95)
    return path


def test_heic(tmp_path: Path):
    path = heic(tmp_path / "a.heic", corners(1200, 900))  # larger than a tile
    for name in ("a.heic", "renamed.jpg", "renamed.mp4"):
        path = path.rename(tmp_path / name)
        source = open_file(path)
        assert isinstance(source, Images)
        (frame,) = source.frames()
        assert frame.image is not None and near(frame.image, corners(1200, 900))
    assert own_folder._read(path, 300)[1] == (225, 300)


def test_heic_without_its_package(tmp_path: Path, monkeypatch):
    path = heic(tmp_path / "a.heic", corners())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for read in (open_file, read_image, jpeg.read_jpeg):
        with pytest.raises(Problem, match=r"a.heic: this is a HEIC picture; read it with pip install 'jaxhar\[heif\]'"):
            read(path)  # type: ignore[operator]


def test_a_raw_photo_is_not_its_preview(tmp_path: Path):
    Image.fromarray(corners()).save(tmp_path / "a.nef", "TIFF", tiffinfo={254: 1})
    with pytest.raises(Problem, match="a.nef: this is a raw photo of a camera"):
        read_image(tmp_path / "a.nef")


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animated_pictures_are_videos(tmp_path: Path, form: str):
    shades = [Image.fromarray(np.full((32, 48, 3), 60 + 30 * n, np.uint8)) for n in range(5)]
    times = [40, 40, 100, 40, 80]
    path = tmp_path / "a.picture"
    shades[0].save(path, form, save_all=True, append_images=shades[1:], duration=times, loop=0)
    video = open_file(path)
    assert isinstance(video, Animation) and video.total == 5
    assert video.fps == Fraction(5000, sum(times)).limit_denominator(1001)
    for _ in range(2):
        frames = list(video.frames())
        np.testing.assert_allclose([frame.time for frame in frames], np.cumsum([0, *times[:-1]]) / 1000)
        np.testing.assert_allclose([f.image.mean() for f in frames if f.image is not None], range(60, 210, 30), atol=4)
    assert [f.image is not None for f in video.frames(2)] == [True, False, True, False, True]
    assert len(own_folder._read(path, 640)[0]) == 5
    shades[0].save(path, form)
    assert isinstance(open_file(path), Images)


@pytest.mark.filterwarnings("ignore")  # Pillow's, about tags that it leaves out
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF"])
def test_damaged_pictures_are_one_sentence_or_a_picture(tmp_path: Path, form: str):
    if form == "HEIF":
        data = heic(tmp_path / "a.heic", corners()).read_bytes()
    else:
        Image.fromarray(corners()).save(tmp_path / "whole", form)
        data = (tmp_path / "whole").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    for n in range(40):
        broken = bytearray(data)
        for place in rng.integers(0, len(data) if n % 2 else min(len(data), 300), rng.integers(1, 9)):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            list(open_file(path, skip_broken=True).frames())
        except Problem as problem:
            assert str(path) in str(problem) and "\n" not in str(problem)


@pytest.mark.parametrize("form", ["GIF", "PNG"])
def test_an_animation_that_breaks_off(tmp_path: Path, form: str):
    noise = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8)
    first, *others = map(Image.fromarray, noise)
    path = tmp_path / "a.picture"
    first.save(path, form, save_all=True, append_images=others, duration=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Problem, match="a.picture: this image .* the animation is damaged after frame [34]; restore it"):
        list(open_file(path).frames())
    source = open_file(path, skip_broken=True)
    assert len(list(source.frames())) in (3, 4) and len(source.broken) == 1


def test_a_gif_without_times(tmp_path: Path):
    shades = [Image.new("L", (9, 9), 50 * n) for n in range(4)]
    shades[0].save(tmp_path / "a.gif", save_all=True, append_images=shades[1:], duration=0)
    video = open_file(tmp_path / "a.gif")
    assert isinstance(video, Animation) and video.fps == 10
