import math
import os
import time

import numpy as np
import pytest

from jaxhar.data.formats import guarded
from jaxhar.host.errors import Problem


def test_a_call_is_answered_by_a_process_that_ends_when_it_is_late_or_crashes():
    """In one test, because starting a process takes time."""
    double = guarded.call(np.add, np.arange(3), np.arange(3), where="film", limit=30)
    np.testing.assert_array_equal(double, [0, 2, 4])
    first = guarded.call(os.getpid, where="film", limit=30)
    assert first != os.getpid() and guarded.call(os.getpid, where="film", limit=0) == os.getpid()
    with pytest.raises(Problem, match="film: this file cannot be read: ValueError: math domain error"):
        guarded.call(math.sqrt, -1.0, where="film", limit=30)
    assert guarded.call(os.getpid, where="film", limit=30) == first
    with pytest.raises(Problem, match=r"film: decoding takes longer than 0.2 s; leave it out, or raise data.timeout"):
        guarded.call(time.sleep, 20, where="film", limit=0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    with pytest.raises(Problem, match="film: the process that decodes this file crashed"):
        guarded.call(os._exit, 3, where="film", limit=30)


def test_a_process_that_cannot_be_started_is_one_sentence(monkeypatch):
    monkeypatch.setattr(guarded, "_free", [])
    for program in ("/usr/bin/false", "/nowhere/python"):
        monkeypatch.setattr("sys.executable", program)
        with pytest.raises(Problem, match="no process that decodes videos can be started .* data.timeout=0"):
            guarded.call(os.getpid, where="film", limit=30)
