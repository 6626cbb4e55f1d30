"""Downloads from a real server on this machine: ranges, cut connections, wrong files, no server."""

import hashlib
import http.server
import re
import threading

import pytest

from jaxhar.host import download, files
from jaxhar.host.errors import Problem

CONTENT = bytes(range(256)) * 2000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content` as `server.faults` say, one for each request: its status, or the bytes it sends."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        fault = server.faults.pop(0) if server.faults else None
        if isinstance(fault, str):
            self.send_error(int(fault))
            return
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "") if server.ranges else None
        start = int(ranged[1]) if ranged else 0
        if ranged and start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(len(body)))
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        self.wfile.write(body[:fault])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_PAUSE", 0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.ranges, server.faults, server.asked = CONTENT, True, [], []
        server.url = f"http://127.0.0.1:{server.server_port}/v0.1/weights.h5"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server, folder):
    return download.fetch(server.url, MD5, folder, progress=False)


def test_a_file_is_fetched_once(server, tmp_path):
    path = fetch(server, tmp_path / "a" / "cache")
    assert path == tmp_path / "a" / "cache" / "weights.h5"
    assert path.read_bytes() == CONTENT
    assert fetch(server, path.parent) == path
    assert server.asked == [None]
    path.write_bytes(CONTENT[:-1])  # damaged in the cache
    assert fetch(server, path.parent).read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["weights.h5"]


def test_a_cut_connection_is_continued(server, tmp_path):
    server.faults = [200_000, 100_000]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked[0] is None and len(server.asked) == 3
    first, second = (int(asked[6:-1]) for asked in server.asked[1:])
    assert 0 < first <= 200_000 and first < second <= 300_000


def test_an_earlier_call_is_continued(server, tmp_path):
    (tmp_path / "weights.h5.part").write_bytes(CONTENT[:300_000])
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=300000-"]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    (tmp_path / "weights.h5.part").write_bytes(CONTENT[:300_000])
    assert fetch(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"\0" * 1000, CONTENT + b"more", CONTENT[:-1] + b"x"])
def test_wrong_bytes_of_an_earlier_call_are_fetched_again(server, tmp_path, left):
    (tmp_path / "weights.h5.part").write_bytes(left)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_whole_file_of_an_earlier_call_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "weights.h5.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def refused(server, folder):
    with pytest.raises(Problem) as problem:
        fetch(server, folder)
    text = str(problem.value)
    assert server.url in text and "--from" in text and "\n" not in text
    return text


def test_another_file_is_refused(server, tmp_path):
    server.content = b"<html>Please log in</html>"
    assert f"md5 is {hashlib.md5(server.content).hexdigest()}, not {MD5}" in refused(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_said_at_once(server, tmp_path):
    server.faults = ["404"]
    assert "404 Not Found" in refused(server, tmp_path)
    assert len(server.asked) == 1


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    server.faults = ["503", 0]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    server.faults = [150_000] + ["503"] * 5
    (tmp_path / "weights.h5").unlink()
    assert "kept, and the same command resumes from there" in refused(server, tmp_path)
    server.faults = []
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_no_server(server, tmp_path):
    server.shutdown()
    server.server_close()
    assert "cannot fetch" in refused(server, tmp_path)


def test_the_cache_moves(monkeypatch, tmp_path, server):
    monkeypatch.setenv("JAXHAR_CACHE", str(tmp_path / "here"))
    assert download.fetch(server.url, MD5, progress=False).parent == tmp_path / "here"
    monkeypatch.setenv("JAXHAR_CACHE", str(tmp_path / "here" / "weights.h5" / "below"))
    with pytest.raises(Problem, match=r"cannot write in .*\$JAXHAR_CACHE"):
        fetch(server, None)
    monkeypatch.delenv("JAXHAR_CACHE")
    assert files.cache_folder().name == "jaxhar"
