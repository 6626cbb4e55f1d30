import dataclasses

import numpy as np
import pytest

from jaxhar.core.skeleton import PA17
from jaxhar.data import transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.mixed import Mixed
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.penn.settings import Penn
from jaxhar.host.errors import Problem, Usage

SHAPE = {"skeleton": PA17, "dims": 3, "image_size": 32, "clip_frames": 4}
PLAIN = {"augment": transforms.NONE, "augment_stills": transforms.NONE}
SYNTH = Synth(15, 5, 3, 2, frames=(4, 6), size=(96, 72), clutter=0.0)
SETS = {
    "h36m": H36M(synth=dataclasses.replace(SYNTH, train_sequences=2, test_sequences=2), **SHAPE, **PLAIN),
    "mpii": MPII(synth=SYNTH, **SHAPE, **PLAIN),
    "penn": Penn(synth=SYNTH, **SHAPE, **PLAIN),
}
DATA = Mixed(SETS, "penn", stills={"mpii": 3, "h36m": 2}, clips={"penn": 2, "mpii": 1})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return DATA.prepare(tmp_path_factory.mktemp("mixed"))


@pytest.fixture
def stream(prepared):
    stream = prepared.train_stream(3)
    yield stream
    stream.close()


def test_shares_and_masks(prepared, stream):
    for _ in range(3):
        batches = next(stream)
        stills, clips = batches["stills"], batches["clips"]
        assert stills["frames"].shape == (5, 1, 32, 32, 3) and clips["frames"].shape == (3, 4, 32, 32, 3)
        assert stills["pose"].shape == (5, 1, 17, 3) and "action" not in stills
        depth = stills["valid"][..., 2].any((1, 2))
        assert depth.tolist() == [True, True, False, False, False]  # in the order of the sets
        assert not stills["valid"][2:, :, PA17.index("spine")].any() and stills["valid"][2:].any()
        assert clips["action"][0] == -1 and (clips["action"][1:] >= 0).all()  # mpii comes before penn
        assert (stills["pose"][~stills["valid"]] == 0).all()


def test_each_set_gives_what_it_gives_alone(prepared, stream):
    alone = prepared.parts["mpii"].changed(stills_per_batch=3, clips_per_batch=1).train_stream(3 + 10)
    for _ in range(4):
        own, mixed = next(alone), next(stream)
        np.testing.assert_array_equal(mixed["stills"]["frames"][2:], own["stills"]["frames"])
        np.testing.assert_array_equal(mixed["clips"]["pose"][:1], own["clips"]["pose"])
    alone.close()


@pytest.mark.parametrize("count", [2, 3])
def test_processes_draw_rows_of_the_same_batches(prepared, count):
    """Also a process whose rows are all of one set."""
    sized = prepared.changed(stills={"mpii": 4, "h36m": 2}, clips={"penn": 5, "mpii": 1})
    whole, parts = sized.train_stream(3), [sized.train_stream(3, i, count) for i in range(count)]
    for _ in range(2):
        batches, own = next(whole), [next(part) for part in parts]
        for kind, batch in batches.items():
            for key, value in batch.items():
                np.testing.assert_array_equal(np.concatenate([each[kind][key] for each in own]), value)
    for stream in (whole, *parts):
        stream.close()
    with pytest.raises(Problem, match="a batch of 6 stills cannot be divided among 4 processes"):
        sized.train_stream(3, 0, 4)


def test_goes_on_where_it_was(prepared, stream):
    next(stream)
    state = stream.get_state()
    expected = [next(stream) for _ in range(2)]
    again = prepared.train_stream(3)
    again.set_state(state)
    for batches in expected:
        for kind, batch in next(again).items():
            for key, value in batch.items():
                np.testing.assert_array_equal(value, batches[kind][key])
    again.close()
    other = prepared.changed(stills={}, clips={"penn": 1}).train_stream(3)
    with pytest.raises(Problem, match="of h36m, mpii, penn, but the batches now come from penn"):
        other.set_state(state)
    other.close()


def test_evaluation_is_that_of_one_set(prepared):
    assert prepared.actions == prepared.parts["penn"].actions and len(prepared.actions) == 15
    assert prepared.eval_split == "test" and len(prepared.sequence_names("test")) == 5
    batch = next(iter(prepared.eval_stream("test", "single", 2)))
    assert batch["frames"].shape == (2, 4, 32, 32, 3)


def test_sets_that_do_not_fit_are_refused(prepared):
    with pytest.raises(Usage, match="the data has no 'mpi'; did you mean 'mpii'[?] it has h36m, mpii, penn"):
        dataclasses.replace(DATA, stills={"mpi": 1})
    other = {**SETS, "mpii": dataclasses.replace(SETS["mpii"], image_size=64)}
    with pytest.raises(Usage, match="same image_size, but it is 32 in h36m, 64 in mpii, 32 in penn"):
        dataclasses.replace(DATA, sets=other)
    longer = {**SETS, "mpii": dataclasses.replace(SETS["mpii"], clip_frames=8)}
    with pytest.raises(Usage, match="same clip_frames, but it is 4 in penn, 8 in mpii"):
        dataclasses.replace(DATA, sets=longer)
    assert dataclasses.replace(DATA, sets=longer, clips={"penn": 2}).clips == {"penn": 2}
    with pytest.raises(Usage, match="nothing to train on"):
        prepared.changed(stills={}, clips={"penn": 0}).train_stream(0)
    penn = prepared.parts["penn"]
    other = dataclasses.replace(penn, index={**penn.index, "actions": ["sit", "stand"]})
    parts = {**prepared.parts, "mpii": other}
    with pytest.raises(Problem, match="the clips of mpii have other actions than those of penn"):
        dataclasses.replace(prepared, parts=parts).train_stream(0)
