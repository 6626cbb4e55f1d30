import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.host.errors import Problem
from jaxhar.weights import store, tensor_file
from jaxhar.weights.store import Saved, Store

MODEL = {"a.kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "a/b['c']": np.float32(2).reshape(())}
TRAINING = {
    "opt[0].mu['a.kernel']": np.full((2, 3), 0.5, np.float32),
    "key": np.array([1, 2], np.uint32),
    "half": np.asarray(jnp.ones(3, jnp.bfloat16)),
    "step": np.array(7, np.int32),
}
DESCRIPTION = {"config": {}, "skeleton": {"name": "x", "joints": []}, "actions": []}


def saved(step, figure=None, model=MODEL):
    return Saved(step, model, TRAINING, {"stream": {"position": step}, "window": [0.1 + 0.2]}, figure)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        assert np.asarray(a[name]).dtype == np.asarray(b[name]).dtype and np.shape(a[name]) == np.shape(b[name])


def filled(workdir, steps, **options):
    kept = Store(workdir, **options)
    for step in steps:
        kept.save(saved(step), DESCRIPTION)
    kept.close()
    return kept.folder


def test_a_checkpoint_comes_back_exactly(tmp_path):
    filled(tmp_path, [7])
    got = Store(tmp_path).restore()
    assert got is not None and got.step == 7
    assert got.record == {"stream": {"position": 7}, "window": [0.30000000000000004], "model": got.record["model"]}
    assert_same(got.model, MODEL)
    assert_same(got.training, TRAINING)
    assert store.read_best(tmp_path).training == {}
    assert Store(tmp_path / "other").restore() is None


def test_the_last_and_the_best_are_kept(tmp_path):
    kept = Store(tmp_path, keep_last=2, keep_best=True)
    for step, figure in enumerate([0.2, 0.9, None, 0.5, None, None], 1):
        kept.save(saved(step, figure), DESCRIPTION)
    kept.close()
    assert sorted(p.name for p in kept.folder.iterdir()) == ["2", "5", "6"]
    best = store.read_best(tmp_path)
    assert best is not None and best.step == 2


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    kept = Store(tmp_path)
    kept.save(saved(3), DESCRIPTION)
    kept.save(saved(3, model={"other": np.ones(2, np.float32)}), DESCRIPTION)
    kept.close()
    assert list(Store(tmp_path).restore().model) == ["other"]


def test_arrays_that_change_while_they_are_written_are_saved_as_they_were(tmp_path):
    """A training step reuses the memory of its input state."""
    step = jax.jit(lambda x: jax.tree.map(lambda a: a + 1, x), donate_argnums=0)
    arrays = {f"a{i}": jnp.full((512, 256), i, jnp.float32) for i in range(40)}
    kept = Store(tmp_path)
    kept.save(Saved(1, arrays, {}, {}), DESCRIPTION)
    for _ in range(5):
        arrays = step(arrays)
    kept.close()
    for name, array in Store(tmp_path).restore().model.items():
        np.testing.assert_array_equal(array, int(name[1:]))


def test_every_damage_is_noticed_or_harmless(tmp_path, capsys):
    """Bits flipped and files cut or removed, anywhere in the newest of two checkpoints."""
    folder = filled(tmp_path / "run", [1, 2])
    files = sorted(p for p in (folder / "2").rglob("*") if p.is_file())
    rng = np.random.default_rng(0)
    told = 0
    for trial in range(200):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        path = tmp_path / "copy" / files[trial % len(files)].relative_to(tmp_path / "run")
        content = bytearray(path.read_bytes())
        kind = trial // len(files) % 3
        if kind == 0 and content:
            content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
            path.write_bytes(content)
        elif kind == 1:
            path.write_bytes(content[: len(content) // 2])
        else:
            path.unlink()
        got = Store(tmp_path / "copy").restore()
        assert got is not None and got.record["stream"]["position"] == got.step, path
        assert_same(got.model, MODEL)
        assert_same(got.training, TRAINING)
        told += got.step == 1
        assert (got.step == 1) == ("is damaged" in capsys.readouterr().err), path
        assert (tmp_path / "copy/checkpoints/2.damaged").exists() == (got.step == 1)
    assert 100 < told < 200


def test_damaged_checkpoints_are_set_aside_until_none_is_left(tmp_path, capsys):
    folder = filled(tmp_path, [1, 2, 3], keep_last=3)
    shutil.rmtree(folder / "3" / "model")
    (folder / "4.orbax-checkpoint-tmp").mkdir()  # left by a kill
    (folder / ".leaving-0").mkdir()
    got = Store(tmp_path).restore()
    assert got is not None and got.step == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2", "3.damaged"]
    (folder / "2" / "record" / "metadata").write_text('{"text": "{}", "crc32": 1}')
    shutil.rmtree(folder / "1" / "record")
    with pytest.raises(Problem, match="no checkpoint in .* is intact"):
        Store(tmp_path).restore()


def test_a_failed_write_is_a_problem_and_the_one_before_stays(tmp_path, monkeypatch):
    kept = Store(tmp_path)
    kept.save(saved(1), DESCRIPTION)
    kept.wait()
    rename = os.replace

    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, full)
    kept.save(saved(2), DESCRIPTION)
    with pytest.raises(Problem, match="cannot write .*/2: No space left on device; make room"):
        kept.wait()
    monkeypatch.setattr(os, "replace", rename)
    kept.close()
    assert [p.name for p in kept.folder.iterdir()] == ["1"]


def test_checkpoints_of_the_old_form_are_read_and_give_way_to_new_ones(tmp_path):
    kept = Store(tmp_path, keep_last=1, keep_best=True)
    for step, figure in ((1, 0.9), (2, 0.1)):
        arrays = {f"model/{name}": a for name, a in MODEL.items()} | TRAINING
        training = {"step": step, "record": {"window": []}, "figure": figure}
        tensor_file.write(kept.folder / f"{step}.safetensors", arrays, {**DESCRIPTION, "training": training})
    got = kept.restore()
    assert got is not None and got.step == 2
    assert_same(got.model, MODEL)
    assert_same(got.training, TRAINING)
    assert store.read_best(tmp_path).step == 1
    kept.save(saved(3), DESCRIPTION)
    kept.close()
    assert sorted(p.name for p in kept.folder.iterdir()) == ["1.safetensors", "3"]
