"""For all tests: what is cached for the user, such as compiled programs, goes to a folder of the test run."""

import os
import shutil
import tempfile

_made = None


def pytest_configure(config):
    global _made
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _made = tempfile.mkdtemp(prefix="jaxhar-tests-")
        os.environ["JAXHAR_CACHE"] = _made


def pytest_unconfigure(config):
    if _made:
        shutil.rmtree(_made, ignore_errors=True)
