"""How many bytes of pictures are held at once, however they come, and that all of them are given back."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transports.calling import failure_of, trailer_of
from tests.transports.calling import gateway as rpc_gateway
from tests.transports.gateways import Fakes, Gateway, Serve
from tests.transports.test_fetching import HOST, fetcher_for, origin
from tests.waiting import until

from lookonce.app import build
from lookonce.errors import Overloaded
from lookonce.settings import read_settings
from lookonce.transports.compat import deepstack
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.weighing import Scales

MOST = 100_000
JPEG = "image/jpeg"


@pytest.fixture
async def gateway(serve: Serve, fake_of: Fakes) -> AsyncIterator[Gateway]:
    """Takes 100 kB of bodies at once, and leaves none on the scales."""
    async with serve(fake_of(), scales=Scales(MOST)) as running:
        yield running
        await until(lambda: running.service.scales.held_bytes == 0)


@asynccontextmanager
async def sending(gateway: Gateway, head: str, body: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """A caller who sends so much and then nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Type: {JPEG}\r\n{head}\r\n\r\n".encode() + body)
    try:
        yield reader
    finally:
        writer.transport.abort()


async def refusal_on(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"}")
    assert answer.startswith(b"HTTP/1.1 429")
    assert b"retry-after: 1" in answer.lower()
    assert b'"code":"overloaded"' in answer
    return answer


async def test_what_has_come_of_a_body_counts_until_its_caller_leaves(gateway: Gateway) -> None:
    scales = gateway.service.scales
    async with sending(gateway, "Content-Length: 90000", bytes(60_000)):
        await until(lambda: scales.held_bytes == 60_000)
        async with sending(gateway, "Content-Length: 50000", b"") as refused:
            assert b"may have 100000 bytes together" in await refusal_on(refused)
        assert (await gateway.http.post("/v1/detect", content=bytes(40_000))).status_code == 415
        assert scales.held_bytes == 60_000
    await until(lambda: scales.held_bytes == 0)
    assert (await gateway.http.post("/v1/detect", content=bytes(90_000))).status_code == 415


async def test_a_body_of_unknown_length_is_refused_when_it_no_longer_fits(gateway: Gateway) -> None:
    chunk = b"%x\r\n%b\r\n" % (30_000, bytes(30_000))
    async with sending(gateway, "Content-Length: 90000", bytes(60_000)):
        await until(lambda: gateway.service.scales.held_bytes == 60_000)
        async with sending(gateway, "Transfer-Encoding: chunked", chunk * 2) as refused:
            await refusal_on(refused)
        await until(lambda: gateway.service.scales.held_bytes == 60_000)


async def test_a_length_that_is_only_declared_takes_no_room_from_others(gateway: Gateway) -> None:
    async with sending(gateway, "Content-Length: 100000", b"") as idle:
        answer = await gateway.http.post("/v1/detect", content=bytes(90_000))
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media")
        assert not idle.at_eof()


async def test_a_body_counts_until_it_is_answered(serve: Serve, fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with serve(fake, scales=Scales(len(png) * 3 // 2)) as gateway:
        fake.latency_s = {"echo": 20.0}
        first = asyncio.create_task(gateway.http.post("/v1/detect", content=png))
        await until(lambda: len(fake.calls) == 1)
        refused = await gateway.http.post("/v1/detect", content=png)
        first.cancel()
        await until(lambda: gateway.service.scales.held_bytes == 0)
        fake.latency_s = {}
        assert (await gateway.http.post("/v1/detect", content=png)).status_code == 200
        assert gateway.service.scales.held_bytes == 0
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")


async def test_other_services_routes_stand_on_the_same_scales(serve: Serve, fake_of: Fakes, png: bytes) -> None:
    async with serve(fake_of(), scales=Scales(MOST), apis=(deepstack,)) as gateway:
        with gateway.service.scales.load() as load:
            load.add(MOST)
            refused = await gateway.http.post("/v1/vision/detection", files={"image": png})
        good = await gateway.http.post("/v1/vision/detection", files={"image": png})
    assert (refused.status_code, refused.headers["retry-after"], refused.json()["success"]) == (429, "1", False)
    assert (good.status_code, gateway.service.scales.held_bytes) == (200, 0)


async def test_a_grpc_message_is_weighed_when_it_has_come(fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with rpc_gateway(fake, scales=Scales(len(png) * 3 // 2)) as gateway:
        fake.latency_s = {"echo": 20.0}
        first = gateway.stub.Detect(wire.DetectRequest(images=[png]))
        await until(lambda: len(fake.calls) == 1)
        error = await failure_of(gateway.stub.Detect(wire.DetectRequest(images=[png])))
        first.cancel()
        await until(lambda: gateway.service.scales.held_bytes == 0)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailer_of(error)["lookonce-code"] == "overloaded"


async def test_a_picture_by_url_is_weighed_too_and_refused_in_its_place(
    serve: Serve, fake_of: Fakes, png: bytes
) -> None:
    async with origin(b"HTTP/1.1 200 OK\r\n\r\n", bytes(50_000)) as host:
        fetcher = fetcher_for(f"{HOST}:{host.port}", max_bytes=60_000)
        url = {"url": f"http://{HOST}:{host.port}/"}
        async with serve(fake_of(), scales=Scales(MOST), fetcher=fetcher) as gateway:
            with gateway.service.scales.load() as load:
                load.add(10_000)
                answer = await gateway.http.post("/v1/detect", json={"images": [url, url]})
            alone = await gateway.http.post("/v1/detect", json={"images": [url]})
            assert gateway.service.scales.held_bytes == 0
    assert {each["error"]["code"] for each in answer.json()["results"]} == {"unsupported-media", "overloaded"}
    assert (alone.status_code, alone.json()["code"]) == (415, "unsupported-media")


async def test_a_lone_body_has_room_even_where_what_stands_around_the_pictures_makes_it_longer(
    serve: Serve, fake_of: Fakes, png: bytes
) -> None:
    async with serve(fake_of(), scales=Scales(len(png))) as gateway:
        for _ in range(2):
            answer = await gateway.http.post("/v1/detect", files={"file": png})
            assert answer.status_code == 200
        assert gateway.service.scales.held_bytes == 0


@given(sizes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 120)), max_size=30))
def test_never_more_is_held_than_there_may_be_and_nothing_in_the_end(sizes: list[tuple[int, int]]) -> None:
    scales = Scales(100)
    with scales.load() as one, scales.load() as two, scales.load() as three:
        for index, size in sizes:
            try:
                (one, two, three)[index].add(size)
            except Overloaded:
                assert scales.held_bytes + size > 100
            assert scales.held_bytes == one.size_bytes + two.size_bytes + three.size_bytes <= 100
    assert scales.held_bytes == 0


async def test_the_setting_is_what_the_scales_of_the_gateway_have(fake_of: Fakes) -> None:
    gateway = build(read_settings(limits={"max_body_bytes": 2**30}), fake_of())
    await gateway.close()
    assert gateway.service.scales == Scales(2**30)


async def test_many_callers_at_once_are_answered_or_told_when_to_come_again(gateway: Gateway) -> None:
    async with asyncio.TaskGroup() as group:
        body = json.dumps({"images": [{"base64": "QUJD" * 10_000}]}).encode()
        headers = {"Content-Type": "application/json"}
        asked = [group.create_task(gateway.http.post("/v1/detect", content=body, headers=headers)) for _ in range(24)]
    answers: list[httpx.Response] = [each.result() for each in asked]
    assert {answer.status_code for answer in answers} <= {415, 429}
    assert 415 in {answer.status_code for answer in answers}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
