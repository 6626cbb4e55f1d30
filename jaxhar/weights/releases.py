"""`jaxhar weights`: the authors' release file of a network, fetched, checked and ported in one step."""

from pathlib import Path

from jaxhar.core.family import Entry
from jaxhar.host import download
from jaxhar.host.errors import Problem, Usage
from jaxhar.weights import forms as convert
from jaxhar.weights.forms import Loaded


def find(name: str, entry: Entry, given: Path | None, progress: bool = True) -> Path:
    """The release file of a network, on this machine.

    Args:
      name, entry: of the network.
      given: the file, if the user has it.

    Raises:
      Problem: it cannot be fetched, or is not that file.
      Usage: there is no such file, or it must be fetched by hand.
    """

    if not entry.release:
        raise Usage(f"the authors published no weights for {name}; `jaxhar port` takes a file of your own")
    if given is not None:
        if not given.is_file():
            raise Problem(f"{given}: there is no such file; the release file is at {entry.release}")
        if not entry.md5:
            print(f"{given}: sha256 {download.digest(given, 'sha256')} (the authors give no checksum to compare with)")
        elif (found := download.digest(given, "md5")) != entry.md5:
            raise Problem(
                f"{given} is not {entry.release.rsplit('/', 1)[-1]}: its md5 is {found}, not {entry.md5}; it is "
                "damaged or another file (`jaxhar port` takes other files)"
            )
        return given
    if not entry.md5:
        raise Usage(
            f"the file of {name} lies on a file-sharing site, without a checksum: fetch {entry.release} by hand and "
            "name it with --from"
        )
    return download.fetch(entry.release, entry.md5, progress=progress)


def load(path: Path, name: str, entry: Entry) -> Loaded:
    """The network in a release file; where the zoo's settings do not fit, with those read off the file.

    The authors replaced files on the file-sharing site without a word about the settings they were written with.
    """

    try:
        return convert.load(path, name)
    except Problem:
        if entry.md5:
            raise
        try:
            loaded = convert.load(path, "auto")
        except Problem:
            loaded = None
        if loaded is None or (loaded.meta.skeleton, loaded.meta.actions) != (entry.skeleton, entry.actions):
            raise
    print(f"{path} was written with other settings than those of {name} in the zoo; they are read off the file")
    return loaded
