"""What a peer may do on a connection before it has a request, and what becomes of it: raw sockets, a real process."""

import json
import resource
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from api.protocol import MAX_FIELDS, MAX_HEAD_BYTES, MAX_PIPELINED, MAX_URI_BYTES
from api.server import connection_limit
from tests.api.gateway_process import GatewayProcess

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with closing(GatewayProcess(tmp_path_factory.mktemp("protocol"), head_timeout_s=0.5)) as process:
        yield process


def connect(gateway: GatewayProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=20)


def read_all(peer: socket.socket) -> bytes:
    """Until the other side closes."""
    parts = []
    while part := peer.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def exchange(gateway: GatewayProcess, sent: bytes) -> bytes:
    with connect(gateway) as peer:
        peer.sendall(sent)
        return read_all(peer)


def is_healthy(peer: socket.socket) -> bool:
    """Ask over a connection that is kept."""
    peer.sendall(HEALTH)
    answer = b""
    while not answer.endswith(b"}"):
        part = peer.recv(65_536)
        assert part, answer
        answer += part
    return answer.startswith(b"HTTP/1.1 200 ")


def problem(answer: bytes) -> tuple[int, dict[str, object]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower(), answer
    return int(head.split()[1]), json.loads(body)


def last_of(answer: bytes) -> tuple[int, dict[str, object]]:
    """The last of several answers."""
    return problem(answer[answer.rindex(b"HTTP/1.1 ") :])


@pytest.mark.parametrize(
    ("sent", "status", "kind"),
    [
        (b"NONSENSE\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400, "bad-request"),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "bad-request",
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400, "bad-request"),
        (b"GET /?" + b"q" * MAX_URI_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri-too-long"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", 431, "header-fields-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431, "header-fields-too-large"),
    ],
    ids=["nonsense", "nul", "target", "connect", "both-lengths", "two-lengths", "uri", "head", "fields"],
)
def test_what_is_no_request_gets_a_problem_and_is_closed(
    gateway: GatewayProcess, sent: bytes, status: int, kind: str
) -> None:
    found, document = problem(exchange(gateway, sent))
    assert (found, str(document["type"]).rsplit(":", 1)[1]) == (status, kind)


@pytest.mark.parametrize("path", ["/" + "p" * MAX_URI_BYTES, "/?" + "q" * MAX_URI_BYTES])
def test_the_longest_uri_and_the_largest_head_are_served(gateway: GatewayProcess, path: str) -> None:
    uri = path[:MAX_URI_BYTES].encode()
    fields = b"Host: x\r\nConnection: close\r\nX: " + b"x" * (MAX_HEAD_BYTES - 64) + b"\r\n\r\n"
    answer = exchange(gateway, b"GET " + uri + b" HTTP/1.1\r\n" + fields)
    assert answer.split()[1] in (b"200", b"404")


def sent_until_closed(peer: socket.socket) -> int:
    """Bytes that went out before the gateway closed; fails if it takes 300 MiB."""
    sent = 0
    try:
        while sent < 300 * 2**20:
            sent += peer.send(b"x" * 65_536)
    except OSError:
        return sent
    pytest.fail("the connection stays open")


@pytest.mark.parametrize("start", [b"GET /?", b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\n"])
def test_an_endless_head_is_cut_off_before_it_fills_the_memory(gateway: GatewayProcess, start: bytes) -> None:
    with connect(gateway) as peer:
        peer.sendall(start)
        sent = sent_until_closed(peer)
    # What the kernel's buffers and the lingering close take.
    assert sent < 100 * 2**20


def test_endless_trailers_are_cut_off(gateway: GatewayProcess) -> None:
    with connect(gateway) as peer:
        peer.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: ")
        sent = sent_until_closed(peer)
    assert sent < 100 * 2**20


def test_trailers_do_not_become_fields_of_the_head(gateway: GatewayProcess) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, document = problem(exchange(gateway, head + b"3\r\nabc\r\n0\r\nX-Request-ID: forged\r\n\r\n"))
    assert status == 415
    assert document["request_id"] != "forged"


def test_half_a_head_gets_408_and_a_silent_connection_is_closed(gateway: GatewayProcess) -> None:
    status, document = problem(exchange(gateway, b"GET /healthz HTTP/1.1\r\nHost:"))
    assert (status, document["title"]) == (408, "Header fields timeout")
    assert exchange(gateway, b"") == b""


def test_half_a_head_behind_a_request_gets_408_too(gateway: GatewayProcess) -> None:
    status, _ = last_of(exchange(gateway, HEALTH + b"GET /he"))
    assert status == 408


@pytest.mark.parametrize("fields", [b"Connection: close\r\n", b""], ids=["close", "kept"])
def test_an_early_answer_reaches_a_client_that_still_writes(gateway: GatewayProcess, fields: bytes) -> None:
    size = 20 * 2**20
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\n" + fields + b"Content-Length: %d\r\n\r\n" % size
    with connect(gateway) as peer:
        # All of it before the first look at the answer, as urllib does.
        peer.sendall(head + bytes(size))
        if fields:
            status, _ = problem(read_all(peer))
            assert status == 413
            return
        answer = b""
        while not answer.endswith(b"}"):
            answer += peer.recv(65_536)
        assert problem(answer)[0] == 413
        assert is_healthy(peer)


def test_urllib_sees_each_of_ten_refusals(gateway: GatewayProcess) -> None:
    for _ in range(10):
        request = urllib.request.Request(f"{gateway.url}/predict", data=bytes(20 * 2**20), method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        assert refused.value.code == 413
        refused.value.close()


@pytest.mark.parametrize("size", [3, 2**20])
@pytest.mark.parametrize("together", [True, False])
def test_an_offer_of_h2c_is_passed_over_and_the_body_is_read(
    gateway: GatewayProcess, size: int, together: bool
) -> None:
    head = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: %d\r\n\r\n" % size
    )
    with connect(gateway) as peer:
        if together:
            peer.sendall(head + b"a" * size)
        else:
            peer.sendall(head)
            time.sleep(0.1)
            peer.sendall(b"a" * size)
        status, document = problem(read_all(peer))
    # Not "The body is empty."
    assert (status, document["title"]) == (415, "Unsupported format")


def test_an_offer_without_a_body_and_the_request_behind_it_are_answered(gateway: GatewayProcess) -> None:
    offer = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: foo/2\r\n\r\n"
    answer = exchange(gateway, offer + HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200 ") == 2


def test_requests_in_a_row_are_answered_and_too_many_are_not_kept(gateway: GatewayProcess) -> None:
    last = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert exchange(gateway, HEALTH * 30 + last).count(b"HTTP/1.1 200 ") == 31
    answer = exchange(gateway, HEALTH * 5000)
    assert answer.count(b"HTTP/1.1 200 ") == MAX_PIPELINED + 1
    assert last_of(answer)[0] == 400


def test_nonsense_behind_a_request_leaves_the_answer_to_it(gateway: GatewayProcess) -> None:
    answer = exchange(gateway, HEALTH + b"NONSENSE\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert last_of(answer)[0] == 400


def test_a_broken_chunk_is_a_400(gateway: GatewayProcess) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert problem(exchange(gateway, head + b"zz\r\n"))[0] == 400


def test_a_new_connection_takes_the_place_of_the_longest_idle_one(tmp_path: Path) -> None:
    with closing(GatewayProcess(tmp_path, max_connections=8)) as gateway:
        peers = [connect(gateway) for _ in range(8)]
        assert all(map(is_healthy, peers))
        with connect(gateway) as late:
            assert is_healthy(late)
        assert peers[0].recv(1) == b""
        assert all(map(is_healthy, peers[1:]))
        for peer in peers:
            peer.close()


def test_where_no_connection_is_idle_a_new_one_gets_503_but_health_is_answered(tmp_path: Path) -> None:
    with closing(GatewayProcess(tmp_path, max_connections=4)) as gateway:
        busy = [connect(gateway) for _ in range(4)]
        for peer in busy:
            peer.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.3)
        answer = exchange(gateway, b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert problem(answer)[0] == 503
        assert b"retry-after: 1" in answer.lower()
        with connect(gateway) as probe:
            assert is_healthy(probe)
        assert "all that may be" in gateway.log
        for peer in busy:
            peer.close()


def test_a_client_that_goes_away_is_counted_as_499(gateway: GatewayProcess) -> None:
    peer = connect(gateway)
    peer.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    time.sleep(0.2)
    # A reset, not an orderly end.
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    deadline = time.monotonic() + 10
    while '"status": 499' not in gateway.log:
        assert time.monotonic() < deadline, gateway.log
        time.sleep(0.05)


def test_the_limit_of_descriptors_is_raised_for_the_connections() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert connection_limit(400) == 400
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 528
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_an_upload_that_trickles_gets_408_and_the_connection_is_closed(tmp_path: Path) -> None:
    with closing(GatewayProcess(tmp_path, upload_timeout_s=0.4)) as gateway, connect(gateway) as peer:
        peer.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nabc")
        answer = read_all(peer)
        status, document = problem(answer)
        assert (status, document["title"]) == (408, "Upload timeout")
        assert b"connection: close" in answer.lower()


def test_bodies_over_the_budget_are_refused_before_they_are_read(tmp_path: Path) -> None:
    with closing(GatewayProcess(tmp_path, body_memory_bytes=34 * 2**20)) as gateway:
        megabytes = 9
        holders = [connect(gateway) for _ in range(3)]
        for peer in holders:
            size = megabytes * 2**20
            peer.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size - 1))
        time.sleep(0.5)
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (8 * 2**20)
        status, document = problem(exchange(gateway, head.replace(b"Host: x", b"Host: x\r\nConnection: close")))
        assert (status, document["title"]) == (503, "Overloaded")
        for peer in holders:
            peer.close()
        time.sleep(0.5)
        with connect(gateway) as peer:
            peer.sendall(head + bytes(8 * 2**20))
            assert peer.recv(12) == b"HTTP/1.1 415"


def test_feedback_is_not_read_before_its_key_is_known(tmp_path: Path) -> None:
    with closing(GatewayProcess(tmp_path, admin_key="k" * 16)) as gateway:
        head = b"POST /feedback HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n"
        # Not a byte of the body is sent.
        assert problem(exchange(gateway, head))[0] == 401


def test_a_probe_does_not_wait_for_a_crowd(gateway: GatewayProcess) -> None:
    crowd = [connect(gateway) for _ in range(400)]
    with connect(gateway) as probe:
        assert is_healthy(probe)
        for peer in crowd:
            peer.sendall(b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        start = time.monotonic()
        assert is_healthy(probe)
        waited = time.monotonic() - start
        answers = [read_all(peer) for peer in crowd]
        all_took = time.monotonic() - start
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 404"}
    assert waited < all_took / 1.5, (waited, all_took)
    for peer in crowd:
        peer.close()
