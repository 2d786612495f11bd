"""What comes off the wire before any application is asked: bounds on heads, and no request inside another."""

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.certificates import self_signed
from tests.serving.conftest import Start
from tests.serving.wire import Caller, Echo, calling, serving
from websockets.asyncio.client import connect

from lookonce.http_protocol import (
    CROWDED,
    MALFORMED,
    MAX_AHEAD,
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    NO_TUNNEL,
    SLOW,
    TOO_LARGE,
    HttpProtocol,
    Refusal,
)

HOST = b"Host: localhost\r\n"
CHUNKED = b"POST /first HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
JAVA = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nUpgrade: h2c\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n\r\n"


class Hasty(HttpProtocol):
    head_s = 0.6


@pytest.fixture(scope="module")
async def opened_once() -> AsyncIterator[tuple[Echo, int]]:
    echo = Echo()
    async with serving(echo) as port:
        yield echo, port


@pytest.fixture
def echo(opened_once: tuple[Echo, int]) -> Echo:
    """As if nobody had called before."""
    opened_once[0].forget()
    return opened_once[0]


@pytest.fixture
def port(opened_once: tuple[Echo, int], echo: Echo) -> int:
    return opened_once[1]


@pytest.fixture
async def caller(port: int) -> AsyncIterator[Caller]:
    async with calling(port) as caller:
        yield caller


@pytest.fixture
async def hasty_caller(echo: Echo) -> AsyncIterator[Caller]:
    """Of a server that does not wait long for a head."""
    async with serving(echo, kind=Hasty) as port, calling(port) as caller:
        yield caller


LARGE = {
    "a header": [b"GET / HTTP/1.1\r\nA: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n"],
    "a header that never ends": [b"GET / HTTP/1.1\r\nA: ", *[b"a" * 2**14] * 5],
    "a path": [b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n"],
    "a path that never ends": [b"GET /", *[b"a" * 2**14] * 5],
    "many headers": [b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * (MAX_HEADERS + 1) + b"\r\n"],
    "blank lines": [b"\r\n" * MAX_HEAD_BYTES],
    "a trailer": [CHUNKED, b"0\r\nA: ", *[b"a" * 2**14] * 5],
    "an extension of a chunk": [CHUNKED, b"1;", *[b"a" * 2**14] * 5],
    "a head with an Upgrade": [b"GET / HTTP/1.1\r\n" + JAVA + b"A: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n"],
    "a head before a WebSocket": [b"GET / HTTP/1.1\r\n" + HANDSHAKE + b"A: " + b"a" * 9000 + b"\r\n\r\n"],
}


@pytest.mark.parametrize("pieces", LARGE.values(), ids=LARGE)
async def test_what_is_too_large_for_a_head_is_refused(caller: Caller, echo: Echo, pieces: list[bytes]) -> None:
    await caller.send(*pieces)
    assert await caller.refusal() == (431, "head-too-large")
    assert [path for _, path, _ in echo.seen if path != "/first"] == []


@pytest.mark.parametrize("cut", [0, 20, 40_000])
async def test_a_head_that_just_fits_is_served(caller: Caller, cut: int) -> None:
    head = b"GET / HTTP/1.1\r\nA: " + b"a" * (MAX_HEAD_BYTES - 100) + b"\r\n" + b"B: b\r\n" * 3 + b"\r\n"
    for _ in range(3):
        await caller.send(head[:cut], head[cut:])
        assert (await caller.answer())[0] == 200


async def test_a_caller_who_goes_on_sending_can_read_why_it_is_refused(caller: Caller) -> None:
    await caller.send(b"GET / HTTP/1.1\r\nA: ")
    for _ in range(50):
        caller.writer.write(b"a" * 2**18)
        await caller.writer.drain()
    assert (await caller.answer())[0] == 431


async def test_a_refusal_is_read_over_tls(echo: Echo, tmp_path: Path) -> None:
    tls = self_signed(tmp_path)
    certificate, key = tls.certificate, tls.key
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=certificate)
    async with serving(echo, own) as port, calling(port, trusting) as caller:
        await caller.send(b"GET / HTTP/1.1\r\nA: ", *[b"a" * 2**18] * 8)
        assert (await caller.answer())[0] == 431


async def test_trailers_are_no_headers(caller: Caller, echo: Echo) -> None:
    await caller.send(CHUNKED, b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
    assert (await caller.answer())[2] == b"/first 1"
    assert echo.headers == [b"transfer-encoding"]
    await caller.send(b"GET / HTTP/1.1\r\nA: a\r\n\r\n")
    assert (await caller.answer())[2] == b"/ 0"
    assert echo.headers == [b"a"]


async def test_whoever_sends_nothing_is_hung_up_on(hasty_caller: Caller) -> None:
    assert await hasty_caller.rest() == b""


async def test_blank_lines_are_nothing(hasty_caller: Caller) -> None:
    await hasty_caller.send(b"\r\n", b"\r\n")
    assert await hasty_caller.rest() == b""


@pytest.mark.parametrize("before", [b"", b"GET /first HTTP/1.1\r\n\r\n"], ids=["first", "second"])
async def test_a_head_that_does_not_end_is_refused(hasty_caller: Caller, before: bytes) -> None:
    if before:
        await hasty_caller.send(before)
        await hasty_caller.answer()
    async with asyncio.TaskGroup() as group:
        dribbling = group.create_task(hasty_caller.send(b"GET / HTTP/1.1\r\n", *[b"A: a\r\n"] * 100))
        assert await hasty_caller.refusal() == (408, "slow-head")
        dribbling.cancel()


async def test_patience_for_heads_is_none_for_bodies_nor_between_requests(hasty_caller: Caller) -> None:
    await hasty_caller.send(b"POST /first HTTP/1.1\r\nContent-Length: 2\r\n\r\na")
    await asyncio.sleep(2 * Hasty.head_s)
    await hasty_caller.send(b"b")
    assert (await hasty_caller.answer())[2] == b"/first 2"
    await asyncio.sleep(2 * Hasty.head_s)
    await hasty_caller.send(b"GET /second HTTP/1.1\r\n\r\n")
    assert (await hasty_caller.answer())[2] == b"/second 0"


async def test_an_answer_that_is_due_comes_before_a_slow_head_ends_the_connection(
    hasty_caller: Caller, echo: Echo
) -> None:
    await hasty_caller.send(b"GET /slow HTTP/1.1\r\n\r\nGET /never HTTP/1.1\r\n")
    await asyncio.sleep(2 * Hasty.head_s)
    echo.go.set()
    _, headers, body = await hasty_caller.answer()
    assert (headers["connection"], body) == ("close", b"/slow 0")
    assert await hasty_caller.rest() == b""


BODIES = {
    "a length": (b"Content-Length: 40\r\n\r\n", SMUGGLED.ljust(40)),
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n", b"28\r\n" + SMUGGLED.ljust(40) + b"\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("pieces", [1, 2], ids=["at once", "in pieces"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("upgrade", [JAVA, HANDSHAKE, HANDSHAKE + b"Upgrade: h2c\r\n"], ids=["h2c", "ws", "both"])
async def test_a_body_behind_an_upgrade_is_a_body(
    caller: Caller, echo: Echo, upgrade: bytes, body: tuple[bytes, bytes], pieces: int
) -> None:
    head = b"POST /first HTTP/1.1\r\n" + HOST + upgrade + body[0]
    for _ in range(2):
        await caller.send(*((head + body[1],) if pieces == 1 else (head[:30], head[30:], body[1][:9], body[1][9:])))
        assert (await caller.answer())[2] == b"/first 40"
    assert echo.seen == [("POST", "/first", SMUGGLED.ljust(40))] * 2
    assert b"upgrade" not in echo.headers
    assert b"host" in echo.headers


NO_WEBSOCKETS = {
    "POST": b"POST /first HTTP/1.1\r\n" + HANDSHAKE + b"\r\n",
    "an older HTTP": b"GET /first HTTP/1.0\r\n" + HANDSHAKE + b"\r\n",
    "a newer HTTP": b"GET /first HTTP/2.0\r\n" + HANDSHAKE + b"\r\n",
    "a body": b"GET /first HTTP/1.1\r\n" + HANDSHAKE + b"Content-Length: 3\r\n\r\nabc",
    "another name": b"GET /first HTTP/1.1\r\n" + HANDSHAKE.replace(b"websocket", b"websockets") + b"\r\n",
}


@pytest.mark.parametrize("request_", NO_WEBSOCKETS.values(), ids=NO_WEBSOCKETS)
async def test_what_cannot_become_a_websocket_is_answered_as_http(caller: Caller, request_: bytes) -> None:
    await caller.send(request_)
    assert (await caller.answer())[2].startswith(b"/first")


async def test_a_websocket_does_not_overtake_the_answer_before_it(caller: Caller, echo: Echo) -> None:
    await caller.send(b"GET /slow HTTP/1.1\r\n\r\nGET /second HTTP/1.1\r\n" + HANDSHAKE + b"\r\n")
    echo.go.set()
    assert [(await caller.answer())[2] for _ in range(2)] == [b"/slow 0", b"/second 0"]


async def test_a_websocket_opens_on_any_path_and_behind_an_answer(caller: Caller, port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}/anywhere", proxy=None) as stream:
        assert await stream.recv() == "/anywhere"
    await caller.send(b"GET /first HTTP/1.1\r\n\r\n")
    await caller.answer()
    await caller.send(b"GET /second HTTP/1.1\r\n" + HANDSHAKE + b"\r\n")
    assert (await caller.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 30\r\n\r\nabc",
    "a signed length": b"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
    "a folded header": b"POST / HTTP/1.1\r\nA: a\r\n Content-Length: 3\r\n\r\nabc",
    "a blank before a colon": b"POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nA: a\n\n",
    "an Upgrade and two lengths": b"POST / HTTP/1.1\r\n" + JAVA + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "no path": b"GET ?a HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_not_http_is_refused_and_not_read_on(caller: Caller, echo: Echo, sent: bytes) -> None:
    await caller.send(sent + SMUGGLED)
    assert await caller.refusal() == (400, "malformed")
    assert echo.seen == []


@pytest.mark.parametrize("target", [b"localhost:1", b"/first"])
async def test_this_is_no_proxy(caller: Caller, echo: Echo, target: bytes) -> None:
    await caller.send(b"CONNECT " + target + b" HTTP/1.1\r\n\r\n" + SMUGGLED)
    assert await caller.refusal() == (501, "no-tunnel")
    assert echo.seen == []


@pytest.mark.parametrize("coding", [b"chunked", b"xchunked"])
async def test_a_body_that_breaks_is_answered_once(caller: Caller, echo: Echo, coding: bytes) -> None:
    await caller.send(CHUNKED.replace(b"chunked", coding) + b"1\r\na\r\nxyz\r\n" + SMUGGLED)
    assert await caller.refusal() == (400, "malformed")
    async with asyncio.timeout(20):
        await echo.cut_off.wait()
    assert [path for _, path, _ in echo.seen if path != "/first"] == []


async def test_what_is_broken_does_not_take_the_place_of_an_answer_that_is_due(caller: Caller, echo: Echo) -> None:
    await caller.send(b"GET /first HTTP/1.1\r\n\r\nGET /second HTTP/1.1\r\n\r\nnonsense\r\n\r\n")
    assert (await caller.answer())[2] == b"/first 0"
    _, headers, body = await caller.answer()
    assert (headers["connection"], body) == ("close", b"/second 0")
    assert await caller.rest() == b""


async def test_a_body_that_breaks_behind_an_answer_that_is_due_ends_the_connection(caller: Caller, echo: Echo) -> None:
    await caller.send(b"GET /slow HTTP/1.1\r\n\r\n" + CHUNKED + b"xyz\r\n")
    assert await caller.rest() == b""
    echo.go.set()


async def test_nobody_sends_more_than_so_many_requests_ahead(caller: Caller, echo: Echo) -> None:
    await caller.send(b"GET /slow HTTP/1.1\r\n\r\n", b"GET /more HTTP/1.1\r\n\r\n" * (3 * MAX_AHEAD))
    echo.go.set()
    answers = [await caller.answer() for _ in range(1 + MAX_AHEAD)]
    assert [headers.get("connection") for _, headers, _ in answers] == [None] * MAX_AHEAD + ["close"]
    assert await caller.rest() == b""


async def test_there_is_room_for_half_as_many_connections_as_files(start: Start) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, files[1]))
    try:
        stack = start()
        process = stack.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
    async with AsyncExitStack() as callers:
        callers.push(stack.__exit__)
        port = process.ports.http
        everyone = [await callers.enter_async_context(calling(port)) for _ in range(500)]
        one_more = await callers.enter_async_context(calling(port))
        status, headers, _ = await one_more.answer()
        assert (status, headers["retry-after"]) == (429, "1")
        await everyone[0].send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await everyone[0].answer())[0] == 200


def test_the_bounds_are_the_documented_ones() -> None:
    """Of which none is a setting."""
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    for row in (
        f"| {MAX_CONNECTIONS}, but at most half of the files that may be open | {_told(CROWDED)}",
        f"| {MAX_HEAD_BYTES >> 10} KiB, {MAX_HEADERS} headers | {_told(TOO_LARGE)}",
        f"| {HttpProtocol.head_s:g} s | {_told(SLOW)}",
        f"| {MAX_AHEAD} |",
        _told(MALFORMED),
        _told(NO_TUNNEL),
    ):
        assert row in page


def _told(refusal: Refusal) -> str:
    return f"{refusal.status:d} `{refusal.code}`"
