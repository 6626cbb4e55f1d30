"""Downloads into a cache folder, with checksum and resumption."""

import os
import time
from pathlib import Path

import requests
from tqdm import tqdm

from jaxhar.host.errors import Problem
from jaxhar.host.files import cache_folder, digest

#: Attempts in a row without new data before giving up.
_TRIES = 3
#: Seconds to wait for a connection, and for the next bytes.
_TIMEOUT = (10, 30)
_CHUNK = 1 << 16
_PAUSE = 1.0
_BY_HAND = "fetch it by hand and name it with --from"


def fetch(url: str, checksum: str, folder: Path | None = None, progress: bool = True, algorithm: str = "md5") -> Path:
    """Downloads a file, or takes it from the cache if it is there.

    Data is collected in NAME.part until the file is complete and correct; a later call resumes there.

    Args:
      url: of the file.
      checksum: of the file, or its first digits, in hexadecimal.
      folder: the cache folder; None for `cache_folder()`.
      progress: show a progress bar.
      algorithm: of the checksum, "md5" or "sha256".

    Raises:
      Problem: the download fails or the checksum differs; the message names the URL.
    """
    folder = folder or cache_folder()
    path = folder / url.rsplit("/", 1)[-1]
    part = path.with_name(f"{path.name}.part")
    if path.is_file() and digest(path, algorithm).startswith(checksum):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        resumed = _size(part) > 0
        _receive(url, part, progress)
        found = digest(part, algorithm)
        if found.startswith(checksum):
            os.replace(part, path)
            return path
        part.unlink()
    except OSError as error:  # errors of requests are OSErrors too, but _receive handles them
        raise Problem(f"cannot write in {folder}: {error.strerror or error}; $JAXHAR_CACHE moves the cache") from error
    if resumed:  # the data from an earlier call may be damaged
        return fetch(url, checksum, folder, progress, algorithm)
    raise Problem(f"{url} is not the published file: its {algorithm} is {found}, not {checksum}; {_BY_HAND}")


def _receive(url: str, part: Path, progress: bool) -> None:
    """Appends to `part` until it is complete; Problem if the network or the server fails."""
    stalled = 0
    while True:
        before = _size(part)
        try:
            return _request_rest(url, part, progress)
        except requests.RequestException as error:
            answer = error.response
            if answer is not None and answer.status_code < 500:
                reply = f"{answer.status_code} {answer.reason}"
                raise Problem(f"the server answers {reply} for {url}; {_BY_HAND}") from error
            stalled = 0 if _size(part) > before else stalled + 1
            if stalled == _TRIES:
                kept = "; the part received so far is kept, and the same command resumes from there" if before else ""
                raise Problem(f"cannot fetch {url} ({type(error).__name__}); {_BY_HAND}{kept}") from error
            time.sleep(stalled * _PAUSE)


def _request_rest(url: str, part: Path, progress: bool) -> None:
    """Requests the rest of the file and appends it to `part`; RequestException if the transfer ends early."""
    start = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == 416:  # `part` is complete
            return
        answer.raise_for_status()
        if answer.status_code != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # the server sends the complete file
        rest = int(answer.headers.get("Content-Length", 0))
        bar = {"desc": part.stem, "initial": start, "total": start + rest if rest else None, "disable": not progress}
        with part.open("r+b" if start else "wb") as file, tqdm(unit="B", unit_scale=True, **bar) as shown:
            file.seek(start)
            for chunk in answer.iter_content(_CHUNK):
                shown.update(file.write(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
