import errno
import os
import signal
import time

import pytest

from jaxhar.host import process
from jaxhar.host.errors import Problem
from jaxhar.host.process import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_ask_to_stop(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.after(1)
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert stop.after(2)
    assert signal.getsignal(number) == before


def test_a_locked_folder_and_a_disk_without_locks_are_two_sentences(tmp_path, monkeypatch):
    with process.lock(tmp_path), pytest.raises(Problem, match="another process is training in"):
        process.lock(tmp_path)

    def none(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", none)
    for take in (lambda: process.lock(tmp_path), process.locked(tmp_path / "a.lock").__enter__):
        with pytest.raises(Problem, match="cannot lock files .Function not implemented.*use another one"):
            take()
