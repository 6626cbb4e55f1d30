"""Cross-validation of actions: folds by person or source video, and the results of all folds together."""

import csv
import dataclasses
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxhar.evaluation import sections
from jaxhar.evaluation.action import ActionFigure, Prediction
from jaxhar.evaluation.metrics import State, confusion
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage

_LISTED = 20  # largest number of mistakes to print


def split(
    labels: np.ndarray, groups: np.ndarray, folds: int, classes: tuple[str, ...], seed: int = 0
) -> tuple[list[tuple[int, ...]], str]:
    """The test clips of each fold.

    No group is in two folds, the classes are spread as evenly as the groups allow (scikit-learn's
    StratifiedGroupKFold), and the training part of every fold has clips of every class.

    Args:
      labels: (N,) classes. groups: (N,) persons or source videos.
      folds: K; fewer if there are fewer groups.

    Returns:
      The indices of each fold's test clips, and a sentence if there are fewer folds than asked for, else "".

    Raises:
      Problem: a class has a single group, or no division keeps every class in training.
      Usage: fewer than two folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if folds < 2:
        raise Usage(f"--folds {folds}: there must be at least 2")
    if len(labels) < 2 * len(classes):
        raise Problem(f"{len(labels)} clips of {len(classes)} classes are too few for training and testing; add some")
    for label, name in enumerate(classes):
        if len(set(groups[labels == label].tolist())) < 2:
            raise Problem(
                f"all clips of the class {name} are of one person or source video, so accuracy on other people cannot "
                "be measured; add some, or name the person of each file in a CSV file"
            )
    count = len(set(groups.tolist()))
    for number in range(min(folds, count), 1, -1):
        splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a class with fewer clips than folds
            try:
                parts = [test for _, test in splitter.split(labels, labels, groups)]
            except ValueError:  # fewer clips than folds in every class
                continue
        training = [np.delete(labels, test) for test in parts]
        if all(len(test) for test in parts) and all(len(set(t.tolist())) == len(classes) for t in training):
            fewer = (
                f"{number} folds instead of {folds}: the {len(labels)} clips are of {count} persons or source videos, "
                "and every training part needs clips of every class"
            )
            return [tuple(test.tolist()) for test in parts], "" if number == folds else fewer
    raise Problem(
        "the clips cannot be divided by person or source video so that every training part has clips of every class; "
        "add clips of other people"
    )


def result(view: str, heads: tuple[str, ...], predictions: Sequence[Prediction], classes: int) -> ActionFigure:
    """The accuracy of some predictions; it counts only the last head."""
    true, predicted = (np.array([getattr(p, name) for p in predictions], int) for name in ("true", "predicted"))
    state = State(np.array([(true == predicted).sum()]), np.array([len(true)]))
    return ActionFigure(view, heads, state, confusion(true, predicted, classes), tuple(predictions))


def save(path: Path, figures: Sequence[ActionFigure]) -> None:
    """Write the figures of one fold as JSON."""
    files.write(path, json.dumps([figure.json() for figure in figures], indent=1).encode())


def load(path: Path) -> tuple[ActionFigure, ...]:
    """Read a file that `save` wrote; Problem if it is something else."""
    try:
        return tuple(ActionFigure.from_json(tree) for tree in json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem(
            f"{path} does not hold the results of a fold ({error}); delete it to train that fold again"
        ) from error


def pooled(found: Sequence[Sequence[ActionFigure]], names: Sequence[str]) -> tuple[ActionFigure, ...]:
    """One figure for each method over all folds, with the predictions in the order of `names`."""
    place = {name: n for n, name in enumerate(names)}
    actions = []
    for same in zip(*found, strict=True):
        predictions = sorted((p for one in same for p in one.predictions), key=lambda p: place[p.sequence])
        merged = result(same[0].view, same[0].heads, predictions, len(same[0].confusion))
        state = State(np.sum([r.state.total for r in same], 0), np.sum([r.state.count for r in same], 0))
        actions.append(dataclasses.replace(merged, state=state))
    return tuple(actions)


#: View -> what is tested in it, in the order of columns.
TITLES = {
    "majority": "the most frequent class of the training",
    "baseline": "logistic regression on the joints",
    "transformer": "small transformer on the joints",
    "skeleton": "small PoseConv3D on the joints",
    "network": "network",
    "multi": "network, all clips of a sequence",
}
#: View -> a sentence for the report.
ABOUT = {
    "majority": "“majority” names the most frequent class of the training.",
    "baseline": "“baseline” is a logistic regression on the normalised joints.",
    "transformer": "“transformer” is a small transformer on the same joints, trained from scratch.",
    "skeleton": "“skeleton” is a small PoseConv3D on the same joints, trained from scratch.",
    "network": "“network” is tested with one clip from the middle of each video, of people or videos that it was not "
    "trained on; the methods beside it see only the joints that the same pose network predicts.",
    "multi": "“multi” multiplies the probabilities of all clips of a video and of their mirror images.",
}


def predictions(
    names: Sequence[str], labels: np.ndarray, numbers: Sequence[int], probabilities: np.ndarray
) -> list[Prediction]:
    """Predictions from probabilities (N, A) of the classes of some clips."""
    return [
        Prediction(names[n], int(labels[n]), int(p.argmax()), float(p.max()))
        for n, p in zip(numbers, probabilities, strict=True)
    ]


def write_predictions(
    path: Path,
    figures: Sequence[ActionFigure],
    classes: tuple[str, ...],
    parts: Sequence[Sequence[int]],
    persons: Sequence[str],
) -> None:
    """Write a CSV file with a line for every clip: person, true class, fold, predicted class and probability.

    Args:
      figures: of all methods, with their predictions in the order of the clips.
      persons: (N,) the person or source video of each clip.

    The columns predicted, probability and right are of the network, or else of the last method.
    """
    fold = {n: k for k, test in enumerate(parts, 1) for n in test}
    by_view = {one.view: one.predictions for one in figures}
    main = "network" if "network" in by_view else figures[-1].view
    others = [view for view in TITLES if view in by_view and view != main]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "person", "class", "fold", "predicted", "probability", "right", *others))
    for n, p in enumerate(by_view[main]):
        said = [classes[by_view[view][n].predicted] for view in others]
        right, probability = int(p.true == p.predicted), f"{p.probability:.3f}"
        row = (p.sequence, persons[n], classes[p.true], fold[n], classes[p.predicted], probability, right)
        table.writerow([*row, *said])
    files.write(path, text.getvalue().encode())


def by_person(figures: Sequence[ActionFigure], persons: Sequence[str]) -> sections.Table | None:
    """The accuracy of every method on the clips of each person; None where nobody has two clips."""
    order = sorted(set(persons))
    if len(order) == len(persons):
        return None
    of = np.array([order.index(person) for person in persons])
    count = np.bincount(of)
    hits = [np.bincount(of, [p.true == p.predicted for p in one.predictions]) for one in figures]
    rows = tuple(
        (person, f"{count[i]:,}", *(sections.number(one[i] / count[i]) for one in hits))
        for i, person in enumerate(order)
    )
    shares = {column: tuple((one / count).tolist()) for column, one in enumerate(hits, 2)}
    title = "Accuracy by person or source video, %"
    return sections.Table(title, ("person", "clips", *(one.view for one in figures)), rows, soft=(1,), bars=shares)


def print_figures(
    figures: Sequence[ActionFigure], classes: tuple[str, ...], root: Path, persons: Sequence[str]
) -> None:
    """Print the figures of all methods; of the last one, those of each person and the paths of the wrong clips."""
    for one in reversed(figures):
        rate, (low, high) = one.state.compute()[-1], one.interval
        print(
            f"{TITLES[one.view]}: accuracy {rate:.1%} (95 % confidence interval {low:.1%} to {high:.1%}), "
            f"balanced accuracy (mean of the classes' accuracies) {one.balanced:.1%}, F1 {one.f1:.1%}"
        )
    last = figures[-1]
    table = by_person([last], persons)
    if table is not None:
        rows = sorted(table.rows, key=lambda row: float(row[2]))
        shown = [f"{person} {share} % of {clips}" for person, clips, share in rows[:_LISTED]]
        left = f", and {len(rows) - _LISTED} more in the report" if len(rows) > _LISTED else ""
        print(f"by person or source video: {', '.join(shown)}{left}")
    home = root.parent if root.is_file() else root  # paths in a CSV file count from its folder
    wrong = [p for p in last.predictions if p.true != p.predicted]
    if wrong:
        print(f"mistakes of the {TITLES[last.view]} ({len(wrong)}; predictions.csv lists all clips):")
    for p in wrong[:_LISTED]:
        print(f"  {home / p.sequence}: true {classes[p.true]}, predicted {classes[p.predicted]}")
