import dataclasses
import json
import os

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from jaxhar import port, zoo
from jaxhar.core.skeleton import PA16, PA17
from jaxhar.host.errors import Problem
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.weights import checkpoint
from jaxhar.weights.checkpoint import Saved, Store

TINY = ReceptionConfig(image_size=32, num_blocks=1, width=16, stem_width=4, num_context=0)
ARRAYS = {
    "model/a.kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "step": np.array(7, np.int32),
    "key": np.array([1, 2], np.uint32),
}
MODEL = {"config": {}, "skeleton": {"name": "x", "joints": []}, "actions": []}


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


def saved(step, figure=None):
    return Saved(step, ARRAYS, {"stream": {"position": step}, "window": [0.1 + 0.2]}, figure)


def test_a_training_checkpoint_comes_back_exactly(tmp_path):
    Store(tmp_path).save(saved(7), MODEL)
    got = Store(tmp_path).restore()
    assert got is not None and got.step == 7
    assert got.record == {"stream": {"position": 7}, "window": [0.30000000000000004], "model": got.record["model"]}
    assert_same(got.arrays, ARRAYS)
    assert Store(tmp_path / "other").restore() is None


def test_the_last_and_the_best_are_kept(tmp_path):
    store = Store(tmp_path, keep_last=2, keep_best=True)
    for step, figure in enumerate([0.2, 0.9, None, 0.5, None, None], 1):
        store.save(saved(step, figure), MODEL)
    assert sorted(p.stem for p in store.folder.iterdir()) == ["2", "5", "6"]
    best = checkpoint.read_best(tmp_path)
    assert best is not None and best.step == 2


def test_damaged_checkpoints_are_set_aside_until_none_is_left(tmp_path, capsys):
    store = Store(tmp_path, keep_last=3)
    for step in (1, 2, 3):
        store.save(saved(step), MODEL)
    (store.folder / "3.safetensors").write_bytes(b"")
    (store.folder / ".4.safetensors.99.tmp").write_bytes(b"left by a kill")
    got = Store(tmp_path).restore()
    assert got is not None and got.step == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(p.name for p in store.folder.iterdir()) == ["1.safetensors", "2.safetensors", "3.damaged"]
    for step in (1, 2):
        (store.folder / f"{step}.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(Problem, match="no checkpoint in .* is intact"):
        Store(tmp_path).restore()


def test_a_run_is_loaded_as_a_model(tmp_path, model):
    prefixed = {f"{checkpoint.MODEL_PREFIX}{name}": array for name, array in port.to_flat(model).items()}
    description = checkpoint.describe(TINY, PA16, ("a",))
    store = Store(tmp_path, keep_best=True)
    store.save(Saved(1, {**prefixed, "opt.x": np.zeros(3)}, {}, figure=0.5), description)
    store.save(Saved(2, {k: v * 0 for k, v in prefixed.items()}, {}, figure=0.1), description)
    for path in (tmp_path, store.folder, store.folder / "1.safetensors"):
        loaded, meta = checkpoint.load_model(path)
        assert_same(port.to_flat(loaded), port.to_flat(model))
        assert meta.config == TINY


def test_weights_of_other_settings_are_refused(tmp_path, model):
    path = tmp_path / "m.safetensors"
    checkpoint.save_model(path, model, PA16, ())
    flat, description = checkpoint.load_flat(path)
    description["config"] = json.loads(port.config_to_json(dataclasses.replace(TINY, width=32)))
    store = Store(tmp_path / "run")
    store.save(Saved(1, {f"{checkpoint.MODEL_PREFIX}{k}": v for k, v in flat.items()}, {}), description)
    with pytest.raises(Problem, match="do not fit the network"):
        checkpoint.load_model(tmp_path / "run")
