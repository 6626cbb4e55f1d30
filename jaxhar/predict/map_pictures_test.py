from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxhar import port, zoo
from jaxhar.cli import main as cli
from jaxhar.core.skeleton import PA16, Skeleton
from jaxhar.data.formats.picture import read_image
from jaxhar.data.formats.source import open_source
from jaxhar.data.formats.video import Video
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.host.errors import Usage
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.predict import map_pictures
from jaxhar.predict.map_pictures import FrameMaps
from jaxhar.predict.options import Options
from jaxhar.predict.summary import write
from jaxhar.predict.task import Task
from jaxhar.weights import checkpoint

THREE = Skeleton("three", ("head", "l_hand", "r_hand"))
CELLS = np.array([[3, 5], [10, 2], [8, 12]])  # (x, y) in maps of 16 x 16
PEAKS = np.array([1.0, 0.5, 0.25], np.float32)


def maps() -> np.ndarray:
    """(16, 16, 3), one Gaussian for each joint."""
    y, x = np.mgrid[:16, :16]
    return np.stack(
        [p * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 2) for (u, v), p in zip(CELLS, PEAKS, strict=True)], -1
    )


def infer(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Two predictions, of which the first is empty."""
    pose = np.broadcast_to(CELLS / 16, (*frames.shape[:2], 3, 2)).astype(np.float32)
    found = np.broadcast_to(maps().astype(np.float32), (*frames.shape[:2], 16, 16, 3))
    visible = np.ones(pose.shape[:-1], np.float32)
    return {"pose": np.stack([pose, pose]), "maps": np.stack([found * 0, found]), "visible": np.stack([visible] * 2)}


META = SimpleNamespace(skeleton=THREE, actions=(), config=zoo.tiny("simple-baseline-mpii"))


def colour(image: np.ndarray) -> np.ndarray:
    """(H, W) the range of the channels; 0 for grey."""
    return np.ptp(image.astype(int), axis=-1)


def test_a_map_lies_where_its_joint_is():
    crop = np.full((64, 64, 3), 90, np.uint8)
    image = map_pictures.grid(FrameMaps(crop, maps(), CELLS / 16), (0, 2), THREE)
    assert image.shape == (192 + 8, 2 * 192 + 12, 3)
    for place, j in enumerate((0, 2)):
        cell = image[4:196, 4 + 196 * place :][24:, :192]  # without the name
        rows, columns = np.nonzero(colour(cell) > 40)
        assert 300 < len(rows) < 2000  # its own peak is bright, however low
        np.testing.assert_allclose([columns.mean(), 24 + rows.mean()], CELLS[j] * 12, atol=1)


def test_weak_maps_stay_pale():
    crop = np.full((64, 64, 3), 90, np.uint8)
    strong, weak = (colour(map_pictures.grid(FrameMaps(crop, f * maps(), CELLS / 16), (0,), THREE)) for f in (1, 0.02))
    assert strong.max() > 100 and weak.max() < 30


def test_photos_have_a_picture_of_their_maps(tmp_path):
    for name, size in (("a", (80, 60)), ("b", (50, 90))):
        Image.new("RGB", size, (90, 90, 90)).save(tmp_path / f"{name}.png")
    out = tmp_path / "out"
    task = Task(open_source(tmp_path), tmp_path, infer, META, Options(), maps=(0,))
    summary = write(task, out)
    assert {"a_maps.png", "b_maps.png"} < {path.name for path in summary.files}
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "a_maps.png", "b.png", "b_maps.png", "poses.json"]
    assert colour(read_image(out / "b_maps.png")).max() > 100  # the last of the predictions
    Image.new("RGB", (80, 60)).save(tmp_path / "a_maps.jpg")
    with pytest.raises(Usage, match="a_maps.png is the overlay of another photo"):
        write(replace(task, source=open_source(tmp_path)), out)


def test_a_video_has_a_video_of_its_maps(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", Fraction(10), 64, 48) as writer:
        for i in range(7):
            writer.write(np.full((48, 64, 3), 20 * i, np.uint8), i / 10)
    out, source = tmp_path / "out", tmp_path / "a.mp4"
    summary = write(Task(open_source(source), source, infer, META, Options(batch=2), maps=(2, 0, 1)), out)
    assert summary.files[-1] == out / "maps.mp4"
    images = [frame.image for frame in Video(out / "maps.mp4").frames()]
    assert len(images) == 7 and images[0].shape == (2 * 196 + 4, 2 * 196 + 4, 3)
    greys = [int(np.median(image[150:190, 150:190])) for image in images]  # each frame has its own crop
    assert (np.diff(greys) > 10).all()


def test_joints_by_name_and_number():
    assert map_pictures.chosen("all", THREE) == (0, 1, 2)
    assert map_pictures.chosen("r_hand, 0,2", THREE) == (2, 0)
    with pytest.raises(Usage, match="no joint 'nose'; there are head, l_hand, r_hand"):
        map_pictures.chosen("head,nose", THREE)


def test_a_network_without_maps_is_told(tmp_path, capsys):
    config = ReceptionConfig.tiny()
    flat = {leaf: np.full(shape, 0.1, np.float32) for leaf, shape in port.shapes(config).items()}
    checkpoint.save_model(tmp_path / "net", port.from_flat(flat, config), PA16, ())
    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    words = ["predict", str(tmp_path / "a.png"), "--weights", str(tmp_path / "net"), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--maps"]) == 2
    assert "predicts no heat maps; leave --maps out" in capsys.readouterr().err
    assert cli.main([*words, "--data", "lip", "--maps"]) == 2
    assert cli.main([*words, "--pictures", "3"]) == 2 and cli.main([*words, "--show-truth"]) == 2
    assert not (tmp_path / "out").exists()
