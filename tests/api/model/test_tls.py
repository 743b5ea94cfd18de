"""TLS to the model server, one way and both ways, with certificates made here."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from pydantic import ValidationError

from api.settings import Settings
from wire import serving_pb2 as pb

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """Signs certificates, whose keys are beside them."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.pem = folder / f"{name}.pem"
        self._openssl("req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={name}", *self._out(self.pem))

    def sign(self, name: str, alternative: str, *, days: int = 2) -> Path:
        """
        Args:
            alternative: whom it is for, such as DNS:localhost.
            days: that it is valid from now on; less than 0 for one that was.
        """
        pem, request, extensions = (self._folder / f"{name}.{kind}" for kind in ("pem", "csr", "ext"))
        extensions.write_text(f"subjectAltName={alternative}\n")
        self._openssl("req", "-new", *KEY, "-subj", f"/CN={name}", "-out", request, "-keyout", pem.with_suffix(".key"))
        authority = ["-CA", self.pem, "-CAkey", self.pem.with_suffix(".key"), "-CAcreateserial"]
        files = ["-in", request, "-extfile", extensions, "-out", pem]
        self._openssl("x509", "-req", *authority, *files, "-days", str(days))
        return pem

    @staticmethod
    def _out(pem: Path) -> list[str | Path]:
        return ["-out", pem, "-keyout", pem.with_suffix(".key")]

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """Another authority."""
    return Authority(tmp_path, "stranger")


def credentials(certificate: Path, clients: Path | None) -> grpc.ServerCredentials:
    pair = (certificate.with_suffix(".key").read_bytes(), certificate.read_bytes())
    roots = clients.read_bytes() if clients else None
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=clients is not None)


@asynccontextmanager
async def secure_server(certificate: Path, *, clients: Path | None = None) -> AsyncIterator[int]:
    """Its port on 127.0.0.1.

    Args:
        clients: the authority whose certificates clients must show; None asks for none.
    """

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
    port = server.add_secure_port("127.0.0.1:0", credentials(certificate, clients))
    await server.start()
    yield port
    await server.stop(None)


async def readiness(open_gateway: Callable, target: str, **settings: object) -> int:
    async with open_gateway(model_server=target, **settings) as client:
        status: int = (await client.get("/readyz")).status_code
        return status


async def test_the_named_authority_is_trusted_and_nothing_else(
    open_gateway: Callable, authority: Authority, stranger: Authority
) -> None:
    async with secure_server(authority.sign("server", "IP:127.0.0.1")) as port:
        target, tls = f"127.0.0.1:{port}", {"model_server_tls": True}
        assert await readiness(open_gateway, target, **tls, model_server_ca=authority.pem) == 200
        assert await readiness(open_gateway, target, **tls, model_server_ca=stranger.pem) == 503
        # That of the system.
        assert await readiness(open_gateway, target, **tls) == 503
        assert await readiness(open_gateway, target, model_server_tls=False) == 503


@pytest.mark.parametrize("form", ["localhost:{}", "dns:localhost:{}", "dns:///localhost:{}"])
@pytest.mark.parametrize(("alternative", "status"), [("DNS:localhost", 200), ("DNS:elsewhere,IP:127.0.0.1", 503)])
async def test_a_certificate_is_for_the_name_and_not_for_the_address_that_was_looked_up(
    open_gateway: Callable, authority: Authority, form: str, alternative: str, status: int
) -> None:
    async with secure_server(authority.sign("server", alternative)) as port:
        tls = {"model_server_tls": True, "model_server_ca": authority.pem}
        assert await readiness(open_gateway, form.format(port), **tls) == status


async def test_each_of_several_addresses_shows_a_certificate_of_its_own(
    open_gateway: Callable, authority: Authority
) -> None:
    async with AsyncExitStack() as stack:
        certificates = [authority.sign(name, "IP:127.0.0.1") for name in ("first", "second")]
        ports = [await stack.enter_async_context(secure_server(certificate)) for certificate in certificates]
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        async with open_gateway(model_server=target, model_server_tls=True, model_server_ca=authority.pem) as client:
            assert [(await client.get("/readyz")).status_code for _ in range(4)] == [200] * 4


@pytest.mark.parametrize(("alternative", "days"), [("IP:127.0.0.1", -1), ("IP:10.0.0.1", 2), ("DNS:localhost", 2)])
async def test_certificates_that_are_past_their_time_or_for_another_address(
    open_gateway: Callable, authority: Authority, alternative: str, days: int
) -> None:
    async with secure_server(authority.sign("server", alternative, days=days)) as port:
        tls = {"model_server_tls": True, "model_server_ca": authority.pem}
        assert await readiness(open_gateway, f"127.0.0.1:{port}", **tls) == 503


async def test_a_server_that_asks_who_we_are(open_gateway: Callable, authority: Authority, stranger: Authority) -> None:
    server = authority.sign("server", "IP:127.0.0.1")
    ours, others = authority.sign("gateway", "DNS:gateway"), stranger.sign("other", "DNS:gateway")
    async with secure_server(server, clients=authority.pem) as port:
        target, tls = f"127.0.0.1:{port}", {"model_server_tls": True, "model_server_ca": authority.pem}

        def shown(certificate: Path) -> dict[str, Path]:
            return {"model_server_cert": certificate, "model_server_key": certificate.with_suffix(".key")}

        assert await readiness(open_gateway, target, **tls, **shown(ours)) == 200
        assert await readiness(open_gateway, target, **tls, **shown(others)) == 503
        assert await readiness(open_gateway, target, **tls) == 503


def test_files_that_cannot_work_are_refused_at_start(tmp_path: Path, authority: Authority) -> None:
    first, second = (authority.sign(name, "DNS:gateway") for name in ("first", "second"))
    junk, locked = tmp_path / "junk.pem", tmp_path / "locked.key"
    junk.write_text("no PEM")
    encrypt = ["ec", "-in", first.with_suffix(".key"), "-out", locked, "-aes256", "-passout", "pass:secret"]
    subprocess.run(["openssl", *encrypt], check=True, capture_output=True)

    def refusal(**settings: object) -> str:
        with pytest.raises(ValidationError) as refused:
            Settings(**{f"model_server_{name}": value for name, value in settings.items()})
        [error] = refused.value.errors()
        return str(error["msg"])

    pair = {"cert": first, "key": first.with_suffix(".key")}
    assert Settings(model_server_tls=True, **{f"model_server_{name}": file for name, file in pair.items()})
    assert "EMOTION_MODEL_SERVER_TLS is off" in refusal(**pair)
    assert "together or not at all" in refusal(tls=True, cert=first)
    assert "together or not at all" in refusal(tls=True, key=first.with_suffix(".key"))
    assert "CA is no PEM file" in refusal(tls=True, ca=junk)
    for key in (second.with_suffix(".key"), junk, locked):
        assert "of a certificate and its key" in refusal(tls=True, cert=first, key=key)
    assert "of a certificate and its key" in refusal(tls=True, cert=junk, key=first.with_suffix(".key"))
