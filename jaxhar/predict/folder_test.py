"""A folder of photos as people have them: what is predicted, and why the rest is not."""

import argparse
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxhar.cli import predict as command
from jaxhar.data.formats.source import open_source
from jaxhar.host.errors import Problem
from jaxhar.predict import predictor
from jaxhar.predict.folder import take_images
from jaxhar.weights import checkpoint, trained_on


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("10.jpg", "2.jpg", "1.jpg", "x.png"):
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(folder / name)
    for name in ("._1.jpg", ".DS_Store", "a.mp4", "b.MOV", "notes.txt", "names", "c.xcf", "d.xcf", "e.xcf", "f.xcf"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    (folder / "more").mkdir()
    return folder


def test_what_of_a_folder_is_taken_and_left(photos):
    images = open_source(photos)
    lines = take_images(images, photos)
    assert [path.name for path in images.paths] == ["1.jpg", "2.jpg", "10.jpg", "x.png"]
    assert lines == (
        f"images in {photos}: 3 .jpg, 1 .png",
        "left out: 2 files, .DS_Store, ._1.jpg: hidden files and folders, and those of the system, are not read",
        "left out: 2 files, a.mp4, b.MOV: videos beside images are not read; give them one by one, or as a pattern",
        "left out: 4 files, c.xcf, d.xcf, e.xcf and 1 more: files ending in .xcf are not read",
        "left out: more: folders in the folder are not read; give them one by one",
        "left out: names: is no image by its name",
        "left out: notes.txt: files ending in .txt are not read",
    )
    assert len(list(images.frames())) == 4


def test_a_folder_of_hidden_images_alone(tmp_path):
    (tmp_path / "._a.jpg").write_bytes(b"")
    with pytest.raises(Problem, match="holds no images; ._a.jpg: hidden files"):
        take_images(open_source(tmp_path), tmp_path)


def test_the_command_says_it(photos, tmp_path, monkeypatch, capsys):
    config = SimpleNamespace(pose_shape=(3, 2), reads=("frames",))
    meta = checkpoint.Meta(None, (), config)
    monkeypatch.setattr(predictor.checkpoint, "load_model", lambda path: (None, meta))
    monkeypatch.setattr(predictor.checkpoint, "sha256", lambda model: "")
    counts = {"frames": 4, "empty": 0, "unfamiliar": 0, "seconds": 1.0}
    summary = predictor.Summary(files=(tmp_path / "p.json",), action=None, probability=None, broken=(), **counts)
    monkeypatch.setattr(predictor, "write", lambda *words, **options: summary)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = [str(photos), "--weights", str(tmp_path), "--out", str(tmp_path), "--batch", "1", "--no-progress"]
    args = parser.parse_args(words)
    command.main(args)
    said = capsys.readouterr().out
    assert f"images in {photos}: 3 .jpg, 1 .png\n" in said and "left out: 4 files, c.xcf" in said
    trained_on.write(tmp_path, [photos / "2.jpg"])  # the photos are equal, whatever their names
    command.main(args)
    assert "the network was trained on 1.jpg, 2.jpg, 10.jpg: what" in capsys.readouterr().out
    os.remove(photos / "x.png")
    args.source = [photos / "1.jpg"]
    command.main(args)
    assert "left out" not in capsys.readouterr().out
