"""The way to a model server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from serving.errors import ServingError
from serving.rollout.client import available, connect
from wire import serving_pb2 as pb


@pytest.fixture
def address() -> Iterator[str]:
    """A server that has version 1 of everything."""
    status = pb.ModelVersionStatus(version=1, state=pb.ModelVersionStatus.AVAILABLE)
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, context: pb.GetModelStatusResponse(model_version_status=[status]),
        request_deserializer=pb.GetModelStatusRequest.FromString,
        response_serializer=pb.GetModelStatusResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(1))
    service = grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", {"GetModelStatus": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_no_proxy_is_on_the_way(address: str, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_tcp_port}")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with connect(address) as server:
        assert available(server.states("residual")) == {1}


@pytest.mark.parametrize("wrong", ["http://localhost:8500", "localhost", ":8500", "localhost:85000"])
def test_an_address_that_cannot_work_is_refused(wrong: str) -> None:
    with pytest.raises(ServingError, match="8500"), connect(wrong):
        pass
