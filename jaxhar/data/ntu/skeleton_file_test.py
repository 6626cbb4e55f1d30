from pathlib import Path

import numpy as np
import pytest

from jaxhar.data.ntu import skeleton_file as ntu_skeleton
from jaxhar.data.ntu.skeleton_file import Labels
from jaxhar.host.errors import Problem

#: The first body of the real S001C001P001R001A001, its first joint repeated.
BODY = "72057594037931101 0 1 1 1 1 0 0.02764709 0.05745083 2"
JOINT = "0.2181153 0.1725972 3.785547 277.419 191.8218 1036.233 519.1677 -0.2059419 0.05349901 0.9692109 -0.1239193 2"


def skeleton_file(path: Path, frames: list[dict[int, float]]) -> Path:
    """Frames of {body id: shift of x in metres}."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for identity, shift in bodies.items():
            lines += [BODY.replace("72057594037931101", str(identity)), "25"]
            lines += [JOINT.replace("0.2181153", f"{0.2181153 + shift:.7f}", 1)] * 25
    path.write_text("\r\n".join(lines) + "\r\n")
    return path


def test_numbers_of_a_real_file(tmp_path):
    path = skeleton_file(tmp_path / "a.skeleton", [{}, {72057594037931101: 0}])
    labels = ntu_skeleton.read_skeleton(path)
    assert labels.frames.tolist() == [0, 1] and labels.labelled.all(1).tolist() == [False, True]
    np.testing.assert_allclose(labels.points[1, 0], [1036.233, 519.1677, 3785.547], rtol=1e-6)
    assert ntu_skeleton.read_skeleton(skeleton_file(tmp_path / "b.skeleton", [{}, {}])) is None


def test_whom_a_file_is_about(tmp_path):
    big = 1 << 60  # two ids that are one as floats
    swaying = [{big: 0.0, big + 1: 0.1 * (t % 3)} for t in range(6)]
    assert chosen(tmp_path, swaying) == [(6, 1)]  # who moves
    brief = [{**bodies, 5: 9.0 * t} if t < 2 else bodies for t, bodies in enumerate(swaying)]
    assert chosen(tmp_path, brief) == [(6, 1)]  # who is there for long enough
    lost = [{1: 0.1 * t, 2: 0.0} if t < 4 else {3: 0.0, 2: 0.0} for t in range(6)]
    assert chosen(tmp_path, lost) == [(4, 0), (2, 2)]  # lost, and found again under another id
    crowd = [{i: i * 0.1 * t for i in range(4)} for t in range(3)]
    assert chosen(tmp_path, crowd) == [(3, 3)]


def chosen(folder: Path, frames: list[dict[int, float]]) -> list[tuple[int, int]]:
    """(number of frames, position in the file) of the bodies chosen."""
    _, bodies = ntu_skeleton.read_bodies(skeleton_file(folder / "a.skeleton", frames))
    places = {id(body): i for i, body in enumerate(bodies)}
    return [(len(body.frames), places[id(body)]) for body in ntu_skeleton.choose(bodies)]


def edited(index: int, text: str):
    return lambda lines: [*lines[:index], text, *lines[index + 1 :]]


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda lines: lines[:40], "ends after line 40, within frame 2 of 2"),
        (lambda lines: [], "ends after line 0, before its first frame"),
        (lambda lines: [*lines[:10], lines[10][:30]], "line 11, has 4 values; expected the 12 of a joint"),
        (edited(2, "1 2 3"), "line 3, has 3 values; expected the 10 of a body"),
        (edited(2, BODY.replace("72057594037931101", "12.5")), "line 3, has '12.5'; expected the id of a body"),
        (edited(3, "24"), "line 4, does not have 25 joints"),
        (edited(4, JOINT.replace("3.785547", "far")), "line 5, has a value that is not a number"),
        (edited(1, "7"), "line 2, has '7'; expected a number of bodies"),
        (edited(0, "1"), "line 30, follows the last of its 1 frames"),
        (edited(0, "9" * 5000), f"line 1, has '{'9' * 40}'; expected a number of frames"),
        (edited(2, BODY.replace("72057594037931101", "9" * 5000)), "line 3, has '9+'; expected the id of a body"),
        (edited(0, "many"), "line 1, has 'many'; expected a number of frames"),
        (lambda lines: ["1", "2", *lines[2:29], *lines[2:29]], "line 56, is the end of a second body with the id 7"),
    ],
)
def test_a_damaged_skeleton_is_named_with_its_line(tmp_path, edit, sentence):
    path = skeleton_file(tmp_path / "bad.skeleton", [{7: 0.0}, {7: 0.1}])
    path.write_text("\n".join(edit(path.read_text().splitlines())))
    with pytest.raises(Problem, match=sentence) as caught:
        ntu_skeleton.read_bodies(path)
    assert "bad.skeleton" in str(caught.value) and "\n" not in str(caught.value)


def test_joints_at_nan_or_far_away_are_not_labelled():
    points = np.full((2, 25, 3), 500.0, np.float32)
    points[0, :4, 0] = [np.nan, np.inf, -5, 1e9]
    points[0, 4, 2] = 0
    labelled = Labels(np.arange(2), points).labelled
    assert labelled[0].tolist() == [False] * 5 + [True] * 20 and labelled[1].all()
