"""Commands whose output is read by another program."""

import subprocess
import sys

import pytest

CODE = """
import sys
from jaxhar.host.errors import guard

def command():
    sys.stdin.read()  # until the reader of the output has ended
    {}

sys.exit(guard(command))
"""


@pytest.mark.parametrize(
    ("statement", "code", "said"),
    [
        ("print('x' * 200_000)", 141, ""),
        ("print('x')", 141, ""),  # fails at the end, when it is flushed
        ("raise BrokenPipeError('of a worker')", 1, "error: unexpected BrokenPipeError"),
    ],
)
def test_an_output_that_nobody_reads_ends_a_command_without_a_word(statement, code, said):
    listening = said != ""
    command = [sys.executable, "-c", CODE.format(statement)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        if not listening:
            process.stdout.close()
        process.stdin.close()
        error = process.stderr.read()
        assert process.wait(60) == code, error
    assert error.startswith(said) and (said or not error)
