"""What every data set of `sets.SETS` must do; a new one is tested by being listed there."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from jaxhar.checks import examples
from jaxhar.cli import main as cli
from jaxhar.core.batch import Batch
from jaxhar.core.prepared import Prepared
from jaxhar.data import sets
from jaxhar.data.generate.film import Synth
from jaxhar.data.pyskl.videos import RATIO
from jaxhar.data.vocabulary import KEYS
from jaxhar.host.errors import Usage

SYNTH = Synth(4, 2, 2, 1, frames=(4, 5), size=(160, 96), seed=3)
TYPES = {
    "frames": np.uint8,
    "valid": bool,
    "mask": bool,
    "flipped": bool,
    "mirrored": bool,
    "hidden": bool,
    "together": bool,
    "boxed": bool,
    "ignored": bool,
    "action": np.int32,
    "sequence": np.int32,
}


@pytest.fixture(scope="module", params=list(sets.SETS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def root(name, tmp_path_factory) -> Path:
    """A small folder in the layout of the set."""
    out = tmp_path_factory.mktemp(name) / "set"
    sets.get(name).settings.generate(out, SYNTH)
    return out


@pytest.fixture(scope="module")
def prepared(name, root) -> Prepared:
    settings = dataclasses.replace(
        sets.get(name).settings,
        root=str(root),
        cache=str(root.parent / "cache"),
        clip_frames=3,
        image_size=32,
        clips_per_batch=2,
        stills_per_batch=2,
        prefetch=1,
    )
    return settings.prepare(root.parent)


def follows_the_vocabulary(batch: Batch, size: int, time: int) -> None:
    """Every key is known, has B and, if it belongs to frames, T in front, and its type."""
    assert "mask" in batch
    for key, value in batch.items():
        assert key in KEYS and key in Batch.__annotations__, key
        several = RATIO if "frames" in batch and key in ("points", "score") else 1  # moments of a frame
        assert value.shape[: 1 + KEYS[key].per_frame] == (size, time * several)[: 1 + KEYS[key].per_frame], key
        assert value.dtype == TYPES.get(key, np.float32), key
        assert np.isfinite(value).all(), key


def test_the_whole_folder_is_right(name, root, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert cli.main(["data", "check", name, "--root", str(root), "--sheet", str(sheet), "--pictures", "3"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out and sheet.is_file()


@pytest.mark.slow
def test_processes_pack_the_same_bytes(name, root, prepared, tmp_path):
    assert cli.main(["data", "prepare", name, "--root", str(root), "--cache", str(tmp_path), "--workers", "2"]) == 0
    packed, ours = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / prepared.folder.name, prepared.folder)
    )
    assert packed == ours


def test_training_batches_follow_the_vocabulary_and_resume(prepared):
    stream = prepared.train_stream(0)
    batches = next(stream)
    state, after = json.loads(json.dumps(stream.get_state())), next(stream)
    stream.close()
    follows_the_vocabulary(batches["stills"], 2, 1)
    follows_the_vocabulary(batches["clips"], 2, 3)
    assert "action" not in batches["stills"]
    again = prepared.train_stream(0)
    for key, value in next(again)["stills"].items():
        np.testing.assert_array_equal(value, batches["stills"][key])
    again.set_state(state)
    for kind, batch in next(again).items():
        assert batch.keys() == after[kind].keys()
        for key, value in batch.items():
            np.testing.assert_array_equal(value, after[kind][key])
    again.close()


def test_evaluation_batches_follow_the_vocabulary(prepared):
    entries = prepared.entries()
    for name, view in prepared.views().items():
        batches = list(prepared.eval_stream(view=name, batch=4))
        assert len(batches) == prepared.eval_length(name, batch=4)
        for batch in batches:
            follows_the_vocabulary(batch, 4, 3)
        real = np.concatenate([batch["sequence"][batch["mask"]] for batch in batches])
        assert sorted(set(real.tolist())) == list(range(len(entries))) and (np.diff(real) >= 0).all()
        assert view.name == name and (view.kind != "each" or len(real) == len(entries))


def test_examples_say_what_their_records_say(prepared):
    findings, cases = examples.check_examples(prepared, 6, trained=False)  # so few examples are of few classes
    assert cases and not [finding for finding in findings if not finding.passed]


def test_a_slip_is_named(prepared, tmp_path):
    with pytest.raises(Usage, match="did you mean 'clips_per_batch'[?]"):
        prepared.changed(clip_per_batch=1)
    with pytest.raises(Usage, match="has no view 'singel' for evaluation; there are single"):
        prepared.eval_stream(view="singel")
    with pytest.raises(Usage, match="has no split 'tset'"):
        prepared.entries("tset")
    assert list(prepared.parts.values()) == [prepared]
