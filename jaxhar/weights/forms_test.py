"""Every form of weights into every other, by content and bit by bit; files with part of a network."""

import itertools
import json
import zipfile

import numpy as np
import pytest

from jaxhar import port, zoo
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.weights import checkpoint, keras
from jaxhar.weights import forms as convert
from jaxhar.weights.torch import save_pth
from parity_tests import cases

FORMS = {"folder": "w", "safetensors": "w.safetensors", "keras": "w.h5", "torch": "w.pth"}
TINY = ReceptionConfig.tiny(num_blocks=2, num_actions=3, pose_stream_width=28, visual_stream_width=8)
CHANGES = {
    name: str(value)
    for name, value in json.loads(port.config_to_json(TINY)).items()
    if name != "family" and value != getattr(zoo.config("reception-penn"), name)
}


def network(config, seed=0):
    model = port.from_flat(cases.seeded_weights(config, seed), config)
    entry = zoo.entry("reception-penn" if config.num_actions else "reception-mpii")
    return convert.Loaded(model, checkpoint.Meta(*zoo.labels(entry, config), config))


def same(a, b):
    a, b = (port.to_flat(loaded.model) for loaded in (a, b))
    assert a.keys() == b.keys()
    for name, array in a.items():
        assert array.dtype == b[name].dtype
        np.testing.assert_array_equal(array, b[name], err_msg=name)


@pytest.fixture(scope="module")
def action():
    return network(TINY)


@pytest.fixture(scope="module")
def written(action, tmp_path_factory):
    """The same network in every form."""
    folder = tmp_path_factory.mktemp("forms")
    for form, name in FORMS.items():
        convert.save(action, folder / form / name)
    return {form: folder / form / name for form, name in FORMS.items()}


def load(path, **options):
    ours = convert.file_kind(path) == "ours"
    return convert.load(path, **({} if ours else {"name": "reception-penn", "changes": CHANGES}), **options)


@pytest.mark.parametrize(("first", "second"), [*itertools.product(FORMS, FORMS)])
def test_every_form_into_every_other(first, second, action, written, tmp_path):
    one = load(written[first])
    same(one, action)
    assert one.meta == action.meta and not one.notes
    convert.save(one, tmp_path / FORMS[second])
    two = load(tmp_path / FORMS[second])
    same(two, action)
    assert two.meta == action.meta


def test_content_counts_and_not_the_name(action, written, tmp_path):
    for form in ("safetensors", "keras", "torch"):
        path = tmp_path / f"{form}.bin"
        path.write_bytes(written[form].read_bytes())
        same(load(path), action)


def test_what_is_no_weight_file(written, tmp_path):
    half = written["torch"].read_bytes()
    (tmp_path / "half.pth").write_bytes(half[: len(half) // 2])
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as file:
        file.writestr("model.weights.h5", "")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("notes.txt", "")
    (tmp_path / "empty").write_bytes(b"")
    reasons = {"half.pth": "damaged", "a.keras": "Keras 3 model", "a.zip": "not a weight file", "empty": "not a weight"}
    for name, reason in reasons.items():
        with pytest.raises(Problem, match=reason) as problem:
            convert.file_kind(tmp_path / name)
        assert name in str(problem.value)


def test_a_pose_network_starts_an_action_network(tmp_path):
    pose = network(ReceptionConfig.tiny(num_blocks=2), seed=1)
    for form in ("folder", "safetensors"):
        convert.save(pose, tmp_path / FORMS[form])
        loaded = load_partly(tmp_path / FORMS[form])
        flat, fresh = port.to_flat(loaded.model), port.to_flat(zoo.create(TINY))
        for name, array in port.to_flat(pose.model).items():
            np.testing.assert_array_equal(flat[f"pose.{name}"], array)
        np.testing.assert_array_equal(flat["pose_stream.conv_a.conv.kernel"], fresh["pose_stream.conv_a.conv.kernel"])
        left, unused = loaded.notes
        heads = ("pose_stream", "pose_weight", "visual_stream", "visual_weight")
        told = [f"{head} ({sum(name.startswith(f'{head}.') for name in fresh)} leaves)" for head in heads]
        assert left == f"left at its initial value: {'; '.join(told)}"
        assert unused == "not used: nothing"


def load_partly(path):
    return convert.load(path, "reception-penn", CHANGES, partial=True)


def test_part_of_a_keras_file(action, tmp_path):
    groups = keras.arrange(port.to_flat(action.model), TINY)
    part = [g for g in groups if g[0] not in ("PoseAR", "td_rBlock1")] + [("extra", [("extra/kernel:0", np.ones(3))])]
    part = [(n, [w for w in weights if "conv2d_3/" not in w[0]]) for n, weights in part]
    loaded = load_partly(cases.write_h5(part, tmp_path / "part.h5"))
    flat, whole = port.to_flat(loaded.model), port.to_flat(action.model)
    left, unused = loaded.notes
    for module in ("pose.blocks.0.reception", "pose_stream", "pose.stem.conv1.conv.kernel"):
        assert module in left
    assert "left over: group extra" in unused and "td_Stem has 10 layers conv2d, expected 11" in unused
    taken = [n for n in flat if n.startswith(("visual_stream", "pose.blocks.1", "pose.stem.conv1.norm"))]
    assert taken
    for name in taken:
        np.testing.assert_array_equal(flat[name], whole[name])
    with pytest.raises(Problem, match="group PoseAR is missing"):
        convert.load(tmp_path / "part.h5", "reception-penn", CHANGES)


def test_part_of_a_state_dict_with_other_classes(action, tmp_path):
    state = port.to_torch(port.to_flat(action.model))
    del state["pose.stem.conv1.conv.weight"]
    save_pth(state | {"more": np.zeros(2, np.float32)}, tmp_path / "part.pth")
    loaded = convert.load(tmp_path / "part.pth", "reception-penn", CHANGES | {"num_actions": "5"}, partial=True)
    left, unused = loaded.notes
    assert "pose.stem.conv1.conv.kernel" in left and "pose_stream.blocks.0.maps.kernel" in left
    assert "left over: more" in unused and "pose_stream.blocks.0.maps.kernel (3, 3, 28, 3)" in unused
    np.testing.assert_array_equal(
        port.to_flat(loaded.model)["pose.blocks.1.maps.kernel"], port.to_flat(action.model)["pose.blocks.1.maps.kernel"]
    )


def test_nothing_in_common(tmp_path):
    save_pth({"more": np.zeros(2, np.float32)}, tmp_path / "other.pth")
    with pytest.raises(Problem, match="no leaf of the network"):
        load_partly(tmp_path / "other.pth")


def test_a_file_that_does_not_tell_its_network(written):
    for name in (None, "auto"):
        with pytest.raises(Usage, match="does not say which network"):
            convert.load(written["keras"], name)
    with pytest.raises(Usage, match="carries the settings"):
        convert.load(written["folder"], changes={"num_blocks": "3"})
    with pytest.raises(Problem, match="holds a network of other settings than reception-penn"):
        convert.load(written["folder"], "reception-penn")


def test_positions_are_interpolated_when_asked():
    config = zoo.tiny("mae-st-vit-b")
    loaded = convert.Loaded(zoo.create(config), checkpoint.Meta(None, (), config))
    found = convert.resized(loaded, {"image_size": "64", "pred_frames": "16", "num_frames": "32"})
    assert found.meta.config.tokens == 8 * config.tokens and found.model.config == found.meta.config
    assert found.notes == ("positions are interpolated to image_size=64, pred_frames=16, num_frames=32",)
    other = zoo.tiny("skeleton-transformer-ntu")
    with pytest.raises(Usage, match="have no positions that could be interpolated"):
        convert.resized(convert.Loaded(zoo.create(other), checkpoint.Meta(None, (), other)), {"num_frames": "8"})
