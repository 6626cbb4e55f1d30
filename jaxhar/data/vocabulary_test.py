import numpy as np
import pytest

from jaxhar.core.batch import Batch
from jaxhar.data import vocabulary
from jaxhar.data.vocabulary import KEYS, join, stack_frames
from jaxhar.host.errors import Problem


@pytest.fixture(autouse=True)
def said_nothing_yet():
    vocabulary.warn_once.cache_clear()


def photos(size=4):
    """A batch of stills with every kind of key."""
    rng = np.random.default_rng(0)
    return {
        "frames": rng.integers(0, 255, (size, 1, 4, 6, 3), np.uint8),
        "pose": rng.uniform(size=(size, 1, 5, 2)),
        "valid": np.ones((size, 1, 5, 2), bool),
        "affine": rng.uniform(size=(size, 1, 3, 3)),
        "mask": np.ones(size, bool),
        "sequence": np.arange(size, dtype=np.int32),
        "flipped": np.ones(size, bool),
    }


def test_the_table_is_the_vocabulary():
    """A key that is added to the batch must say here how it is put together; `step` is the loop's."""
    assert set(Batch.__annotations__) - {"step"} <= set(KEYS)


def test_join_fills_what_some_do_not_know(capsys):
    one, two = photos(), photos(2)
    one |= {"action": np.array([3, 4, 5, 6], np.int32), "camera": np.zeros((4, 1, 22)), "of one's own": np.zeros(4)}
    for key in ("flipped", "valid"):
        del two[key]
    whole = join([two, one], ("photos", "clips"))
    assert whole["action"].tolist() == [-1, -1, 3, 4, 5, 6] and whole["action"].dtype == np.int32
    assert whole["flipped"].tolist() == [False] * 2 + [True] * 4 and not whole["valid"][:2].any()
    assert whole["valid"][2:].all() and whole["sequence"].tolist() == [0, 1, 0, 1, 2, 3]
    assert set(photos()) | {"action"} == set(whole)
    said = capsys.readouterr().err
    assert "'camera' is left out" in said and '"of one\'s own" is left out' in said and "photos has none" in said
    join([two, one], ("photos", "clips"))
    assert not capsys.readouterr().err  # once is enough
    assert "of one's own" in join([one, one]) and "action" not in join([two, two])


def test_join_refuses_shapes_that_do_not_fit():
    one = photos() | {"action": np.zeros(4, np.int32)}
    with pytest.raises(Problem, match=r"'action' of an example has the shape \(\) in a, \(7,\) in b"):
        join([one, photos() | {"action": np.zeros((4, 7))}], ("a", "b"))


def test_stacked_stills_keep_what_is_of_a_frame(capsys):
    batch = photos(6)
    clips = stack_frames(batch, 3)
    assert clips["frames"].shape == (2, 3, 4, 6, 3) and clips["affine"].shape == (2, 3, 3, 3)
    np.testing.assert_array_equal(clips["affine"][1, 2], batch["affine"][5, 0])
    assert clips["mask"].tolist() == [True, True] and set(clips) == {"frames", "pose", "valid", "affine", "mask"}
    assert "no 'flipped' and 'sequence', because each picture has its own" in capsys.readouterr().err
