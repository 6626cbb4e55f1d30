import os
import signal
import time

import pytest

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
