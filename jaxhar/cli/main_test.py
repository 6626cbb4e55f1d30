"""The command line as a user types it: exit codes, sentences, files."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.io import loadmat

import torch_ref
from jaxhar import infer, port, zoo
from jaxhar.cli import main as cli
from jaxhar.cli import zoo as catalogue
from jaxhar.core import classes
from jaxhar.weights import checkpoint
from parity_tests import cases

CASE = "ar_penn_small"
SETTINGS = ["--set", "image_size=128", "--set", "num_blocks=2", "--set", "num_frames=8"]


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    return cases.write_h5(cases.groups(CASE), tmp_path_factory.mktemp("keras") / "weights.h5")


def run(*words):
    return cli.main([str(word) for word in words])


def test_port_between_all_forms_is_exact(keras_file, tmp_path, capsys):
    folder, file, twin, back = (tmp_path / n for n in ("penn", "penn.safetensors", "penn.pth", "back"))
    assert run("port", keras_file, "--model", "reception-penn", *SETTINGS, "--out", folder) == 0
    assert "every one placed and checked" in capsys.readouterr().out
    assert run("port", folder, "--out", file) == 0
    assert run("port", file, "--out", twin) == 0
    assert run("port", twin, "--model", "reception-penn", *SETTINGS, "--out", back) == 0
    first, last = (checkpoint.load_model(path) for path in (folder, back))
    assert first[1] == last[1]
    assert first[1].actions[-1] == "tennis_serve"
    flats = port.to_flat(first[0]), port.to_flat(last[0])
    assert flats[0].keys() == flats[1].keys()
    for name, array in flats[0].items():
        np.testing.assert_array_equal(array, flats[1][name], err_msg=name)

    net = torch_ref.create("reception-penn", **cases.overrides(CASE))
    net.load_state_dict(torch.load(twin, weights_only=True))
    frames = cases.frames(CASE)[:1]
    np.testing.assert_allclose(torch_ref.infer(net, frames)["action"], infer(first[0], frames)["action"], atol=1e-5)


def test_port_says_what_is_wrong(keras_file, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "evil.pth").write_bytes(b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.")
    wrong = {
        ("missing.h5",): (1, "there is no such file"),
        (keras_file,): (2, "does not say which network"),
        (keras_file, "--model", "reception-coco"): (2, "reception-mpii, reception-h36m, reception-penn"),
        (keras_file, "--model", "reception-mpii"): (1, "the network does not fit"),
        (keras_file, "--model", "reception-penn", "--set", "blocks=2"): (2, "num_blocks"),
        (tmp_path / "notes.txt", "--model", "reception-penn"): (1, "is not a weight file"),
        (tmp_path / "evil.pth", "--model", "reception-penn"): (1, "cannot be read as a PyTorch state dict"),
        (tmp_path,): (1, "holds neither"),
    }
    for words, (code, sentence) in wrong.items():
        assert run("port", *words, "--out", tmp_path / "out") == code, words
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1, error
        assert sentence in error, error
        assert not (tmp_path / "out").exists()


def test_port_writes_the_authors_files_and_takes_part_of_one(tmp_path, capsys):
    narrow = {"image_size": 32, "num_blocks": 1, "width": 8, "stem_width": 2, "num_context": 0}
    settings = [word for name, value in narrow.items() for word in ("--set", f"{name}={value}")]
    entry = zoo.entry("reception-mpii")
    pose = zoo.create(dataclasses.replace(entry.config, **narrow))
    checkpoint.save_model(tmp_path / "pose", pose, entry.skeleton, ())
    keras_file, back, part = tmp_path / "new" / "pose.h5", tmp_path / "back", tmp_path / "part"
    assert run("port", tmp_path / "pose", "--out", keras_file) == 0
    assert run("port", keras_file, "--model", "reception-mpii", *settings, "--out", back) == 0
    assert (back / "model.json").read_text() == (tmp_path / "pose" / "model.json").read_text()
    capsys.readouterr()
    assert run("port", back, "--model", "reception-penn", *settings, "--partial", "--out", part) == 0
    said = capsys.readouterr().out
    assert "left at its initial value: pose_stream (" in said
    assert "not used: nothing" in said and "checked" not in said
    assert run("port", part, "--out", tmp_path) == 1
    assert run("port", part, "--out", part / "model.json" / "x.h5") == 1


def test_synth(tmp_path):
    size = ("--sequences", 2, 1, "--performers", 1, 1, "--frames", 4, 5, "--size", 64, 48)
    assert run("data", "synth", "--out", tmp_path / "Penn_Action", *size) == 0
    assert len(list((tmp_path / "Penn_Action" / "labels").glob("*.mat"))) == 3
    assert run("data", "synth", "--layout", "ntu", "--out", tmp_path / "nturgb+d", *size) == 0
    assert len(list((tmp_path / "nturgb+d" / "nturgb+d_rgb").glob("*_rgb.avi"))) == 9
    assert run("data", "synth", "--out", tmp_path) == 1
    assert run("data", "synth", "--layout", "h36m", "--seed", 7, "--out", tmp_path / "Human3.6M", *size) == 0
    settings = json.loads((tmp_path / "Human3.6M" / "synthetic.json").read_text())
    assert settings["seed"] == 7 and settings["clutter"] == 1
    assert (tmp_path / "Human3.6M" / "images" / "a02_s09_e01_c04" / "00065.jpg").is_file()


def test_synth_of_some_classes(tmp_path, capsys):
    few = ("--sequences", 4, 0, "--performers", 2, 0, "--frames", 2, 3, "--size", 32, 32)

    def synth(layout, *chosen):
        return run("data", "synth", "--layout", layout, "--out", tmp_path / layout, *few, "--classes", *chosen)

    assert synth("folder", "bent", "straight") == 0
    assert sorted(p.name for p in (tmp_path / "folder").iterdir() if p.is_dir()) == ["bent", "straight"]
    assert synth("penn", "2") == 0
    actions = {p.name: str(loadmat(p)["action"].item()) for p in (tmp_path / "penn" / "labels").iterdir()}
    assert sorted(set(actions.values())) == sorted(classes.PENN[:2]) and len(actions) == 4
    capsys.readouterr()
    for layout, chosen, sentence in (
        ("penn", ["bent"], "bent is none of baseball_pitch"),
        ("folder", ["squat", "squat"], "squat is there twice"),
        ("folder", ["99"], "there are 1 to 17 classes"),
        ("ntu", ["2"], "the classes of the layout ntu are fixed"),
    ):
        assert synth(layout, *chosen) == 2
        assert sentence in capsys.readouterr().err


def test_an_unforeseen_error_is_a_sentence_without_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr(catalogue, "main", lambda args: 1 / 0)
    assert run("zoo") == 1
    assert "Traceback" not in capsys.readouterr().err
    assert run("--debug", "zoo") == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_installed_command_shows_its_help_and_imports_nothing_heavy():
    words = [sys.executable, "-X", "importtime", "-m", "jaxhar.cli.main", "--help"]
    done = subprocess.run(words, capture_output=True, text=True)
    imported = {line.split()[-1] for line in done.stderr.splitlines()}
    assert "argparse" in imported and not imported & {"jax", "cv2", "numpy", "scipy"}
    assert done.returncode == 0
    for command in ("port", "weights", "export", "predict", "reconstruct", "overfit", "data", "zoo", "slurm"):
        assert command in done.stdout
