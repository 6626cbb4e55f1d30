"""The command `jaxhar sweep` on a small network and data made in memory."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from jaxhar import sweep
from jaxhar.cli import main as cli
from jaxhar.host.errors import Problem
from jaxhar.run_test import CONFIG
from jaxhar.training.experiment import Train, changed, load
from jaxhar.viz import plots, tables

MODEL = "ReceptionConfig(image_size=32, num_blocks=1, width=16, stem_width=4, num_context=0)"
#: With evaluations, and without.
LARGE = CONFIG.replace(MODEL, "TinyConfig(num_joints=16, num_actions=2, dropout=0.0)").replace(
    "\n\n\n@", "\nfrom jaxhar.training.loop_test import TinyConfig\n\n\n@", 1
)
SMALL = re.sub(r"evals=.*", "evals={},", LARGE).replace('best="pck@0.2"', "loggers=()")
RATE = "--config.optimizer.learning_rate="


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `jaxhar sweep noise.py` in an empty folder with this config; returns the exit code."""
    monkeypatch.chdir(tmp_path)
    Path("noise.py").write_text(SMALL)
    return lambda *words: cli.main(["sweep", "noise.py", "--out", "out", *words])


def table():
    return {row["run"]: row for row in csv.DictReader(Path("out/sweep.csv").read_text().splitlines())}


def test_runs_are_done_once_and_compared(command, capfd):
    words = (f"{RATE}1e-3,3e-4", "--config.train.steps=2")
    assert command(*words, "--dry-run") == 0
    listed = capfd.readouterr().out.splitlines()
    assert listed == ["1  out/learning_rate=0.001  not begun", "2  out/learning_rate=0.0003  not begun"]
    assert command(*words, "--dry-run", "--shard", "1/3") == 0
    assert capfd.readouterr().out.splitlines() == listed[:1]
    assert command(*words, "--dry-run", "--shard", "3/3") == 0
    assert capfd.readouterr().out == "--shard 3/3: there are only 2 runs, none is left for this part\n"
    assert not Path("out").exists()
    assert command(*words, "--shard", "3/3") == 0
    assert "table: out/sweep.csv" in (printed := capfd.readouterr().out) and "chart:" not in printed

    assert command(*words, "--shard", "2/2") == 0
    printed = capfd.readouterr().out
    assert "run 2 of 2" in printed and "chart: out/sweep.png" in printed and re.search(r"0\.0003 +│ +finished", printed)
    assert Path("out/sweep.png").read_bytes().startswith(b"\x89PNG")
    first, second = table().values()
    assert (first["state"], second["state"]) == ("step 0 of 2", "finished") and not first["loss"]
    last = json.loads(Path("out/learning_rate=0.0003/metrics.jsonl").read_text().splitlines()[-1])
    assert float(second["loss"]) == last["loss"] and second["optimizer.learning_rate"] == "0.0003"

    # Finished ones are skipped, one that fails is told and does not end the sweep, other settings are told at once.
    assert command(*words, "--config.data.root=absent") == 1
    said = capfd.readouterr()
    assert (
        said.err == "error: absent is not a data set\n" and "run 2" not in said.out and "1 of 2 runs failed" in said.out
    )
    assert command(*words, "--config.losses.visible=0.5") == 1
    said = capfd.readouterr()
    assert "run 1" not in said.out and "losses.visible was 0.01, now 0.5" in said.err


@pytest.mark.slow
def test_what_was_cut_off_goes_on(command, capfd):
    words = (f"{RATE}1e-3,3e-4", "--config.train.steps=2")
    assert command(*words, "--shard", "2/2") == 0
    capfd.readouterr()
    second = Path("out/learning_rate=0.0003/metrics.jsonl")
    before = second.stat().st_mtime_ns
    assert command(*words) == 0
    printed = capfd.readouterr().out
    assert "run 1 of 2" in printed and "run 2 of 2" not in printed and second.stat().st_mtime_ns == before
    rows = table()
    for name, row in rows.items():
        assert row["state"] == "finished" and row["optimizer.learning_rate"] == name.split("=")[1]
    # More steps: every run goes on from its checkpoint.
    assert command(words[0], "--config.train.steps=3") == 0
    assert [row["state"] for row in table().values()] == ["finished"] * 2
    for name, before in rows.items():
        steps = [json.loads(line) for line in Path("out", name, "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in steps] == [1, 2, 3] and steps[1]["loss"] == float(before["loss"])


@pytest.mark.slow
def test_scores_of_a_grid(command, capfd):
    Path("noise.py").write_text(LARGE)
    assert command(f"{RATE}1e-3,3e-4", "--config.losses.visible=0.1,0.01", "--config.train.steps=1") == 0
    printed = capfd.readouterr().out
    assert printed.startswith("hello\n") and printed.count("%") >= 4 and "* " in printed
    rows = table()
    assert len(rows) == 4
    for name, row in rows.items():
        results = json.loads(Path("out", name, "results.json").read_text())
        assert float(row["pck@0.2"]) == results["scalars"]["pck@0.2"] == float(row["again/pck@0.2"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "there is only one run: give a setting several values, e.g. --config.optimizer.learning_rate=A,B"),
        (("--config.train.seed=1",), "there is only one run"),
        (("--config.train.seed", "--dry-run"), "--config.train.seed has no value; write --config.train.seed=VALUE"),
        (("--config.train.seeed=1,2",), "did you mean 'seed'?"),
        (("--config.train.seed=1,two",), "--config.train.seed=two: expected int"),
        (("--config.train.seed=1,,2",), "--config.train.seed=: expected int"),
        ((f"{RATE}0.001,1e-3",), "two runs would have the same settings, optimizer.learning_rate=0.001"),
        (("--config.train.seed=1,2", "--config.train.seed=3"), "--config.train.seed is given twice"),
        (("--config.train.seed=1,2", "--shard", "3"), "--shard '3' is not K/N"),
    ],
)
def test_mistakes_are_one_sentence_before_the_first_run(command, capfd, words, sentence):
    assert command(*words) == 2
    err = capfd.readouterr().err
    assert sentence in err and err.count("\n") == 1 and not Path("out").exists()


def test_a_finished_run_is_one_of_the_same_settings_steps_and_evaluations(tmp_path):
    Path(tmp_path / "noise.py").write_text(LARGE)
    base = load(f"{tmp_path}/noise.py", {"train.steps": "4"})
    note = tmp_path / "a" / sweep.DONE

    def one(experiment=base, **values):
        return sweep.Run("a", values, experiment)

    def finished(now=None, **changes):
        now = now or one()
        note.parent.mkdir(exist_ok=True)
        note.write_text(json.dumps({**sweep._note(one(place="a/b")), **changes}))
        return sweep.is_finished(replace(now, values={"place": "a/b"} | now.values), tmp_path)

    assert finished()
    assert not finished(one(changed(base, {"train.steps": "5"})))
    assert not finished(one(replace(base, evals={**base.evals, "third": base.evals["again"]})))
    assert not finished(one(changed(base, {"train.calibrate": "true"})))
    for sentence, now in {
        "a holds a run of 4 steps, and now it is to have 3; give at least 4, or another --out": {"train.steps": "3"},
        "init_from was None, now b.* or another --out": {"init_from": "b"},
        "train.seed was 0, now 1": {"train.seed": "1"},
    }.items():
        with pytest.raises(Problem, match=sentence):
            finished(one(changed(base, now)))
    with pytest.raises(Problem, match="place was a/b, now a_b"):
        finished(one(place="a_b"))
    for wrong in ({"settings": None}, {"steps": None}):
        with pytest.raises(Problem, match="finished.json is damaged; delete it to do that run again"):
            finished(**wrong)
    older = sweep._note(one())
    del older["evaluation"], older["settings"]["init_from"]
    note.write_text(json.dumps(older))
    assert sweep.is_finished(one(replace(base, init_from="b"), place="a_b"), tmp_path)
    note.write_text("[1]")
    with pytest.raises(Problem, match="is damaged"):
        sweep.is_finished(one(), tmp_path)


def test_a_figure_that_is_no_number_is_not_the_best(tmp_path, capsys, monkeypatch):
    Path(tmp_path / "noise.py").write_text(LARGE)
    base = replace(load(f"{tmp_path}/noise.py"), train=Train(best="-mpjpe"))
    figures = (math.nan, 3.0, 2.0, 1.0)
    rows = [
        sweep.Row(sweep.Run("", {"a": str(n)}, base), 1, n < 3, {"mpjpe": figure}, {"mpjpe": "mm"})
        for n, figure in enumerate(figures)
    ]
    assert sweep.table(rows).best == ((2, 2),)  # the last one is not finished
    assert sweep.table(rows[:1]).best == ()
    drawn, draw = [], plots.settings_figure
    monkeypatch.setattr(plots, "settings_figure", lambda *given: drawn.append(given) or draw(*given))
    assert sweep._chart(rows).startswith(b"\x89PNG")
    (_, _, panels) = drawn[0]
    np.testing.assert_array_equal(panels["mpjpe"][""], [math.nan, 3, 2, math.nan])
    named = sweep.Row(rows[0].run, 1, True, {"accuracy/single/balanced": 0.5}, {"accuracy/single/balanced": "%"})
    tables.show(sweep.table([named]), Console(width=30))
    assert "…" not in capsys.readouterr().out  # nothing is cut off


def test_values_and_names():
    assert sweep.values("1, 2,(3,4),'a,b',{'c': (1, 2)}") == ["1", "2", "(3,4)", "'a,b'", "{'c': (1, 2)}"]
    assert sweep._short(["a.rate", "b.rate", "c"]) == {"a.rate": "a.rate", "b.rate": "b.rate", "c": "c"}
    assert sweep._folder("place=../a b", ()) == "place=.._a_b"
    assert sweep._folder("x" * 300, ()) != sweep._folder("x" * 301, ())
