"""A sweep: an experiment with every combination of several values of some settings, one run after another.

Every run has a folder of its own, so that a sweep that was cut off goes on where it stopped, and several processes can
share it. A table and a chart compare the runs that have something to show.
"""

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jaxhar import run
from jaxhar.evaluation.results import Results
from jaxhar.evaluation.sections import Table
from jaxhar.host import cluster, files, process
from jaxhar.host.errors import Problem, Usage, guard
from jaxhar.host.settings import check_same, flatten
from jaxhar.training import history, stages
from jaxhar.training.experiment import Experiment, changed
from jaxhar.viz import plots

#: In the folder of a run, when it is finished: its settings and its number of steps.
DONE = "finished.json"
#: In the folder of the sweep.
TABLE, CHART = "sweep.csv", "sweep.png"
#: Figures that the printed table and the chart show; the file has all.
SHOWN = 6
#: Characters of the name of a run's folder.
_LONGEST = 120
_NOT_FIGURES = ("step", "learning_rate", "gradient_norm")


@dataclass(frozen=True)
class Run:
    """One combination.

    Attributes:
      values: setting -> its value as text. name: of its folder.
    """

    name: str
    values: Mapping[str, str]
    experiment: Experiment


@dataclass(frozen=True)
class Row:
    """What is known of a run.

    Attributes:
      figures: by name; first the scores of its evaluations, then the last metrics of its training.
      units: name of a figure -> its unit, where it has one.
    """

    run: Run
    step: int
    finished: bool
    figures: Mapping[str, float]
    units: Mapping[str, str]

    @property
    def state(self) -> str:
        """How far it is, in words."""
        return "finished" if self.finished else f"step {self.step} of {self.run.experiment.steps}"


def values(text: str) -> list[str]:
    """The values in "A,B,C"; commas in brackets or quotes do not separate."""
    found, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        depth += (letter in "([{") - (letter in ")]}") if not quote else 0
        if letter == "," and not depth and not quote:
            found.append("")
        else:
            found[-1] += letter
    return [one.strip() for one in found]


def runs(experiment: Experiment, grid: Mapping[str, Sequence[str]]) -> list[Run]:
    """Every combination, the values of the last setting changing fastest.

    Args:
      grid: setting, as in --config.SETTING -> its values as text. Those with one value are the same in all runs.

    Raises:
      Usage: a setting or a value that the experiment does not accept, a value twice, or only one combination.
    """
    varied = [key for key, texts in grid.items() if len(texts) > 1]
    if not varied:
        example = next(iter(grid), "optimizer.learning_rate")
        raise Usage(f"there is only one run: give a setting several values, e.g. --config.{example}=A,B")
    short = _short(varied)
    found: list[Run] = []
    for texts in itertools.product(*grid.values()):
        changes = dict(zip(grid, texts, strict=True))
        one = changed(experiment, changes)
        settings = flatten(one)
        # The parsed value, so that 1e-3 and 0.001 are the same.
        chosen = {key: settings.get(key, text) for key, text in changes.items() if key in varied}
        if any(chosen == other.values for other in found):
            same = ", ".join(f"{key}={value}" for key, value in chosen.items())
            raise Usage(f"two runs would have the same settings, {same}; give every value once")
        name = ",".join(f"{short[key]}={value.strip(chr(39))}" for key, value in chosen.items())
        found.append(Run(_folder(name, {other.name for other in found}), chosen, one))
    return found


def is_finished(one: Run, out: Path) -> bool:
    """Whether a run is done, with its number of steps and its evaluations.

    Raises:
      Problem: it was done with other settings, or for more steps; its note is damaged.
    """
    path = out / one.name / DONE
    if not path.is_file():
        return False
    done, now = files.read_json(path, "note of a finished run"), _note(one)
    try:
        settings, steps = dict(done["settings"]), int(done["steps"])
        evaluated = done.get("evaluation", now["evaluation"])  # it is absent in notes of an older version
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Problem(f"the note of a finished run {path} is damaged; delete it to do that run again") from error
    # An older note does not tell init_from and places.
    untold = {"init_from": str(one.experiment.init_from), **one.values}
    known = {**stages.defaults(one.experiment), **untold}
    check_same(settings, now["settings"], str(path.parent), "--out", known)
    stages.check_steps(steps, one.experiment, path.parent, "--out")
    return steps == now["steps"] and evaluated == now["evaluation"]


def _note(one: Run) -> dict[str, Any]:
    """What decides whether a finished run is done again or goes on."""
    experiment = one.experiment
    best, calibrate = experiment.train.best, str(experiment.train.calibrate)
    evaluation = {**flatten(dict(experiment.evals)), "best": best, "calibrate": calibrate}
    # With the values, because a place, as of data, is no setting of a run, and two may share the name of a folder.
    settings = {**stages.settings(experiment), "init_from": str(experiment.init_from), **one.values}
    return {"settings": settings, "steps": experiment.steps, "evaluation": evaluation}


def work(found: Sequence[Run], out: Path, part: tuple[int, int] = (1, 1), debug: bool = False) -> list[str]:
    """Does the runs of a part that are not finished, and writes the table after each.

    A run that fails is told, and the next one begins; it is tried again by the same command.

    Args:
      part: (K, N), runs number K, K + N, ..., counted from 1.

    Returns:
      the names of the runs that failed.
    """
    failed = []
    for number, one in list(enumerate(found, 1))[part[0] - 1 :: part[1]]:
        if cluster.gather(is_finished(one, out))[0]:
            continue
        print(f"run {number} of {len(found)}: {one.name}", flush=True)
        if cluster.count() > 1:  # an error must end all processes
            _run(one, out)
        elif code := guard(lambda one=one: _run(one, out), debug):  # type: ignore[misc]
            if code == 130:
                raise KeyboardInterrupt
            failed.append(one.name)
        if cluster.first():
            write(found, out, chart=False)
    return failed


def _run(one: Run, out: Path) -> None:
    folder = out / one.name
    files.make_folder(folder)
    run.run(one.experiment, folder, "train", out)  # the data is shared
    if cluster.first():
        files.write(folder / DONE, json.dumps(_note(one), indent=1).encode())


def rows(found: Sequence[Run], out: Path) -> list[Row]:
    """What is known of every run."""
    return [_row(one, out) for one in found]


def _row(one: Run, out: Path) -> Row:
    folder, finished = out / one.name, is_finished(one, out)
    figures: dict[str, float] = {}
    units: dict[str, str] = {}
    for number, name in enumerate(one.experiment.evals):
        path = (folder / name if number else folder) / "results.json"
        if finished and path.is_file():
            results, prefix = Results.load(path), f"{name}/" if number else ""
            figures |= {prefix + key: value for key, value in results.scalars().items()}
            units |= {prefix + key: unit for key, unit in results.units().items()}
    metrics = history.read(folder / history.FILE)
    last = {key: value for row in metrics for key, value in row.items() if key not in _NOT_FIGURES}
    return Row(one, int(metrics[-1]["step"]) if metrics else 0, finished, figures | last, units)


def table(found: Sequence[Row]) -> Table:
    """The runs with a few figures; the best one by `train.best` has a star."""
    names, wanted = _shown(found), found[0].run.experiment.train.best
    short = _short(list(found[0].run.values))
    cells = [
        (*row.run.values.values(), row.state, *(_text(row.figures.get(name), row.units.get(name)) for name in names))
        for row in found
    ]
    best: tuple[tuple[int, int], ...] = ()
    name = wanted.removeprefix("-")
    scored = {n: row.figures.get(name, math.nan) for n, row in enumerate(found) if row.finished}
    scored = {n: figure for n, figure in scored.items() if not math.isnan(figure)}
    if scored:
        at = (min if wanted.startswith("-") else max)(scored, key=scored.__getitem__)
        best = ((at, len(short) + 1 + names.index(name)),)
    columns = (*(short[key] for key in found[0].run.values), "state", *names)
    return Table(f"sweep of {found[0].run.experiment.name}", columns, tuple(cells), best=best)


def write(all_runs: Sequence[Run], out: Path, chart: bool = True) -> list[Row]:
    """Writes the table of all figures as CSV, and the chart if a finished run has one; returns all that is known."""
    with process.locked(out / ".table.lock"):
        found = rows(all_runs, out)
        names = list(dict.fromkeys(name for row in found for name in row.figures))
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(("run", *found[0].run.values, "state", *names))
        for row in found:
            figures = (row.figures.get(name, "") for name in names)
            writer.writerow((row.run.name, *row.run.values.values(), row.state, *figures))
        files.write(out / TABLE, text.getvalue().encode())
        if chart and any(row.finished and row.figures for row in found):
            files.write(out / CHART, _chart(found))
    return found


def _chart(found: Sequence[Row]) -> bytes:
    """Every shown figure of the finished runs against the setting with the most values.

    There is a line for each combination of the others.
    """
    varied = {key: list(dict.fromkeys(row.run.values[key] for row in found)) for key in found[0].run.values}
    axis = max(varied, key=lambda key: len(varied[key]))
    short = _short(list(varied))
    lines: dict[str, dict[str, Mapping[str, float]]] = {}
    for row in found:
        others = ", ".join(f"{short[key]}={value}" for key, value in row.run.values.items() if key != axis)
        lines.setdefault(others, {})[row.run.values[axis]] = row.figures if row.finished else {}
    panels = {
        name: {label: [by[value].get(name, math.nan) for value in varied[axis]] for label, by in lines.items()}
        for name in _shown([row for row in found if row.finished])
    }
    return plots.rendered(plots.settings_figure(short[axis], varied[axis], panels), "png")


def _shown(found: Sequence[Row]) -> list[str]:
    """The names of the figures of table and chart: that of `train.best`, scores, the loss."""
    best = found[0].run.experiment.train.best.removeprefix("-")
    known = dict.fromkeys(name for row in found for name in row.figures)
    scores = [name for name in known if any(name in row.units for row in found)]
    wanted = [best, *scores[: SHOWN - 2], "loss"]
    return [name for name in dict.fromkeys(wanted) if name in known]


def _text(value: float | None, unit: str | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return f"{value:.1%}" if unit == "%" else f"{value:.4g}"


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Setting -> the end of its name that tells it from the others."""
    found = {}
    for key in keys:
        words = key.split(".")
        ends = [".".join(words[n:]) for n in range(len(words))]
        found[key] = next(end for end in reversed(ends) if sum(f".{k}".endswith(f".{end}") for k in keys) == 1)
    return found


def _folder(name: str, taken: Collection[str]) -> str:
    """A name for a folder that is not taken."""
    plain = re.sub(r"[^\w.+=,-]+", "_", name)
    if len(plain) > _LONGEST or plain in taken:
        plain = f"{plain[:_LONGEST]}-{sha256(name.encode()).hexdigest()[:8]}"
    return plain
