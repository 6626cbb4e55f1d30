"""Bodies of damaged or unusual files; parity_tests/skeleton_golden_test.py compares the rules themselves."""

import numpy as np
import pytest

from jaxhar.data.ntu import bodies
from jaxhar.data.ntu.skeleton_file_test import JOINT, skeleton_file
from jaxhar.host.errors import Problem


def test_several_bodies_in_a_frame(tmp_path):
    path = skeleton_file(tmp_path / "a.skeleton", [{1: 0, 2: 1}, {}, {2: 1, 1: 0}])
    found = bodies.file_order(path)
    assert found.shape == (3, 3, 25, 3) and not found[1].any() and not found[:, 2].any()
    np.testing.assert_allclose(found[:, 0, 0, 0], [0.2181153, 0, 1.2181153], rtol=1e-6)  # windows line ends, too
    many = skeleton_file(tmp_path / "b.skeleton", [{1: 0}, {i: i for i in range(1, 7)}])
    with pytest.raises(Problem, match="frame 2 of .* has more than 3 bodies"):
        bodies.file_order(many)
    with pytest.raises(Problem, match="6 bodies, none of which looks like a person"):
        bodies.clean(many)
    assert bodies.clean(many, bodies.Cleaning.MMACTION2).shape == (2, 2, 25, 3)
    assert bodies.clean(skeleton_file(tmp_path / "c.skeleton", [{}, {}])) is None


def test_damaged_files(tmp_path):
    path = skeleton_file(tmp_path / "a.skeleton", [{1: 0}, {1: 0}])
    whole = path.read_text()
    cut, counts, nan = tmp_path / "cut.skeleton", tmp_path / "counts.skeleton", tmp_path / "nan.skeleton"
    cut.write_text(whole[: len(whole) // 2])
    counts.write_text("3" + whole[1:])
    nan.write_text(whole.replace(JOINT, JOINT.replace("0.2181153", "nan", 1), 1))
    for damaged, message in ((cut, "line"), (counts, "ends after line"), (nan, "frame 1 of .* NaN")):
        with pytest.raises(Problem, match=message):
            bodies.clean(damaged)
