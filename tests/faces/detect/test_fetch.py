"""YuNet's file is fetched whole, or not at all, and never for long."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from faces.detect.fetch import FetchError, cached, fetch

CONTENT = bytes(range(256)) * 900
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/file is the file, after a redirect as GitHub has it; the other paths are what goes wrong."""

    def do_GET(self) -> None:
        if self.path == "/raw":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/file":
            self.wfile.write(CONTENT)
        elif self.path == "/wrong":
            self.wfile.write(CONTENT[::-1])
        elif self.path == "/truncated":
            self.wfile.write(CONTENT[:1000])
        elif self.path == "/drips":
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        elif self.path == "/hangs":
            time.sleep(3)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def test_the_file_is_fetched_once(server: str, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "yunet.onnx"
    fetch(path, url=f"{server}/raw", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    fetch(path, url=f"{server}/absent", sha256=SHA256)
    assert [entry.name for entry in path.parent.iterdir()] == ["yunet.onnx"]


def test_a_damaged_copy_is_replaced(server: str, tmp_path: Path) -> None:
    path = tmp_path / "yunet.onnx"
    path.write_bytes(b"half")
    fetch(path, url=f"{server}/file", sha256=SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("way", ["absent", "wrong", "truncated", "drips", "hangs"])
def test_what_goes_wrong_leaves_nothing_behind_and_ends_soon(server: str, tmp_path: Path, way: str) -> None:
    start = time.monotonic()
    with pytest.raises(FetchError) as caught:
        fetch(tmp_path / "yunet.onnx", url=f"{server}/{way}", sha256=SHA256, connect_s=0.5, total_s=0.5)
    assert "\n" not in str(caught.value)
    assert way in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - start < 2.5


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="Connection refused"):
        fetch(tmp_path / "yunet.onnx", url="http://127.0.0.1:1/file", sha256=SHA256)


def test_a_folder_that_cannot_be_written_is_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FetchError, match=r"Not a directory|File exists"):
        fetch(tmp_path / "file" / "yunet.onnx", url=f"{server}/file", sha256=SHA256)


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cached().is_relative_to(tmp_path)
