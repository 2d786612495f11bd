"""The three doors: what each shows, TLS, and ports that cannot be had."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
from tests.certificates import self_signed
from tests.serving.conftest import Gateways
from websockets.asyncio.client import connect

from lookonce.app import build
from lookonce.doors import Address, listen
from lookonce.errors import GatewayFailed, SettingsRefused
from lookonce.inference.fake import Fake
from lookonce.inference.port import ServedModel
from lookonce.settings import read_settings
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.proto.lookonce.v1.detection_pb2_grpc import DetectionStub


@pytest.fixture
def fake(card_of: Callable[..., object]) -> Fake:
    return Fake({"echo": ServedModel("echo", 1, {1: card_of()})})


async def test_every_public_door_speaks_tls(gateway: Gateways, fake: Fake, png: bytes, tmp_path: Path) -> None:
    tls = self_signed(tmp_path)
    certificate, key = tls.certificate, tls.key
    trusting = ssl.create_default_context(cafile=certificate)
    async with gateway(fake, tls={"certificate": certificate, "key": key}) as ports:
        async with httpx.AsyncClient(verify=trusting) as http:
            answer = await http.post(f"https://localhost:{ports.http}/v1/detect", content=png)
            assert answer.status_code == 200
        async with connect(f"wss://localhost:{ports.http}/v1/stream", ssl=trusting, proxy=None) as stream:
            await stream.send(png)
            assert '"frame":1' in str(await stream.recv())
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        async with grpc.aio.secure_channel(f"localhost:{ports.grpc}", credentials) as channel:
            answered = await DetectionStub(channel).Detect(wire.DetectRequest(images=[png]), timeout=20)
            assert len(answered.results) == 1
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.HTTPError):
                await http.get(f"http://localhost:{ports.http}/healthz")


async def test_metrics_stand_on_the_admin_door_and_beside_it_on_loopback_alone(gateway: Gateways, fake: Fake) -> None:
    for shown, status in ((None, 200), (False, 404)):
        async with gateway(fake, server={"public_metrics": shown}) as ports, httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{ports.admin}/metrics")).status_code == 200
            assert (await http.get(f"http://127.0.0.1:{ports.http}/metrics")).status_code == status


async def test_beyond_loopback_metrics_are_not_for_strangers(gateway: Gateways, fake: Fake) -> None:
    settings = {"server": {"host": "0.0.0.0"}, "keys": {"anonymous": True}}
    async with gateway(fake, **settings) as ports, httpx.AsyncClient() as http:
        assert (await http.get(f"http://127.0.0.1:{ports.http}/metrics")).status_code == 404
        assert (await http.get(f"http://127.0.0.1:{ports.http}/healthz")).status_code == 200


async def test_ipv6_is_an_address_like_any_other(gateway: Gateways, fake: Fake, png: bytes) -> None:
    async with gateway(fake, server={"host": "::1"}) as ports:
        async with httpx.AsyncClient() as http:
            assert (await http.post(f"http://[::1]:{ports.http}/v1/detect", content=png)).status_code == 200
        async with grpc.aio.insecure_channel(f"[::1]:{ports.grpc}") as channel:
            await DetectionStub(channel).ListModels(wire.ListModelsRequest(), timeout=20)


async def test_everywhere_is_both_kinds_of_addresses_on_every_door(gateway: Gateways, fake: Fake, png: bytes) -> None:
    open_to_all = {"server": {"host": "::"}, "admin": {"host": "::"}, "keys": {"anonymous": True}}
    async with gateway(fake, **open_to_all) as ports:
        for host in "127.0.0.1", "[::1]":
            async with httpx.AsyncClient() as http:
                assert (await http.post(f"http://{host}:{ports.http}/v1/detect", content=png)).status_code == 200
                assert (await http.get(f"http://{host}:{ports.admin}/healthz")).status_code == 200
            async with grpc.aio.insecure_channel(f"{host}:{ports.grpc}") as channel:
                await DetectionStub(channel).ListModels(wire.ListModelsRequest(), timeout=20)


async def test_localhost_is_the_same_address_on_every_door(gateway: Gateways, fake: Fake) -> None:
    async with gateway(fake, server={"host": "localhost"}, admin={"host": "localhost"}) as ports:
        first = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)[0][4][0]
        other = {"127.0.0.1": "::1", "::1": "127.0.0.1"}[first]
        for port in ports.http, ports.grpc, ports.admin:
            socket.create_connection((first, port), 20).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((other, port), 20)


@pytest.mark.parametrize(
    ("group", "field", "variable"),
    [
        ("server", "http_port", "LOOKONCE_SERVER__HTTP_PORT"),
        ("server", "grpc_port", "LOOKONCE_SERVER__GRPC_PORT"),
        ("admin", "port", "LOOKONCE_ADMIN__PORT"),
    ],
)
async def test_a_taken_port_is_told_with_its_setting(
    gateway: Gateways, fake: Fake, group: str, field: str, variable: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.RaisesGroup(pytest.RaisesExc(GatewayFailed, match=variable), flatten_subgroups=True):
            async with gateway(fake, **{group: {field: port}}):
                pass


async def test_a_certificate_that_does_not_fit_its_key_is_refused(fake: Fake, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path).certificate
    (tmp_path / "other").mkdir()
    other_key = self_signed(tmp_path / "other").key
    for key, words in ((other_key, "do not go together"), (tmp_path / "absent", "cannot be read")):
        with pytest.raises(SettingsRefused, match=words):
            build(read_settings(tls={"certificate": certificate, "key": key}), fake)


def test_an_answer_does_not_wait_for_the_one_before_to_be_heard() -> None:
    with listen(Address("127.0.0.1", 0, "")) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_request_holds_no_more_images_than_may_be_in_flight(gateway: Gateways, fake: Fake, png: bytes) -> None:
    async with gateway(fake, limits={"max_in_flight": 2}) as ports, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{ports.http}/v1/detect"
        for images, status in ((2, 200), (3, 413)):
            files = [("file", (str(place), png)) for place in range(images)]
            assert (await http.post(url, files=files)).status_code == status
