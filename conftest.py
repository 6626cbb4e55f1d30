"""For all tests: what is cached for the user goes to a folder of the test run, and little time to what is not tested.

Compiling takes half of the time. Without XLA's expensive optimisations, which the tests run too little to repay, a
network's first call takes about half of its processor time. `pytest -m slow`, and tests with the fixture `optimised`,
compile as for users. Python looks for garbage less often, and not in the modules, which took a tenth of the time.
"""

import gc
import os
import shutil
import tempfile

import pytest

_made = None
_QUICKLY = "JAX_DISABLE_MOST_OPTIMIZATIONS"


def pytest_configure(config):
    global _made
    if "PYTEST_XDIST_WORKER" not in os.environ:  # workers, and processes that tests start, inherit the variables
        _made = tempfile.mkdtemp(prefix="jaxhar-tests-")
        os.environ["JAXHAR_CACHE"] = _made
        if config.option.markexpr == "not slow":
            os.environ.setdefault(_QUICKLY, "1")


def pytest_collection_finish(session):
    gc.collect()
    gc.freeze()  # the modules
    gc.set_threshold(20_000)


def pytest_unconfigure(config):
    if _made:
        shutil.rmtree(_made, ignore_errors=True)


@pytest.fixture(scope="module")
def optimised():
    """Programs of the tests of a file are compiled as for users."""
    import jax

    name = _QUICKLY.lower()
    before = jax.config.read(name)
    jax.config.update(name, False)
    jax.clear_caches()  # with what other files compiled
    yield
    jax.config.update(name, before)
    jax.clear_caches()
