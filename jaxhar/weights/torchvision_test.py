"""Trunks of torchvision: from a server into the cache, into networks, and files that do not fit."""

import dataclasses
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from jaxhar import port, zoo
from jaxhar.cli import main as cli
from jaxhar.host import files
from jaxhar.host.download_test import server  # noqa: F401
from jaxhar.host.errors import Problem, Usage
from jaxhar.weights import forms, start, torchvision
from jaxhar.weights.net import Net

TINY = zoo.tiny("simple-baseline-mpii")


def trunk(depth: int) -> dict[str, torch.Tensor]:
    """A file like those of torchvision, of a narrow ResNet: with a classifier, without the head for joints."""
    config = dataclasses.replace(TINY, depth=depth)
    rng = np.random.default_rng(depth)
    flat = {path: rng.uniform(0.5, 1, shape).astype(np.float32) for path, shape in port.shapes(config).items()}
    state = {name: array for name, array in port.to_torch(flat, config).items() if name.split(".")[0][:5] in WORDS}
    state |= {"fc.weight": np.zeros((10, 64), np.float32), "fc.bias": np.zeros(10, np.float32)}
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


WORDS = ("conv1", "bn1", "layer")


@pytest.fixture
def published(server, tmp_path, monkeypatch):  # noqa: F811
    """The server has a narrow ResNet-18 under torchvision's kind of name."""
    buffer = io.BytesIO()
    torch.save(trunk(18), buffer)
    server.content = buffer.getvalue()
    name = f"resnet18-{hashlib.sha256(server.content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(torchvision, "FILES", {"resnet18": name})
    monkeypatch.setattr(torchvision, "URL", server.url.rpartition("/")[0] + "/")
    monkeypatch.setenv("JAXHAR_CACHE", str(tmp_path / "cache"))
    return name


def test_a_run_starts_from_the_fetched_trunk(published, capsys):
    with pytest.raises(Problem, match="Fetch them by `jaxhar weights resnet18`, or train from random weights"):
        start.load("torchvision:resnet18", TINY)
    assert cli.main(["weights", "resnet18", "--no-progress"]) == 0
    assert "init_from=torchvision:resnet18" in capsys.readouterr().out
    for name in ("simple-baseline-mpii", "simple-baseline-lip", "multiview-h36m"):
        config = zoo.tiny(name)
        flat, _ = start.load("torchvision:resnet18", config)
        net = Net(zoo.create(config))
        fresh = net.load(flat, "the file", zoo.family(config).transfer)
        assert fresh and not any("backbone" in path for path in fresh)
        np.testing.assert_array_equal(
            net.params["single.backbone.conv1.conv.kernel"].transpose(3, 2, 0, 1), trunk(18)["conv1.weight"]
        )
    with pytest.raises(Usage, match="no network 'resnet19' here"):
        start.load("torchvision:resnet19", TINY)


def test_a_damaged_file_is_told(published, tmp_path):
    torchvision.fetch("resnet18", progress=False)
    path = files.cache_folder() / published
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Problem, match="is damaged or another file: its sha256 begins with"):
        start.load("torchvision:resnet18", TINY)
    with pytest.raises(Problem, match="is damaged or another file"):
        torchvision.fetch("resnet18", given=path)


def written(folder: Path, state: dict, **how) -> Path:
    torch.save(state, folder / "resnet.pth", **how)
    return folder / "resnet.pth"


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_port_fills_the_trunk_and_lists_the_head(tmp_path, how):
    changes = {"image_size": "64", "depth": "18", "width": "8", "deconv_filters": "(16, 16, 16)"}
    loaded = forms.load(written(tmp_path, trunk(18), **how), "simple-baseline-mpii", changes, partial=True)
    assert any(re.search("left at its initial value: single.deconv .*single.final", note) for note in loaded.notes)
    flat = port.to_flat(loaded.model)
    np.testing.assert_array_equal(
        flat["single.backbone.layer4.1.conv2.norm.var"], trunk(18)["layer4.1.bn2.running_var"]
    )
    back = port.to_torch(flat, loaded.meta.config)
    assert all((back[name] == array.numpy()).all() for name, array in trunk(18).items() if not name.startswith("fc"))


@pytest.mark.parametrize(
    ("file", "network", "message"), [(34, 18, "is it deeper"), (18, 34, "is it less deep"), (50, 18, "another kind")]
)
def test_a_trunk_of_another_depth_is_refused(tmp_path, file, network, message):
    config = dataclasses.replace(TINY, depth=network)
    with pytest.raises(Problem, match=message):
        start.load(str(written(tmp_path, trunk(file))), config)
