import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest

from wire import serving_pb2 as pb

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1; its key is beside it."""
    path = tmp_path / "server.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(path), "-keyout", str(path.with_suffix(".key"))]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return path


@pytest.fixture
def credentials(certificate: Path) -> grpc.ServerCredentials:
    key = certificate.with_suffix(".key")
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])


@pytest.fixture
async def secure_address(credentials: grpc.ServerCredentials) -> AsyncIterator[str]:
    async def status(request: pb.GetModelStatusRequest, context: grpc.aio.ServicerContext) -> pb.GetModelStatusResponse:
        available = pb.ModelVersionStatus(version=1, state=pb.ModelVersionStatus.AVAILABLE)
        return pb.GetModelStatusResponse(model_version_status=[available])

    handler = grpc.unary_unary_rpc_method_handler(
        status,
        request_deserializer=pb.GetModelStatusRequest.FromString,
        response_serializer=pb.GetModelStatusResponse.SerializeToString,
    )
    server = grpc.aio.server()
    service = grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", {"GetModelStatus": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_the_named_authority_is_trusted(open_gateway: Callable, secure_address: str, certificate: Path) -> None:
    tls = {"model_server_tls": True, "model_server_ca": certificate}
    async with open_gateway(model_server=secure_address, **tls) as client:
        assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("tls", [True, False])
async def test_nothing_else_is(open_gateway: Callable, secure_address: str, tls: bool) -> None:
    async with open_gateway(model_server=secure_address, model_server_tls=tls) as client:
        assert (await client.get("/readyz")).status_code == 503
