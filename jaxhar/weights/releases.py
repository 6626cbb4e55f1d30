"""Published weight files (the command `jaxhar weights`): download, checksum and conversion."""

import contextlib
import math
from pathlib import Path

from jaxhar.core.family import Entry
from jaxhar.host import download, files
from jaxhar.host.errors import Problem, Usage
from jaxhar.weights import forms as convert
from jaxhar.weights import tensor_file
from jaxhar.weights.flat import shapes
from jaxhar.weights.forms import Loaded


def find(name: str, entry: Entry, local: Path | None, progress: bool = True) -> Path:
    """The path of a network's published weight file, downloaded if needed.

    Args:
      name, entry: the network.
      local: the file, if the user already has it.

    Raises:
      Problem: the download fails, or the file is not the published one.
      Usage: no file was published, or it must be downloaded by hand.
    """

    if not entry.release:
        raise Usage(f"no weights were published for {name}; `jaxhar port` converts a file of your own")
    if local is not None:
        if not local.is_file():
            raise Problem(f"{local}: there is no such file; the release file is at {entry.release}")
        if not entry.md5:
            print(f"{local}: sha256 {files.digest(local, 'sha256')} (no published checksum to compare with)")
        elif (found := files.digest(local, "md5")) != entry.md5:
            raise Problem(
                f"{local} is not {entry.release.rsplit('/', 1)[-1]}: its md5 is {found}, not {entry.md5}; it is "
                "damaged or another file (`jaxhar port` converts other files)"
            )
        return local
    if not entry.md5:
        raise Usage(
            f"the file of {name} is on a file-sharing site, without a checksum: download {entry.release} by hand "
            f"and name it: jaxhar weights {name} --from FILE"
        )
    return download.fetch(entry.release, entry.md5, progress=progress)


def ported(name: str, entry: Entry, progress: bool = True) -> Path:
    """The published weights of a network as a file of ours in the cache folder, fetched and ported if needed.

    The size, the address and the licence are printed before anything is fetched.

    Raises:
      Problem: as `find`, or the cache folder cannot be written. Usage: as `find`.
    """
    path = files.cache_folder() / "networks" / f"{name}-{entry.md5[:8]}.safetensors"
    with contextlib.suppress(Problem):  # absent or damaged
        tensor_file.read(path)
        return path
    if entry.release and entry.md5:
        size = 4e-6 * sum(math.prod(shape) for shape in shapes(entry.config).values())
        print(f"{name}: fetching about {size:.0f} MB from {entry.release}, kept in {files.cache_folder()}")
        print(f"licence: {entry.licence or 'not known; see where the file comes from'}")
    loaded = load(find(name, entry, None, progress), name, entry)
    convert.save(loaded, path)
    for note in loaded.notes:
        print(note)
    return path


def load(path: Path, name: str, entry: Entry) -> Loaded:
    """Loads a published weight file; if the zoo's settings do not fit, they are inferred from the file.

    This is needed because files on the file-sharing site were replaced by files of networks with other settings.
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
    print(f"{path} was written with other settings than those of {name} in the zoo; they are inferred from the file")
    return loaded
