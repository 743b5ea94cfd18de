"""A proxy that the environment names, on the way to a model server."""

import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.api.model_server_process import ModelServer


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """Its URL, and what it was asked; it refuses everything."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=refuse)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize("wanted", [False, True])
def test_a_model_server_is_behind_a_proxy_only_where_a_setting_says_so(
    run_gateway: Callable,
    model_server: ModelServer,
    proxy: tuple[str, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    wanted: bool,
) -> None:
    url, asked = proxy
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, url)
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    gateway = run_gateway(model_server=model_server.address, model_server_proxy=wanted)
    status = httpx.get(f"{gateway.url}/readyz", trust_env=False, timeout=20).status_code
    assert (status, bool(asked)) == ((503, True) if wanted else (200, False))
