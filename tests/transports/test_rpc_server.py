"""The server itself: its port, TLS, and how it stops."""

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.transports.calling import BOUNDS, channel_to, failure_of, gateway, trailer_of

from lookonce.errors import GatewayFailed
from lookonce.inference.fake import Fake
from lookonce.pipeline.stages import Bounds
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.proto.lookonce.v1.detection_pb2_grpc import DetectionStub
from lookonce.transports.rpc.server import LARGEST_MESSAGE_BYTES, Pem, grpc_server, largest_message_bytes

FakeOf = Callable[..., Fake]


@pytest.fixture(scope="session")
def pem() -> Pem:
    """A certificate for this machine's own name, signed by itself."""
    key = new_secret()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pem(certificate.public_bytes(serialization.Encoding.PEM), _secret_of(key))


def new_secret() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _secret_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


async def test_tls_is_served_from_its_pem(fake_of: FakeOf, png: bytes, pem: Pem) -> None:
    trusting = grpc.ssl_channel_credentials(pem.certificate)
    async with gateway(fake_of(), tls=pem, credentials=trusting) as running:
        assert (await running.stub.Detect(wire.DetectRequest(images=[png]))).results
        async with channel_to(running.port) as plain:
            error = await failure_of(DetectionStub(plain).ListModels(wire.ListModelsRequest(), timeout=5))
    assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_a_key_is_not_shown(pem: Pem) -> None:
    assert "PRIVATE" not in repr(pem)


async def test_a_port_that_is_taken_is_told_of(fake_of: FakeOf) -> None:
    async with gateway(fake_of()) as running:
        with pytest.raises(GatewayFailed, match=rf"cannot listen on 127.0.0.1:{running.port}; .*GRPC_PORT\.$"):
            grpc_server(running.service, host="127.0.0.1", port=running.port)


async def test_what_is_no_certificate_or_not_its_key_is_told_of(fake_of: FakeOf, pem: Pem) -> None:
    async with gateway(fake_of()) as running:
        for wrong in Pem(b"no certificate", b"no key"), Pem(pem.certificate, _secret_of(new_secret())):
            with pytest.raises(GatewayFailed, match="LOOKONCE_TLS__KEY as PEM files that belong together"):
                grpc_server(running.service, host="127.0.0.1", port=0, tls=wrong)


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python knows no IPv6")
async def test_an_ipv6_host_is_taken_as_it_is_written(fake_of: FakeOf) -> None:
    async with gateway(fake_of()) as running:
        server, port = grpc_server(running.service, host="::1", port=0)
        assert port > 0
        await server.stop(None)


def test_a_message_may_hold_all_pictures_unless_that_is_too_much() -> None:
    assert largest_message_bytes(BOUNDS) > BOUNDS.max_images * BOUNDS.max_bytes
    huge = Bounds(max_bytes=2**30, max_pixels=1, max_images=16)
    assert 2**30 < largest_message_bytes(huge) < 2**31
    assert largest_message_bytes(Bounds(2**25, 1, 16)) < 2 * LARGEST_MESSAGE_BYTES


async def test_stopping_finishes_what_is_under_way_and_refuses_what_is_new(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        fake.latency_s = {"echo": 0.3}
        call = running.stub.Detect(wire.DetectRequest(images=[png]))
        async with asyncio.timeout(10):
            while not fake.calls:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        stopping = asyncio.create_task(running.server.stop(10))
        assert (await call).results
        await stopping
        error = await failure_of(running.stub.Detect(wire.DetectRequest(images=[png]), timeout=5))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_draining_gateway_refuses_new_calls_in_words(fake_of: FakeOf, png: bytes) -> None:
    async with gateway(fake_of()) as running:
        running.service.life.draining.set()
        for call in running.stub.Detect(wire.DetectRequest(images=[png])), running.stub.DetectStream():
            error = await failure_of(call)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert error.details().startswith("this gateway is shutting down")


async def test_a_draining_gateway_says_so_whatever_else_is_wrong(fake_of: FakeOf, png: bytes) -> None:
    """Also while it waits for somebody to leave, where there is no room and where nobody knows the caller."""
    fake = fake_of()
    async with gateway(fake, requests=1) as running:
        fake.latency_s = {"echo": 600.0}
        staying = running.stub.Detect(wire.DetectRequest(images=[png]), timeout=60)
        async with asyncio.timeout(10):
            while not fake.calls:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.service.life.draining.set()
        emptied = asyncio.create_task(running.service.requests.empty())
        for call in (
            running.stub.Detect(wire.DetectRequest(images=[png])),
            running.stub.ListModels(wire.ListModelsRequest()),
            running.stub.DetectStream(),
        ):
            error = await failure_of(call)
            assert (error.code(), trailer_of(error)["lookonce-code"]) == (grpc.StatusCode.UNAVAILABLE, "draining")
        assert await running.channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
        staying.cancel()
        await asyncio.wait_for(emptied, 10)


async def test_a_name_is_one_address_the_first(fake_of: FakeOf, png: bytes) -> None:
    first = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)[0][4][0]
    async with gateway(fake_of()) as running:
        server, port = grpc_server(running.service, host="localhost", port=0)
        other = {"127.0.0.1": "::1", "::1": "127.0.0.1"}[first]
        with socket.socket(socket.AF_INET6 if ":" in other else socket.AF_INET) as free:
            free.bind((other, port))
        await server.stop(None)


async def test_a_host_that_nobody_knows_is_told_of(fake_of: FakeOf) -> None:
    async with gateway(fake_of()) as running:
        with pytest.raises(GatewayFailed, match=r"cannot listen on nowhere\.invalid .*LOOKONCE_SERVER__HOST"):
            grpc_server(running.service, host="nowhere.invalid", port=0)


async def test_the_access_log_can_be_left_out(fake_of: FakeOf, png: bytes) -> None:
    async with gateway(fake_of()) as running:
        server, port = grpc_server(running.service, host="127.0.0.1", port=0, tells=False)
        await server.start()
        async with channel_to(port) as channel:
            assert (await DetectionStub(channel).Detect(wire.DetectRequest(images=[png]))).results
        await server.stop(None)
    assert running.lines == []
