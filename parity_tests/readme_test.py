"""Every Python block of the README runs, and uint8 frames give what normalised ones give, in the twin too."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import torch_ref
from jaxhar import crop, infer, port, to_image, zoo
from jaxhar.predict.predictor_test import write_video
from jaxhar.weights import checkpoint
from jaxhar.weights.keras.files import save_keras
from parity_tests import cases
from parity_tests.tolerances import OUTPUTS, distance

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = zoo.config("reception-penn")
    save_keras("weights_AR_merge_ep074_26-10-17.h5", cases.seeded_weights(config), config)
    entry, tiny = zoo.entry("reception-penn"), zoo.tiny("reception-penn")
    checkpoint.save_model(tmp_path / "runs" / "penn-demo", zoo.create(tiny), entry.skeleton, entry.actions)
    write_video(tmp_path / "video.mp4", 5)
    rng = np.random.default_rng(0)
    space: dict = {"images": rng.integers(0, 256, (2, 120, 90, 3), np.uint8)}
    blocks = README.split("```python\n")[1:]
    for block in blocks:
        exec(block.split("```")[0], space)
    result, crops = space["result"], np.array(space["crops"])
    assert (tmp_path / "out" / "poses.json").is_file()
    assert len(blocks) == 2 and result["pose"].shape == (1, 1, 2, 16, 2) and result["action"].shape == (9, 1, 15)
    signed = infer(space["model"], crops[None] / np.float32(127.5) - 1)
    for key, value in signed.items():
        assert distance(result[key], value) < OUTPUTS, key


def test_the_twin_takes_what_infer_takes():
    config = zoo.tiny("reception-penn")
    flat = cases.seeded_weights(config)
    net = torch_ref.create("reception-penn", **dataclasses.asdict(config))
    net.load_state_dict({k: torch.from_numpy(v) for k, v in port.to_torch(flat).items()})
    frames = np.random.default_rng(1).integers(0, 256, (1, 2, 64, 64, 3), np.uint8)
    ours, twins = infer(port.from_flat(flat, config), frames), torch_ref.infer(net, frames)
    for key, value in twins.items():
        assert distance(ours[key], value) < OUTPUTS, key
    for wrong in (frames.astype(np.float32), frames.astype(int), frames[..., :2], np.full((1, 64, 64, 3), np.nan)):
        with pytest.raises(ValueError, match="uint8|frames must be"):
            torch_ref.infer(net, wrong)


@pytest.mark.parametrize("size", [64, (32, 64)])
def test_a_crop_and_the_way_back(size):
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:44, 120:124] = 255
    cut, affine = crop(image, (90, 10, 150, 90), size)
    assert cut.shape[:2] == ((size, size) if isinstance(size, int) else size)
    y, x = np.argwhere(cut[..., 0] > 127).mean(0) / (np.array(cut.shape[:2]) - 1)
    np.testing.assert_allclose(to_image(affine, np.array([[x, y]])), [[122, 42]], atol=1.5)
    assert crop(image)[0].shape == (256, 256, 3)
    for wrong in ((1, 2, 3), (5, 5, 5, 9), (0, 0, np.nan, 9)):
        with pytest.raises(ValueError, match="the box must be"):
            crop(image, wrong)
    with pytest.raises(ValueError, match="must be .H, W, 3. uint8"):
        crop(image.astype(float))


def test_the_example_of_several_views_runs(capsys):
    text = (Path(__file__).parents[1] / "docs" / "multiview.md").read_text()
    for block in text.split("```python\n")[1:]:
        exec(block.split("```")[0], {})
    assert capsys.readouterr().out.split() == ["True", "True"]
