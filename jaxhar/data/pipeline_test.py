import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from jaxhar.data import pipeline
from jaxhar.host.errors import Problem


def load(record: int, rng: np.random.Generator) -> pipeline.Example:
    return {"sequence": np.int32(record), "frames": rng.normal(size=3).astype(np.float32)}


def draw(stream: pipeline.BatchStream, batches: int) -> list[int]:
    return [int(i) for _ in range(batches) for i in next(stream)["sequence"]]


def test_every_epoch_holds_every_record_in_a_new_order():
    stream = pipeline.train_stream(range(12), load, seed=0, batch_size=4)
    epochs = [draw(stream, 3) for _ in range(3)]
    stream.close()
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != list(range(12))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_load_rows_of_the_same_batches_whatever_their_number(count):
    whole = pipeline.train_stream(range(8), load, seed=5, batch_size=6)
    parts = [
        pipeline.train_stream(range(8), load, seed=5, batch_size=6, rows=pipeline.share(6, i, count))
        for i in range(count)
    ]
    for _ in range(5):
        batch, own = next(whole), [next(part) for part in parts]
        for key, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([each[key] for each in own]), value)
    state, expected = parts[0].get_state(), next(whole)
    for stream in (whole, *parts):
        stream.close()
    again = pipeline.train_stream(range(8), load, seed=5, batch_size=6)
    again.set_state(state)  # the position of one process is that of another number of processes
    np.testing.assert_array_equal(next(again)["frames"], expected["frames"])
    again.close()


@pytest.mark.parametrize(
    "position",
    [5, {"next_index": 5}, {"iterators_in_use_states": [{"next_index": 3}, {"next_index": 2}], "exhausted": [0, 0]}],
)
def test_positions_of_earlier_versions_are_read(position):
    stream = pipeline.train_stream(range(8), load, seed=5, batch_size=6)
    expected = [next(stream) for _ in range(6)][-1]
    stream.set_state({**stream.get_state(), "position": position})
    np.testing.assert_array_equal(next(stream)["frames"], expected["frames"])
    stream.close()


def test_a_batch_that_cannot_be_divided_is_a_problem():
    with pytest.raises(Problem, match="a batch of 5 clips cannot be divided among 2 processes"):
        pipeline.share(5, 0, 2, "clips")


def test_a_batch_may_be_larger_than_the_source():
    stream = pipeline.train_stream(range(2), load, seed=0, batch_size=5)
    assert next(stream)["frames"].shape == (5, 3)
    stream.close()


@pytest.mark.parametrize("position", [0, 1, 7])
def test_joint_state_restores_order_and_random_draws(position):
    def make() -> pipeline.Joined:
        return pipeline.Joined(
            {
                "a": pipeline.train_stream(range(5), load, seed=1, batch_size=2),
                "b": pipeline.train_stream(range(7), load, seed=2, batch_size=3),
            }
        )

    first = make()
    for _ in range(position):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    expected = [next(first) for _ in range(5)]
    second = make()
    next(second)
    second.set_state(state)
    for batches in expected:
        again = next(second)
        for name in ("a", "b"):
            np.testing.assert_array_equal(again[name]["sequence"], batches[name]["sequence"])
            np.testing.assert_array_equal(again[name]["frames"], batches[name]["frames"])
    with pytest.raises(Problem, match="is of a, b, but the batches now come from"):
        pipeline.Joined({}).set_state(state)
    first.close()
    second.close()


def test_a_state_of_other_settings_is_refused():
    stream = pipeline.train_stream(range(5), load, seed=1, batch_size=2)
    state = stream.get_state()
    stream.close()
    other = pipeline.train_stream(range(5), load, seed=1, batch_size=3)
    with pytest.raises(Problem, match="batch_size = 2, but it is 3"):
        other.set_state(state)
    other.close()


def one(item: int) -> pipeline.Example:
    return {"sequence": np.int32(item)}


@pytest.mark.parametrize(("items", "batch", "processes"), [(7, 3, 1), (6, 3, 1), (7, 2, 2), (1, 4, 3)])
def test_evaluation_covers_each_item_once(items, batch, processes):
    seen: list[list[int]] = [[] for _ in range(pipeline.num_batches(items, batch, processes) * processes)]
    for process in range(processes):
        batches = list(
            pipeline.eval_stream(
                range(100, 100 + items), one, batch_size=batch, process_index=process, process_count=processes
            )
        )
        assert len(batches) == pipeline.num_batches(items, batch, processes)
        assert all(len(b["sequence"]) == batch for b in batches)
        seen[process::processes] = [b["sequence"][b["mask"]].tolist() for b in batches]
    assert [i for own in seen for i in own] == list(range(100, 100 + items))  # in order: batches are taken alternately


def test_stack_and_pad():
    batch = pipeline.stack([one(3), one(4)])
    padded = pipeline.pad(batch, 4)
    assert padded["sequence"].tolist() == [3, 4, 3, 3]
    assert padded["mask"].tolist() == [True, True, False, False]
    assert pipeline.pad(padded, 5)["mask"].tolist() == [True, True, False, False, False]
    assert "mask" not in batch


def late(number: int, rng: np.random.Generator) -> dict:
    time.sleep(0.2)
    return {"number": np.int32(number)}


@pytest.mark.slow
def test_workers_load_on_while_a_job_is_stopped():
    """SLURM sends a signal to every process of a job; the training then finishes its step and saves."""
    stream = pipeline.train_stream(range(40), late, seed=0, batch_size=2, workers=1, prefetch=1)
    next(stream)
    workers = [process.pid for process in multiprocessing.active_children()]
    assert workers
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        for worker in workers:
            os.kill(worker, number)
        for _ in range(3):
            assert next(stream)["number"].shape == (2,)
    begun = time.monotonic()
    stream.close()
    assert time.monotonic() - begun < 5
