import dataclasses
import json
import os

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from jaxhar import port, zoo
from jaxhar.core.calibration import Calibration
from jaxhar.core.familiar import Familiar
from jaxhar.core.skeleton import PA16, PA17
from jaxhar.host.errors import Problem
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.weights import checkpoint
from jaxhar.weights.store import Saved, Store

TINY = ReceptionConfig(image_size=32, num_blocks=1, width=16, stem_width=4, num_context=0)


@pytest.fixture(scope="module")
def model():
    net = zoo.create(TINY, rngs=nnx.Rngs(3))
    net.eval()
    return net


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        assert np.asarray(a[name]).dtype == np.asarray(b[name]).dtype and np.shape(a[name]) == np.shape(b[name])


@pytest.mark.parametrize("name", ["model", "deep/er/model", "model.safetensors"])
def test_a_model_comes_back(tmp_path, model, name):
    path = tmp_path / name
    checkpoint.save_model(path, model, PA16, ("run", "jump"))
    loaded, meta = checkpoint.load_model(path)
    assert_same(port.to_flat(loaded), port.to_flat(model))
    assert meta == checkpoint.Meta(PA16, ("run", "jump"), TINY)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_model_of_another_family_with_two_sets_of_labels_comes_back(tmp_path):
    net = zoo.create(dataclasses.replace(zoo.tiny("spnet-ntu"), num_levels=2, num_actions=(2, 1)))
    checkpoint.save_model(tmp_path / "m", net, PA17, (("run", "jump"), ("sit",)))
    loaded, meta = checkpoint.load_model(tmp_path / "m")
    assert_same(port.to_flat(loaded), port.to_flat(net))
    assert meta == checkpoint.Meta(PA17, (("run", "jump"), ("sit",)), net.config)


@pytest.mark.parametrize("name", ["model", "model.safetensors"])
def test_what_the_weights_were_trained_on_comes_back(tmp_path, model, name):
    known = Familiar(np.arange(3.0), np.eye(3), 2.5)
    trained = {"step": 3, "actions": False}
    checkpoint.save_model(tmp_path / name, model, PA16, ("a",), trained, known, Calibration(1.5))
    loaded, meta = checkpoint.load_model(tmp_path / name)
    assert_same(port.to_flat(loaded), port.to_flat(model))
    assert meta.calibration == Calibration(1.5)
    assert meta.trained == trained and meta.familiar is not None and meta.familiar.limit == 2.5
    np.testing.assert_array_equal(meta.familiar(np.array([[0.0, 1, 2], [9, 9, 9]])), [True, False])
    assert checkpoint.sha256(loaded) == checkpoint.sha256(model)


def test_what_was_found_out_belongs_to_one_checkpoint(tmp_path, model):
    kept = Store(tmp_path)
    kept.save(Saved(1, port.to_flat(model), {}, {}), checkpoint.describe(TINY, PA16, ()))
    kept.wait()
    checkpoint.save_findings(tmp_path, Familiar(np.zeros(3), np.eye(3), 2.5))
    checkpoint.save_findings(tmp_path, calibration=Calibration(1.5, 2.0))
    meta = checkpoint.load_model(tmp_path)[1]
    assert meta.familiar is not None and meta.calibration == Calibration(1.5, 2.0)
    kept.save(Saved(2, port.to_flat(model), {}, {}), checkpoint.describe(TINY, PA16, ()))
    kept.close()
    meta = checkpoint.load_model(tmp_path)[1]
    assert meta.familiar is None and meta.calibration is None


def test_a_model_folder_is_replaced_and_other_folders_are_not(tmp_path, model):
    checkpoint.save_model(tmp_path / "m", model, PA16, ("a",))
    checkpoint.save_model(tmp_path / "m", model, PA16, ("b",))
    assert checkpoint.load_model(tmp_path / "m")[1].actions == ("b",)
    assert json.loads((tmp_path / "m/model.json").read_text())["actions"] == ["b"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").write_text("meow")
    with pytest.raises(Problem, match="photos holds other files"):
        checkpoint.save_model(tmp_path / "photos", model, PA16, ())
    with pytest.raises(Problem, match="cat.jpg is a file"):
        checkpoint.save_model(tmp_path / "photos/cat.jpg", model, PA16, ())
    with pytest.raises(Problem, match="cannot write .*cat.jpg.m"):
        checkpoint.save_model(tmp_path / "photos/cat.jpg/m", model, PA16, ())
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_failed_write_leaves_nothing_and_the_old_model_good(tmp_path, model, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    checkpoint.save_model(tmp_path / "old", model, PA16, ("a",))
    monkeypatch.setattr(os, "fsync", full)
    for name in ("old", "new", "new.safetensors"):
        with pytest.raises(Problem, match="No space left on device; make room"):
            checkpoint.save_model(tmp_path / name, model, PA16, ("b",))
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert checkpoint.load_model(tmp_path / "old")[1].actions == ("a",)


def test_every_flipped_bit_is_noticed(tmp_path, model):
    path = tmp_path / "m.safetensors"
    checkpoint.save_model(path, model, PA16, ())
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(0)
    expected = checkpoint.load_flat(path)
    for position in [*rng.integers(0, start, 60), *rng.integers(start, len(content), 20)]:
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            got = checkpoint.load_flat(path)
        except Problem:
            continue
        assert got[1] == expected[1], position
        assert_same(got[0], expected[0])


def test_what_is_not_a_model_is_explained(tmp_path, model):
    path = tmp_path / "m.safetensors"
    checkpoint.save_model(path, model, PA16, ())
    path.write_bytes(path.read_bytes()[:-7])
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.safetensors").write_text("hello")
    save_file({"x": np.zeros(3)}, tmp_path / "foreign.safetensors")
    for name, message in {
        "absent": "no model at",
        "empty": "holds neither",
        "m.safetensors": "damaged",
        "text.safetensors": "not a safetensors file",
        "foreign.safetensors": "was not written by jaxhar",
    }.items():
        with pytest.raises(Problem, match=message):
            checkpoint.load_model(tmp_path / name)


def test_a_run_is_loaded_as_a_model(tmp_path, model, monkeypatch):
    flat = port.to_flat(model)
    description = checkpoint.describe(TINY, PA16, ("a",))
    kept = Store(tmp_path, keep_best=True)
    kept.save(Saved(1, flat, {"opt.x": np.zeros(3)}, {}, figure=0.5), description)
    kept.save(Saved(2, {k: v * 0 for k, v in flat.items()}, {}, {}, figure=0.1), description)
    kept.close()
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path, kept.folder, kept.folder / "1", kept.folder.relative_to(tmp_path) / "1"):
        loaded, meta = checkpoint.load_model(path)
        assert_same(port.to_flat(loaded), flat)
        assert meta.config == TINY


def test_weights_of_other_settings_are_refused(tmp_path, model):
    path = tmp_path / "m.safetensors"
    checkpoint.save_model(path, model, PA16, ())
    flat, description = checkpoint.load_flat(path)
    description["config"] = json.loads(port.config_to_json(dataclasses.replace(TINY, width=32)))
    kept = Store(tmp_path / "run")
    kept.save(Saved(1, flat, {}, {}), description)
    kept.close()
    with pytest.raises(Problem, match="the network does not fit"):
        checkpoint.load_model(tmp_path / "run")


def test_weights_are_not_tested_on_other_classes():
    data = ("run", "jump")
    for known in (["run", "jump"], ["class 0", "jump"], []):
        checkpoint.check_same_classes(known, data, "net")
    checkpoint.check_same_classes([["run"], ["up", "down"]], (("run",), ("up", "down")), "net")
    with pytest.raises(Problem, match="class 0 of net is 'jump', but 'run' in the data"):
        checkpoint.check_same_classes(["jump", "run"], data, "net")
