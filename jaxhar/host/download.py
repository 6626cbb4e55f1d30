"""Fetching a file once: into a cache folder, checked, and continued where an earlier try was cut off."""

import hashlib
import os
import time
from pathlib import Path

import requests
from tqdm import tqdm

from jaxhar.host.errors import Problem
from jaxhar.host.files import cache_folder

#: Tries in a row that bring nothing new before giving up.
_TRIES = 3
#: Seconds to wait for a connection, and for the next bytes.
_TIMEOUT = (10, 30)
_CHUNK = 1 << 16
_PAUSE = 1.0
_BY_HAND = "fetch it by hand and name it with --from"


def digest(path: Path, algorithm: str) -> str:
    """The checksum of a file, "md5" or "sha256", in hexadecimal; Problem if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}") from error


def fetch(url: str, md5: str, folder: Path | None = None, progress: bool = True) -> Path:
    """The file at an address, from the cache if it is there whole.

    What arrives is kept in NAME.part until it is complete and right; a later call goes on from there.

    Args:
      url: of the file.
      md5: of the file, in hexadecimal.
      folder: the cache; `cache_folder()` if None.
      progress: show a bar.

    Raises:
      Problem: the network or the server fails, or what it sends is another file; the sentence names the address.
    """
    folder = folder or cache_folder()
    path = folder / url.rsplit("/", 1)[-1]
    part = path.with_name(f"{path.name}.part")
    if path.is_file() and digest(path, "md5") == md5:
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        resumed = _size(part) > 0
        _receive(url, part, progress)
        found = digest(part, "md5")
        if found == md5:
            os.replace(part, path)
            return path
        part.unlink()
    except OSError as error:  # those of requests are OSErrors too, and dealt with in _receive
        raise Problem(f"cannot write in {folder}: {error.strerror or error}; $JAXHAR_CACHE moves the cache") from error
    if resumed:  # what an earlier call had left may have been wrong
        return fetch(url, md5, folder, progress)
    raise Problem(f"{url} sends another file than the authors': its md5 is {found}, not {md5}; {_BY_HAND}")


def _receive(url: str, part: Path, progress: bool) -> None:
    """Append to `part` until it is as long as the file; Problem if the network or the server does not let it."""
    stalled = 0
    while True:
        before = _size(part)
        try:
            return _ask_for_rest(url, part, progress)
        except requests.RequestException as error:
            answer = error.response
            if answer is not None and answer.status_code < 500:
                raise Problem(f"{url} is answered with {answer.status_code} {answer.reason}; {_BY_HAND}") from error
            stalled = 0 if _size(part) > before else stalled + 1
            if stalled == _TRIES:
                kept = "; what has come so far is kept, and the same command goes on from there" if before else ""
                raise Problem(f"cannot fetch {url} ({type(error).__name__}); {_BY_HAND}{kept}") from error
            time.sleep(stalled * _PAUSE)


def _ask_for_rest(url: str, part: Path, progress: bool) -> None:
    """One request for what `part` still lacks; whatever arrives is kept. RequestException if it is not all."""
    start = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == 416:  # there is nothing after `start`
            return
        answer.raise_for_status()
        if answer.status_code != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # the server sends the whole file
        rest = int(answer.headers.get("Content-Length", 0))
        bar = {"desc": part.stem, "initial": start, "total": start + rest if rest else None, "disable": not progress}
        with part.open("r+b" if start else "wb") as file, tqdm(unit="B", unit_scale=True, **bar) as shown:
            file.seek(start)
            for chunk in answer.iter_content(_CHUNK):
                shown.update(file.write(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
