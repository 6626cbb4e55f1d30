"""Names, parameter counts, the tiny networks, inference."""

import dataclasses
import importlib
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar import infer, port, zoo
from jaxhar.core.family import Entry, Family
from jaxhar.core.skeleton import PA20, PENN, Skeleton
from jaxhar.host.errors import Usage
from jaxhar.models.reception import zoo as reception
from jaxhar.models.reception.network import ReceptionConfig


def count(shapes, prefix):
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefix))


def test_parameter_counts_of_the_published_networks():
    """Against Keras' count, without the constants it counts as weights."""
    pose = port.shapes(zoo.config("reception-mpii"))
    assert count(pose, "stem.") == 1_039_488
    assert count(pose, "blocks.0.reception.") == 1_312_128
    assert count(pose, "blocks.0.separable.") == 347_904
    assert count(pose, "blocks.0.maps.") == 27_648
    assert count(pose, "blocks.0.remap.") == 29_376
    assert count(pose, "blocks.7.remap.") == 0
    assert count(pose, "") == 14_847_936 - 33_280 - 67_584 - 512
    action = port.shapes(zoo.config("reception-penn"))
    assert count(action, "pose_stream.") == 856_160
    assert count(action, "visual_stream.") == 4_070_144
    assert count(action, "pose_weight.") == count(action, "visual_weight.") == 240
    assert count(action, "") == 12_906_496 - 33_280 - 67_584 - 512


def test_parameter_counts_of_the_published_3d_networks():
    pose = port.shapes(zoo.config("reception-h36m"))
    assert count(pose, "blocks.0.maps.") == 156_672
    assert count(pose, "blocks.0.remap.") == 158_400
    assert count(pose, "") == 16_721_938 - 35_394 - 4_624
    action = port.shapes(zoo.config("reception-ntu"))
    assert count(action, "pose.stem.") == 1_039_488
    assert count(action, "pose.blocks.0.reception.") == 1_312_128
    assert count(action, "pose.blocks.0.maps.") == 92_160
    assert count(action, "pose.blocks.0.remap.") == 93_888
    assert count(action, "pose.") - 1_039_488 - 1_312_128 == 5_978_304
    assert count(action, "pose_stream.") == 3_810_464
    assert count(action, "visual_stream.") == 4_795_904
    assert count(action, "pose_weight.") == count(action, "visual_weight.") == 3_660
    assert count(action, "") == 16_988_568 - 41_760 - 3_200


def test_parameter_counts_of_the_old_model():
    old = port.shapes(ReceptionConfig(num_blocks=2, kernel_size=3, old_model=True, width=512))
    assert count(old, "stem.") - count(old, "stem.residual.") == 535_648
    assert count(old, "stem.residual.") == 399_744
    assert count(old, "blocks.0.reception.") == 1_010_688
    assert count(old, "blocks.0.separable.") == 268_288
    assert count(old, "blocks.0.maps.") == 24_576
    assert count(old, "blocks.0.remap.") == 26_112
    assert count(old, "") == 3_669_984 - 101_376


@pytest.mark.parametrize("name", [name for name in zoo.names() if name.startswith("reception")])
def test_labels_and_tiny_networks_are_of_the_kind_of_their_entry(name):
    entry, tiny = zoo.entry(name), zoo.tiny(name)
    joints, classes = zoo.labels(entry, entry.config)
    assert len(joints) == entry.config.num_joints and joints is entry.skeleton
    assert len(set(classes)) == (entry.config.num_actions or 0)
    assert zoo.labels(entry, tiny) == (joints, classes)
    kind = port.shapes(entry.config)
    assert set(port.shapes(tiny)) <= set(kind)


def test_other_numbers_of_joints_are_looked_for_in_the_family_alone(monkeypatch):
    """20 joints are PA20 to deephar's networks; the union of 20 joints of another family is not."""
    entry = zoo.entry("reception-mpii")
    assert zoo.labels(entry, dataclasses.replace(entry.config, num_joints=20))[0] is PA20
    assert zoo.labels(entry, dataclasses.replace(entry.config, num_joints=13))[0] is PENN
    assert zoo.labels(entry, dataclasses.replace(entry.config, num_joints=19))[0].joints[18] == "joint18"

    class Other(ReceptionConfig):
        """Settings of another family."""

    union = Skeleton("union", tuple(f"r_{i}" for i in range(18)))
    monkeypatch.setattr(zoo, "FAMILIES", list(zoo.FAMILIES))
    zoo.register(Family("other", Other, reception.build, {"o": Entry(Other(num_joints=17))}, skeletons=(union,)))
    for joints in (16, 17, 20, 21):
        layout, _ = zoo.labels(zoo.entry("o"), Other(num_joints=joints))
        assert layout.joints == tuple(f"joint{i}" for i in range(joints)) and not len(layout.limbs)
    assert zoo.labels(zoo.entry("o"), Other(num_joints=18))[0] is union


def test_unknown_names_and_settings():
    with pytest.raises(Usage, match=", ".join(zoo.names())):
        zoo.config("reception-coco")
    with pytest.raises(ValueError, match="joint_prob|JointProb"):
        ReceptionConfig(joint_prob="maximum")
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        ReceptionConfig(kernel_size=4)


def test_labels_of_one_and_several_sets():
    entry = zoo.entry("spnet-ntu")
    joints, names = zoo.labels(entry, entry.config)
    assert len(joints) == 17 and len(names) == 60 and names[0] == "drink_water"
    _, sets = zoo.labels(entry, dataclasses.replace(entry.config, num_actions=(60, 2)))
    assert sets == (names, ("class 0", "class 1"))
    assert zoo.labels(zoo.entry("spnet-pose"), zoo.config("spnet-pose"))[1] == ()


@pytest.mark.parametrize("name", zoo.names())
def test_tiny_networks_are_of_the_kind_of_the_full_ones(name):
    full, tiny = zoo.config(name), zoo.tiny(name)
    assert type(tiny) is type(full)
    for setting in ("num_joints", "num_actions", "num_frames", "dims", "pose_replica"):
        assert getattr(tiny, setting, None) == getattr(full, setting, None)
    assert count(port.shapes(tiny), "") < count(port.shapes(full), "") / 20


def test_infer_takes_stills_and_clips_and_leaves_the_model_alone():
    model = zoo.create(ReceptionConfig.tiny(num_actions=4))
    before = port.to_flat(model)
    frames = np.random.default_rng(0).uniform(-1, 1, (3, 2, 64, 64, 3)).astype(np.float32)
    clip, stills = infer(model, frames), infer(model, frames[:, 0])
    assert clip["pose"].shape == (1, 3, 2, 16, 2)
    assert stills["pose"].shape == (1, 3, 1, 16, 2)
    np.testing.assert_allclose(stills["pose"][:, :, 0], clip["pose"][:, :, 0], atol=1e-6)
    np.testing.assert_allclose(clip["action"].sum(-1), 1, rtol=1e-5)
    for name, array in port.to_flat(model).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    with pytest.raises(ValueError, match="frames must be"):
        infer(model, frames[0, 0])


def test_training_gives_every_block_and_pose_alone_leaves_the_heads_alone():
    config = ReceptionConfig.tiny(num_actions=4)
    model = zoo.create(config)
    frames = jnp.zeros((2, 3, 64, 64, 3))
    before = port.to_flat(model)
    model.train()
    preds = model({"frames": frames})
    assert preds["pose"].shape == (2, 2, 3, 16, 2)
    assert "action" not in preds
    after = port.to_flat(model)
    moved = {name for name in after if not np.array_equal(after[name], before[name])}
    assert moved and all(name.startswith("pose.") for name in moved)


def test_bfloat16_stays_near_float32():
    config = dataclasses.replace(ReceptionConfig.tiny(num_actions=4), width=48)
    exact = zoo.create(config)
    half = zoo.create(config, dtype=jnp.bfloat16)
    frames = np.random.default_rng(0).uniform(-1, 1, (2, 3, 64, 64, 3)).astype(np.float32)
    a, b = infer(exact, frames), infer(half, frames)
    assert b["pose"].dtype == np.float32
    np.testing.assert_allclose(a["pose"], b["pose"], atol=0.02)


def test_the_network_of_the_docs_is_registered_runs_and_ports(monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "FAMILIES", list(zoo.FAMILIES))
    text = (Path(__file__).parents[1] / "docs" / "own_network.md").read_text()
    module = tmp_path / "my_network.py"
    module.write_text(text.split("```python\n")[1].split("```")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("my_network")
    model = zoo.create(zoo.config("my-network"))
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    preds = infer(model, frames)
    assert preds["pose"].shape == (1, 2, 1, 16, 2)
    flat = port.to_flat(model)
    again = port.from_flat(port.from_torch(port.to_torch(flat), model.config), model.config)
    np.testing.assert_array_equal(infer(again, frames)["pose"], preds["pose"])
