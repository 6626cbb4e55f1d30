"""torchvision's ResNets trained on ImageNet, as the beginning of a network: files, download, and where they lie."""

import shutil
from pathlib import Path

from jaxhar.host import download, files
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.files import cache_folder, replacing

URL = "https://download.pytorch.org/models/"
#: Name -> the file; the digits in its name are the beginning of its sha256.
FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
}
#: The beginning of `Experiment.init_from` for one of them, e.g. "torchvision:resnet50".
PREFIX = "torchvision:"


def _checksum(file: str) -> str:
    return Path(file).stem.rpartition("-")[2]


def fetch(name: str, given: Path | None = None, progress: bool = True) -> Path:
    """The path of a file in the cache, where it is downloaded to, or copied to from a local file `given`.

    Raises:
      Problem: the download fails, or the file is another one.
    """
    if given is not None:
        path = cache_folder() / FILES[name]
        _check(given, _checksum(FILES[name]))
        with replacing(path) as part:
            shutil.copyfile(given, part)
        return path
    return download.fetch(URL + FILES[name], _checksum(FILES[name]), progress=progress, algorithm="sha256")


def _check(path: Path, checksum: str) -> None:
    found = files.digest(path, "sha256")
    if not found.startswith(checksum):
        raise Problem(f"{path} is damaged or another file: its sha256 begins with {found[:8]}, not {checksum}")


def local(name: str) -> Path:
    """The path of a downloaded file.

    Raises:
      Usage: there is no network of that name.
      Problem: the file is not in the cache; the message has the command that fetches it.
    """
    if name not in FILES:
        raise Usage(f"torchvision has no network {name!r} here; there are {', '.join(FILES)}")
    path = cache_folder() / FILES[name]
    if not path.is_file():
        raise Problem(
            f"the weights to start from are missing: {path}. Fetch them by `jaxhar weights {name}`, or train from "
            "random weights with --config.init_from=None"
        )
    _check(path, _checksum(path.name))
    return path
