"""What processes that help a training do about signals; imported without JAX."""

import signal

#: How long a helper process lives after SIGTERM.
_LAST_SECONDS = 20


def outlive_signals() -> None:
    """Lets a helper process go on after a signal to all processes of a job, while the training saves."""
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_LAST_SECONDS))
