import json

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import networks, results
from benchmarks.__main__ import select
from benchmarks.common import Measured, take_turns
from jaxhar import zoo


def read(path):
    return json.loads(path.read_text())


def test_rows_are_merged_by_machine(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    results.add("a", Measured("ms", {"ours": [1.0]}), "first", path)
    results.add("b", Measured("s", {"ours": [2.0]}), "second", path)
    results.add("a", Measured("ms", {"ours": [3.0]}), "third", path)
    (record,) = read(path)
    assert {name: row["values"]["ours"] for name, row in record["rows"].items()} == {"a": [3.0], "b": [2.0]}
    assert record["rows"]["a"]["command"] == "third" and record["machine"] == results.machine()
    monkeypatch.setattr(results, "machine", lambda: {"processor": "another"})
    results.add("a", Measured("ms", {"ours": [4.0]}), "fourth", path)
    assert [r["rows"]["a"]["values"]["ours"] for r in read(path)] == [[3.0], [4.0]]


def test_ratios_are_taken_round_by_round():
    lines = results.summary(Measured("ms", {"ours": [1.0, 2.0, 4.0], "theirs": [2.0, 4.0, 4.0], "once": [7.0]}))
    assert [line[0] for line in lines] == ["ours", "theirs", "once"]
    assert [line[3] for line in lines] == ["1.00", "2.00", ""] and lines[1][1] == "4 ms"


def test_contenders_take_turns_in_alternating_order():
    calls = []
    measured = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0)
    assert "".join(calls) == "ab" + "bbaa" + "aabb" + "bbaa", "the second of two calls in a turn is timed"
    assert {name: len(values) for name, values in measured.values.items()} == {"a": 3, "b": 3}


@pytest.mark.parametrize("words, found", [([], ["x, y", "x, z"]), (["x", "z"], ["x, z"]), (["q"], [])])
def test_words_select_rows(words, found):
    assert list(select({"x, y": None, "x, z": None}, words)) == found


def test_the_contenders_accept_the_frames_of_a_row(monkeypatch):
    """The same normalised frames for ours and for PyTorch, on a tiny network."""
    config = zoo.tiny("reception-mpii")
    monkeypatch.setattr(zoo, "config", lambda name: config)
    builders = networks.inference_runs("reception-mpii", jnp.float32, None)
    ours, theirs = builders["ours"]()(), builders["torch eager"]()()
    np.testing.assert_allclose(ours["pose"], theirs["pose"], atol=1e-5)
