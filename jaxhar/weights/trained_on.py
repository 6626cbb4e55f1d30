"""The files that a network was trained on, by their checksums, in a file beside its weights.

What a network says of a file that it was trained on does not tell how good it is.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from jaxhar.host import files
from jaxhar.host.errors import Problem

FILE = "training_files.json"
_LISTED = 3


def write(folder: Path, paths: Iterable[Path]) -> None:
    """Write the sizes and checksums of files beside the weights in `folder`."""
    known = {files.digest(path, "sha256"): path.stat().st_size for path in paths}
    files.write(folder / FILE, json.dumps(known, indent=1).encode())


def sentence(weights: Path, sources: Iterable[Path]) -> str | None:
    """A sentence on the sources that the network was trained on; None if there are none, or nothing is known.

    Args:
      weights: the file or folder of the weights.

    Raises:
      Problem: the list is damaged, or a source cannot be read.
    """
    path = (weights if weights.is_dir() else weights.parent) / FILE
    if not path.is_file():
        return None
    known = files.read_json(path, "list of training files")
    if not isinstance(known, dict):
        raise Problem(f"the list of training files {path} is damaged; remove it")
    sizes = set(known.values())
    seen = [p.name for p in sources if p.stat().st_size in sizes and files.digest(p, "sha256") in known]
    if not seen:
        return None
    more = f" and {len(seen) - _LISTED} more" if len(seen) > _LISTED else ""
    names = ", ".join(seen[:_LISTED]) + more
    return f"the network was trained on {names}: what it says of them does not tell how good it is"
