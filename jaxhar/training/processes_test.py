"""Several processes that train together on one machine, as runs of `jaxhar.training.loop_test`."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from jaxhar.training.loop_test import command, environment, rows

LOST = "another process of this run has ended or cannot be reached"
pytestmark = pytest.mark.usefixtures("shared_compilation")


@pytest.fixture(scope="module")
def shared_compilation(tmp_path_factory):
    """A compilation cache for the processes of this file."""
    folder = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}
    folder["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ.update(folder)
    yield
    for name in folder:
        del os.environ[name]


@contextlib.contextmanager
def started(workdir, count, last=None, **options):
    """`count` processes of one run, the last one with options of its own; those still alive are killed at the end."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            command(workdir, **{**options, **own}, port=port, count=count, index=index),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, own in enumerate([{}] * (count - 1) + [last or {}])
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ended(processes):
    """Exit codes, and what the processes printed on stdout and on stderr."""
    said = [process.communicate(timeout=400) for process in processes]
    return [process.returncode for process in processes], [out for out, _ in said], [err for _, err in said]


def together(workdir, count, **options):
    """A run of several processes that succeeds; what process 0 printed on stderr."""
    with started(workdir, count, **options) as processes:
        codes, _, err = ended(processes)
    assert codes == [0] * count, err
    return err[0]


def alone(workdir, devices, **options):
    """The same run by one process of several devices."""
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    subprocess.run(command(workdir, **options), env=environment(**flags), timeout=400, check=True)


def metrics(workdir):
    return (Path(workdir) / "metrics.jsonl").read_bytes()


def until(condition, processes):
    deadline = time.monotonic() + 400
    while not condition():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), ended(processes)
        time.sleep(0.05)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of one process of two devices."""
    workdir = tmp_path_factory.mktemp("whole")
    alone(workdir, 2)
    return metrics(workdir)


def test_two_processes_train_as_one_with_two_devices(tmp_path, whole):
    together(tmp_path, 2)
    assert metrics(tmp_path) == whole
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "checkpoints", "tensorboard", ".lock"}
    parts = {path.name for path in (tmp_path / "checkpoints/12/model").glob("ocdbt.process_*")}
    assert parts == {"ocdbt.process_0", "ocdbt.process_1"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_one_stops_all_at_the_same_step_and_other_processes_go_on(tmp_path, whole, number):
    """They go on as one process with two devices, bit for bit."""
    with started(tmp_path, 2, slow=700) as processes:
        until(lambda: (tmp_path / "metrics.jsonl").exists() and rows(tmp_path), processes)
        processes[1].send_signal(number)
        codes, out, err = ended(processes)
    assert codes == [0, 0] and "stopped at step" in out[0], err
    step = int(out[0].split("stopped at step ")[1].split()[0])
    assert step < 12 and (tmp_path / f"checkpoints/{step}/record").is_dir()
    alone(tmp_path, 2)
    assert metrics(tmp_path) == whole


@pytest.mark.slow
def test_metrics_of_a_pair_that_is_preempted_five_times_are_those_of_one_left_alone(tmp_path):
    alone(tmp_path / "whole", 2, steps=40)
    run, written = tmp_path / "run", 0
    for stop in range(5):
        with started(run, 2, slow=500, steps=40) as processes:
            until(lambda: (run / "metrics.jsonl").exists() and len(rows(run)) > written, processes)  # noqa: B023
            processes[stop % 2].send_signal((signal.SIGTERM, signal.SIGUSR1)[stop // 2 % 2])
            codes, out, err = ended(processes)
        assert codes == [0, 0] and "stopped at step" in out[0], err
        written = len(rows(run))
    together(run, 2, steps=40)
    assert metrics(run) == metrics(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("first", [False, True])
def test_a_full_disk_of_one_ends_both_and_the_checkpoint_before_it_stays_good(tmp_path, whole, first):
    """`first`: the disk of process 0, which also writes the metrics, is full as well."""
    with started(tmp_path, 2, slow=700) as processes:
        until(lambda: (tmp_path / "metrics.jsonl").exists() and rows(tmp_path), processes)
        processes[1].send_signal(signal.SIGTERM)
        assert ended(processes)[0] == [0, 0]
    before = {path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    # `limit` bytes in a file, which the files of a checkpoint exceed
    with started(tmp_path, 2, last={"limit": 1000}, **({"limit": 4000} if first else {})) as processes:
        codes, _, err = ended(processes)
    assert codes == [1, 1] and any("cannot write" in each for each in err), err
    assert not any("Traceback" in each for each in err), err
    assert {path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()} == before
    together(tmp_path, 2)
    assert metrics(tmp_path) == whole


@pytest.mark.slow
def test_one_that_is_killed_ends_the_other_and_the_pair_goes_on(tmp_path, whole):
    for killed in (1, 0):
        with started(tmp_path, 2, slow=700) as processes:
            written = len(rows(tmp_path)) if killed == 0 else 0
            until(lambda: (tmp_path / "metrics.jsonl").exists() and len(rows(tmp_path)) > written, processes)  # noqa: B023
            processes[killed].kill()
            start = time.monotonic()
            codes, _, err = ended(processes)
            assert time.monotonic() - start < 60
        assert codes[killed] == -9 and codes[1 - killed] == 1 and LOST in err[1 - killed]
    together(tmp_path, 2)
    assert metrics(tmp_path) == whole


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_by_all_and_four_processes_go_on(tmp_path):
    together(tmp_path, 2, sgd=1)
    newest = tmp_path / "checkpoints/12"
    parts = (path for path in (newest / "model/ocdbt.process_1").rglob("*") if path.is_file())
    shard = max(parts, key=lambda path: path.stat().st_size)
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    err = together(tmp_path, 4, sgd=1, steps=14)
    assert "checkpoints/12 is damaged" in err and (tmp_path / "checkpoints/12.damaged").exists()
    alone(tmp_path / "one", 1, sgd=1, steps=14)
    for several, one in zip(rows(tmp_path), rows(tmp_path / "one"), strict=True):
        np.testing.assert_allclose(list(several.values()), list(one.values()), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whole", "sentence"),
    [
        (1, "all 2 processes train on the same examples: train_stream of the data takes process_index"),
        (2, "train_stream of the data takes no process_index and process_count, so that 2 processes"),
    ],
)
def test_data_that_does_not_divide_its_examples_is_a_problem(tmp_path, whole, sentence):
    with started(tmp_path, 2, whole=whole) as processes:
        codes, _, err = ended(processes)
    assert codes == [1, 1]
    assert any(sentence in each for each in err), err


@pytest.mark.slow
def test_a_batch_that_the_processes_cannot_share_is_a_problem(tmp_path):
    with started(tmp_path, 3) as processes:
        codes, _, err = ended(processes)
    assert codes == [1, 1, 1]
    assert any("a batch of 4 examples cannot be divided among 3 processes" in each for each in err)
