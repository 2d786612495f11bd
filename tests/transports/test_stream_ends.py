"""How streams end, and that nothing of them is left behind."""

import asyncio
import socket as plain
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.transports.gateways import Fakes
from tests.transports.streaming import Streaming, asked, goodbye, heard, looked_at, streaming
from tests.waiting import until
from websockets.asyncio.client import ClientConnection, connect

from lookonce.access.keyring import Keyring
from lookonce.access.keys import Client, clients_to_json, hash_of
from lookonce.card import Card
from lookonce.inference.fake import Fake
from lookonce.inference.port import Call, Candidates, ServedModel
from lookonce.transports.service import STRANGERS, Patience

MANY = 1000
KEYS = [
    Client("camera", (hash_of("lo_camera"),), concurrency=1),
    Client("guest", (hash_of("lo_guest"),), models=("other",)),
    Client("slow", (hash_of("lo_slow"),), images_per_s=0.01, burst=1),
]


@pytest.fixture(autouse=True)
def _the_server_has_nothing_to_worry_about(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [record.getMessage() for record in caplog.get_records("call") if record.name.startswith("uvicorn")]


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    file = tmp_path / "keys.json"
    file.write_bytes(clients_to_json(KEYS))
    return Keyring(file, lambda _event, _facts: None)


async def test_a_client_that_vanishes_takes_its_work_along(fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with streaming(fake, patience=Patience(request_s=300, max_request_s=300)) as gateway:
        before, fake.latency_s = len(fake.calls), {"echo": 600.0}
        socket = await connect(gateway.url)
        await socket.send(png)
        await until(lambda: len(fake.calls) > before)
        assert gateway.service.detector.admission.in_flight == 1
        socket.transport.abort()
        await until(lambda: gateway.service.detector.admission.in_flight == 0)
        await until(lambda: gateway.service.streams.in_flight == 0)
        await until(lambda: len(gateway.ended()) == 1)
    assert gateway.ended()[0]["answered"] == 0


async def test_a_silent_stream_is_closed(fake_of: Fakes, png: bytes) -> None:
    async with streaming(fake_of(), patience=Patience(body_s=0.2, idle_s=0.4)) as gateway:
        async with connect(gateway.url) as mute:
            assert await goodbye(mute) == (1000, "idle")
        async with connect(gateway.url) as tired:
            await looked_at(tired, png)
            assert await goodbye(tired) == (1000, "idle")
        await until(lambda: len(gateway.ended()) == 2)
    assert [(line["reason"], line["frames"]) for line in gateway.ended()] == [("idle", 0), ("idle", 1)]


async def test_the_frame_that_is_looked_at_is_answered_before_a_silent_stream_is_closed(
    fake_of: Fakes, png: bytes
) -> None:
    fake = fake_of()
    async with streaming(fake, patience=Patience(idle_s=0.1)) as gateway, connect(gateway.url) as socket:
        fake.latency_s = {"echo": 0.6}
        assert (await looked_at(socket, png))["frame"] == 1
        assert await goodbye(socket) == (1000, "idle")


async def test_a_shutdown_answers_the_newest_frame_and_closes(fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with streaming(fake) as gateway, connect(gateway.url) as socket:
        before, fake.latency_s = len(fake.calls), {"echo": 0.4}
        await socket.send(png)
        await until(lambda: len(fake.calls) > before)
        gateway.service.life.draining.set()
        assert (await heard(socket))["frame"] == 1
        assert await goodbye(socket) == (1001, "draining")
        async with connect(gateway.url) as late:
            assert (await heard(late))["error"]["code"] == "draining"
            assert await goodbye(late) == (1001, "draining")


async def test_a_stream_too_many_is_told_to_come_back(fake_of: Fakes, png: bytes) -> None:
    async with streaming(fake_of(), max_streams=1) as gateway:
        async with connect(gateway.url) as first:
            await looked_at(first, png)
            async with connect(gateway.url) as second:
                assert (await heard(second))["error"]["code"] == "overloaded"
                assert await goodbye(second) == (1013, "overloaded")
            assert (await looked_at(first, png))["frame"] == 2
        await until(lambda: gateway.service.streams.in_flight == 0)
        async with connect(gateway.url) as third:
            assert (await looked_at(third, png))["frame"] == 1


async def test_a_message_over_the_limit_takes_the_frame_before_it_along(fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with streaming(fake, patience=Patience(request_s=60)) as gateway, connect(gateway.url) as socket:
        before, fake.latency_s = len(fake.calls), {"echo": 60.0}
        await socket.send(png)
        await until(lambda: len(fake.calls) > before)
        await socket.send(bytes(2 * 2**20 + 1))
        assert (await goodbye(socket))[0] == 1009
        await until(lambda: gateway.service.detector.admission.in_flight == 0)
        await until(lambda: len(gateway.ended()) == 1)
    assert gateway.ended()[0]["code"] == 1009


async def test_the_key_may_stand_in_the_first_message_or_in_a_header(
    fake_of: Fakes, keyring: Keyring, png: bytes
) -> None:
    async with streaming(fake_of(), gate=keyring) as gateway:
        async with connect(gateway.url) as browser:
            assert "ready" in await asked(browser, {"key": "lo_camera"})
            assert (await looked_at(browser, png))["frame"] == 1
        await until(lambda: gateway.service.streams.in_flight == 0)
        for headers in ({"X-API-Key": "lo_camera"}, {"Authorization": "Bearer lo_camera"}):
            async with connect(gateway.url, additional_headers=headers) as camera:
                assert (await looked_at(camera, png))["frame"] == 1
            await until(lambda: gateway.service.streams.in_flight == 0)
    assert [line["client"] for line in gateway.ended()] == ["camera"] * 3
    assert "lo_camera" not in str(gateway.lines)


async def test_without_a_good_key_nothing_is_looked_at(fake_of: Fakes, keyring: Keyring, png: bytes) -> None:
    fake = fake_of()
    async with streaming(fake, gate=keyring, patience=Patience(body_s=0.3)) as gateway:
        before = len(fake.calls)
        for first in (png, "{}", '{"key": "lo_wrong"}', '{"key": ""}'):
            async with connect(gateway.url) as socket:
                await socket.send(first)
                assert (await heard(socket))["error"]["code"] == "unauthenticated"
                assert await goodbye(socket) == (1008, "unauthenticated")
        async with connect(gateway.url) as mute:
            assert await goodbye(mute) == (1000, "idle")
    assert len(fake.calls) == before


async def test_strangers_take_no_room_of_those_who_have_a_key(fake_of: Fakes, keyring: Keyring, png: bytes) -> None:
    fake, camera = fake_of(), {"X-API-Key": "lo_camera"}
    async with streaming(fake, gate=keyring, max_streams=1) as gateway:
        mute = [await connect(gateway.url) for _ in range(STRANGERS)]
        await until(lambda: gateway.service.strangers.in_flight == STRANGERS)
        assert gateway.service.streams.in_flight == 0
        async with connect(gateway.url) as one_too_many:
            assert (await heard(one_too_many))["error"]["code"] == "overloaded"
            assert await goodbye(one_too_many) == (1013, "overloaded")
        async with connect(gateway.url, additional_headers=camera) as known:
            assert (await looked_at(known, png))["frame"] == 1
        await until(lambda: gateway.service.streams.in_flight == 0)
        assert "ready" in await asked(mute[0], {"key": "lo_camera"})
        assert (gateway.service.streams.in_flight, gateway.service.strangers.in_flight) == (1, STRANGERS - 1)
        for socket in mute:
            await socket.close()


async def test_a_wrong_key_in_a_header_is_refused_at_once(fake_of: Fakes, keyring: Keyring) -> None:
    async with (
        streaming(fake_of(), gate=keyring, patience=Patience(body_s=600)) as gateway,
        connect(gateway.url, additional_headers={"X-API-Key": "lo_wrong"}) as socket,
    ):
        assert (await heard(socket))["error"]["code"] == "unauthenticated"
        assert await goodbye(socket) == (1008, "unauthenticated")
        assert gateway.service.strangers.in_flight == 0


async def test_a_stranger_has_less_time_than_a_client(fake_of: Fakes, keyring: Keyring) -> None:
    async with (
        streaming(fake_of(), gate=keyring, patience=Patience(body_s=600)) as gateway,
        connect(gateway.url) as mute,
        asyncio.timeout(30),
    ):
        assert await goodbye(mute) == (1000, "idle")


async def test_a_stranger_who_speaks_when_we_are_leaving_is_told(fake_of: Fakes, keyring: Keyring) -> None:
    async with streaming(fake_of(), gate=keyring) as gateway, connect(gateway.url) as stranger:
        await until(lambda: gateway.service.strangers.in_flight == 1)
        gateway.service.life.draining.set()
        assert (await asked(stranger, {"key": "lo_camera"}))["error"]["code"] == "draining"
        assert await goodbye(stranger) == (1001, "draining")


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "lo_camera"}])
async def test_another_key_in_a_later_message_is_refused(
    fake_of: Fakes, keyring: Keyring, headers: dict[str, str]
) -> None:
    async with (
        streaming(fake_of(), gate=keyring) as gateway,
        connect(gateway.url, additional_headers=headers) as socket,
    ):
        for _ in range(2):
            assert "ready" in await asked(socket, {"key": "lo_camera"})
        assert "ready" in await asked(socket, {})
        assert "two keys" in (await asked(socket, {"key": "lo_wrong"}))["error"]["detail"]
        assert await goodbye(socket) == (1008, "unauthenticated")


async def test_two_keys_that_differ_are_refused(fake_of: Fakes, keyring: Keyring) -> None:
    async with (
        streaming(fake_of(), gate=keyring) as gateway,
        connect(gateway.url, additional_headers={"X-API-Key": "lo_guest"}) as socket,
    ):
        assert "two keys" in (await asked(socket, {"key": "lo_camera"}))["error"]["detail"]
        assert await goodbye(socket) == (1008, "unauthenticated")


async def test_a_model_that_the_key_may_not_use_is_refused(fake_of: Fakes, keyring: Keyring) -> None:
    async with streaming(fake_of("echo", "other"), gate=keyring) as gateway, connect(gateway.url) as socket:
        assert (await asked(socket, {"key": "lo_guest", "model": "other"}))["ready"]["model"]["name"] == "other"
        assert (await asked(socket, {"model": "echo"}))["error"]["code"] == "forbidden"
        assert await goodbye(socket) == (1008, "forbidden")


async def test_a_client_with_too_many_streams_is_told_to_come_back(fake_of: Fakes, keyring: Keyring) -> None:
    headers = {"X-API-Key": "lo_camera"}
    async with (
        streaming(fake_of(), gate=keyring) as gateway,
        connect(gateway.url, additional_headers=headers) as first,
        connect(gateway.url, additional_headers=headers) as second,
    ):
        assert (await heard(second))["error"]["code"] == "rate-limited"
        assert await goodbye(second) == (1013, "rate-limited")
        assert "ready" in await asked(first, {})


async def test_frames_over_a_clients_rate_answer_only_themselves(fake_of: Fakes, keyring: Keyring, png: bytes) -> None:
    headers = {"X-API-Key": "lo_slow"}
    async with (
        streaming(fake_of(), gate=keyring) as gateway,
        connect(gateway.url, additional_headers=headers) as socket,
    ):
        answers = [await looked_at(socket, png) for _ in range(3)]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, "rate-limited", "rate-limited"]


async def test_a_key_that_is_revoked_ends_its_stream(
    fake_of: Fakes, keyring: Keyring, tmp_path: Path, png: bytes
) -> None:
    async with streaming(fake_of(), gate=keyring) as gateway, connect(gateway.url) as socket:
        await asked(socket, {"key": "lo_camera"})
        (tmp_path / "keys.json").write_bytes(clients_to_json([replace(KEYS[0], keys=(hash_of("lo_new"),))]))
        await keyring.refresh()
        assert (await looked_at(socket, png))["error"]["code"] == "unauthenticated"
        assert await goodbye(socket) == (1008, "unauthenticated")


def much(call: Call) -> Candidates:
    """A thousand boxes, which make an answer of a hundred kilobytes."""
    rows = np.tile(np.array([1, 2, 3, 4, 0.5, 0], np.float32), (len(call.images), MANY, 1))
    rows[:, :, 4] = np.linspace(0.9, 0.5, MANY)
    return rows


@pytest.fixture
def talkative(card_of: Callable[..., Card]) -> Fake:
    return Fake({"echo": ServedModel("echo", 1, {1: card_of(candidates=MANY)})}, script=much)


async def deaf(gateway: Streaming) -> ClientConnection:
    """A client with hardly any room for answers."""
    line = plain.socket()
    line.setsockopt(plain.SOL_SOCKET, plain.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", gateway.port))
    socket = await connect(gateway.url, sock=line, max_queue=1)
    assert "ready" in await asked(socket, {"options": {"max_detections": MANY}})
    return socket


async def filled(socket: ClientConnection, calls: list[Call], png: bytes) -> int:
    """Send frames until the answers have nowhere to go; how many were sent."""
    sent, looked, since = 0, 0, 0
    while since < 50:
        await socket.send(png)
        await asyncio.sleep(0.01)
        sent, since, looked = sent + 1, since + 1 if len(calls) == looked else 0, len(calls)
        assert sent < 2000, "the answers of every frame found room"
    return sent


async def test_a_client_that_does_not_read_loses_frames_and_never_the_newest(talkative: Fake, png: bytes) -> None:
    async with streaming(talkative) as gateway:
        socket = await deaf(gateway)
        sent = await filled(socket, talkative.calls, png)
        answer = await heard(socket)
        while answer["frame"] < sent:
            answer = await heard(socket)
        assert answer["dropped"] >= 40
        assert (await looked_at(socket, png))["frame"] == sent + 1
        await socket.close()


async def test_a_client_that_never_reads_is_let_go(talkative: Fake, png: bytes) -> None:
    async with streaming(talkative, patience=Patience(idle_s=1.0)) as gateway:
        socket = await deaf(gateway)
        while not gateway.ended():
            await socket.send(png)
            await asyncio.sleep(0.01)
        socket.transport.abort()
        assert gateway.service.streams.in_flight == 0
    assert gateway.ended()[0]["reason"] == "answers are not read"
