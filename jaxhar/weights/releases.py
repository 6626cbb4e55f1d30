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

#: Endings of addresses from which a file can be fetched; others are pages of file-sharing sites.
_ENDINGS = (".h5", ".pth", ".pyth", ".safetensors")


def find(name: str, entry: Entry, local: Path | None, progress: bool = True, accepted: bool = False) -> Path:
    """The path of a network's published weight file, downloaded if needed.

    Address, size and licence are printed before anything is fetched.

    Args:
      name, entry: the network.
      local: the file, if the user already has it.
      accepted: whether the licence is.

    Raises:
      Problem: the download fails, or the file is not the published one.
      Usage: no file was published, it must be downloaded by hand, or its licence is not accepted.
    """
    if not entry.release:
        raise Usage(f"no weights were published for {name}; `jaxhar port` converts a file of your own")
    licence = entry.licence or "not known; see where the file comes from"
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
    if not entry.md5 and not entry.release.endswith(_ENDINGS):
        raise Usage(
            f"the file of {name} is on a file-sharing site, without a checksum: download {entry.release} by hand "
            f"and name it: jaxhar weights {name} --from FILE"
        )
    folder = files.cache_folder() if entry.md5 else files.cache_folder() / name  # one file name for several networks
    there = folder / entry.release.rsplit("/", 1)[-1]
    if not there.is_file():
        size = 4e-6 * sum(math.prod(shape) for shape in shapes(entry.config).values())
        what = "not fetched yet," if entry.accept and not accepted else "fetching"
        print(f"{name}: {what} about {size:.0f} MB from {entry.release}, kept in {folder}")
        print(f"licence: {licence}")
        if entry.accept and not accepted:
            raise Usage(
                f"the licence of {name} must be accepted first: `jaxhar weights NAME --accept-licence` fetches the file"
            )
    path = download.fetch(entry.release, entry.md5, folder=folder, progress=progress)
    if not entry.md5:
        print(f"{path}: sha256 {files.digest(path, 'sha256')} (no published checksum to compare with)")
    return path


def ported(name: str, entry: Entry, progress: bool = True) -> Path:
    """The published weights of a network as a file of ours in the cache folder, fetched and ported if needed.

    Raises:
      Problem: as `find`, or the cache folder cannot be written. Usage: as `find`.
    """
    path = files.cache_folder() / "networks" / f"{name}-{entry.md5[:8] or 'unchecked'}.safetensors"
    with contextlib.suppress(Problem):  # absent or damaged
        tensor_file.read(path)
        return path
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
