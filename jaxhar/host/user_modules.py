"""The option `--import MODULE`: imports user modules, e.g. with additional networks, before a command runs."""

import os
import sys
from importlib import import_module
from importlib.util import find_spec

from jaxhar.host.errors import Problem, Usage

#: Help text of the option.
HELP = "a Python module of yours to import first, e.g. one that registers a network; may be given several times"

#: What `load` has imported, for child processes.
loaded: list[str] = []


def take_option(argv: list[str]) -> tuple[list[str], list[str]]:
    """Removes `--import MODULE` and `--import=MODULE` from a command line.

    Returns:
      the other arguments, and the names of the modules.

    Raises:
      Usage: a name is missing.
    """
    rest, modules = [], []
    words = iter(argv)
    for word in words:
        if word == "--import" or word.startswith("--import="):
            name = word.partition("=")[2] if "=" in word else next(words, "")
            if not name or name.startswith("-"):
                raise Usage("--import has no module; write --import MODULE")
            modules.append(name)
        else:
            rest.append(word)
    return rest, modules


def load(names: list[str]) -> None:
    """Imports modules from the working directory or the installed packages.

    Raises:
      Usage: there is no such module.
      Problem: the import fails.
    """
    if names and not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            found = find_spec(name)
        except (ImportError, ValueError):  # the parent package is missing, or the name is invalid
            found = None
        if found is None:
            hint = f"; give its name, {name.removesuffix('.py').replace('/', '.')}" if name.endswith(".py") else ""
            raise Usage(f"--import {name}: there is no such module in this folder or among the installed ones{hint}")
        try:
            import_module(name)
        except Problem as error:
            raise Problem(f"--import {name}: {error}") from error
        except Exception as error:
            raise Problem(f"--import {name}: it cannot be imported: {type(error).__name__}: {error}") from error
        loaded.append(name)
