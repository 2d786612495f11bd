"""What pages in a browser may do, seen from a real port: the headers are those that browsers send."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from lookonce.doors import Address, door, opened
from lookonce.transports.http.edge import Edge
from lookonce.transports.http.loopback import KnownPages

Headers = dict[str, str]
LISTED = "https://shop.example"


async def _answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.method, headers={"Vary": "Accept"})


async def _echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


@dataclass(frozen=True, slots=True)
class Place:
    port: int
    http: httpx.AsyncClient
    lines: list[dict[str, object]]

    async def ask(self, headers: Headers, method: str = "POST") -> httpx.Response:
        return await self.http.request(
            method, "/", headers={name: self._filled(text) for name, text in headers.items()}
        )

    async def whisper(self, headers: Headers) -> str:
        """What a WebSocket says back, or the status with which it is refused."""
        filled = {name: self._filled(text) for name, text in headers.items()}
        host = filled.pop("Host", f"127.0.0.1:{self.port}")
        _, _, port = host.rpartition(":")
        url = f"ws://{host if port.isdecimal() else host + ':80'}/stream"
        try:
            async with connect(url, host="127.0.0.1", port=self.port, additional_headers=filled, proxy=None) as socket:
                await socket.send("hello")
                return str(await socket.recv())
        except InvalidStatus as refused:
            return f"{refused.response.status_code} {refused.response.headers['Content-Type']}"

    def _filled(self, text: str) -> str:
        return text.replace("PORT", str(self.port))


Serve = Callable[..., AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def serving(**rules: object) -> AsyncIterator[Place]:
    lines: list[dict[str, object]] = []

    def keep(_logger: object, _method: str, line: dict[str, object]) -> dict[str, object]:
        lines.append(dict(line))
        raise structlog.DropEvent

    routes = [Route("/", _answer, methods=["GET", "POST", "OPTIONS"]), WebSocketRoute("/stream", _echo)]
    app = Edge(KnownPages(Starlette(routes=routes), **rules), structlog.wrap_logger(None, processors=[keep]))
    async with (
        opened(door(app, max_frame_bytes=2**10, grace_s=1), Address("127.0.0.1", 0, "")) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as http,
    ):
        yield Place(port, http, lines)


@pytest.fixture(scope="module")
async def loopback() -> AsyncIterator[Place]:
    async with serving(loopback=True, origins=(LISTED,)) as place:
        yield place


@pytest.fixture(scope="module")
async def beyond() -> AsyncIterator[Place]:
    async with serving(origins=(LISTED,)) as place:
        yield place


@pytest.fixture(scope="module")
async def open_to_any() -> AsyncIterator[Place]:
    async with serving(origins=("*",)) as place:
        yield place


WELCOME: tuple[Headers, ...] = (
    {},
    {"Host": "localhost:PORT"},
    {"Host": "LOCALHOST"},
    {"Host": "127.0.0.1"},
    {"Host": "127.8.9.1:1"},
    {"Host": "[::1]:PORT"},
    {"Origin": "http://localhost:PORT"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "https://127.0.0.1"},
    {"Origin": "http://[::1]:3000"},
    {"Origin": LISTED},
    {"Origin": LISTED, "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
)
UNWELCOME: tuple[Headers, ...] = (
    {"Host": "evil.example"},
    {"Host": "evil.example:PORT"},
    {"Host": "localhost.evil.example:PORT"},
    {"Host": "127.0.0.1.evil.example:PORT"},
    {"Host": "localhost@evil.example"},
    {"Host": "evil.example#localhost"},
    {"Host": "192.168.1.5:PORT"},
    {"Host": "0.0.0.0:PORT"},
    {"Host": "evil.example:PORT", "Origin": "http://evil.example:PORT"},
    {"Host": "evil.example:PORT", "Origin": LISTED},
    {"Origin": "http://evil.example"},
    {"Origin": "http://evil.example:PORT"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://evil.example/localhost"},
    {"Origin": LISTED + ".evil.example"},
    {"Origin": LISTED.replace("https", "http")},
    {"Origin": LISTED + ":8443"},
    {"Origin": "null"},
    {"Origin": "file://"},
    {"Origin": "chrome-extension://localhost"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
)


@pytest.mark.parametrize("headers", WELCOME, ids=str)
async def test_on_loopback_this_machine_and_the_listed_pages_are_answered(loopback: Place, headers: Headers) -> None:
    answer = await loopback.ask(headers)
    assert (answer.status_code, answer.text) == (200, "POST")
    assert answer.headers.get("access-control-allow-origin") == (
        headers["Origin"].replace("PORT", str(loopback.port)) if "Origin" in headers else None
    )
    assert answer.headers["vary"] == "Accept, Origin"
    assert await loopback.whisper(headers) == "hello"


@pytest.mark.parametrize("headers", UNWELCOME, ids=str)
async def test_on_loopback_everybody_else_is_refused(loopback: Place, headers: Headers) -> None:
    answer = await loopback.ask(headers)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["request_id"]) == ("forbidden", answer.headers["x-request-id"])
    assert problem["detail"].endswith(".")
    assert "access-control-allow-origin" not in answer.headers
    line = loopback.lines[-1]
    assert (line["status"], line["code"], line["request_id"]) == (403, "forbidden", problem["request_id"])


STRANGE_TO_THE_CLIENT = "@", "#"


@pytest.mark.parametrize(
    "headers", [one for one in UNWELCOME if not any(part in str(one) for part in STRANGE_TO_THE_CLIENT)], ids=str
)
async def test_on_loopback_a_stream_is_refused_alike(loopback: Place, headers: Headers) -> None:
    refused = await loopback.whisper(headers)
    assert refused == ("hello" if "Sec-Fetch-Site" in headers else "403 application/problem+json")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_link_elsewhere_may_lead_here(loopback: Place, method: str) -> None:
    assert (await loopback.ask({"Sec-Fetch-Site": "cross-site"}, method)).status_code == 200


async def test_two_hosts_are_none(loopback: Place) -> None:
    reply = await _raw(loopback.port, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert b" 403 " in reply or b" 400 " in reply


async def test_no_host_is_none(loopback: Place) -> None:
    assert b" 403 " in await _raw(loopback.port, b"GET / HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
async def test_beyond_loopback_a_browser_is_left_to_keep_the_answer_from_its_page(beyond: Place, origin: str) -> None:
    answer = await beyond.ask({"Host": "detect.example", "Origin": origin})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Accept, Origin"


STREAMS: tuple[tuple[Headers, str], ...] = (
    ({}, "hello"),
    ({"Host": "detect.example:PORT", "Origin": "https://detect.example:PORT"}, "hello"),
    ({"Host": "detect.example:PORT", "Origin": LISTED}, "hello"),
    ({"Host": "detect.example:PORT", "Origin": "https://evil.example"}, "403 application/problem+json"),
    ({"Host": "detect.example:PORT", "Origin": "http://localhost:PORT"}, "403 application/problem+json"),
    ({"Host": "detect.example:PORT", "Origin": "null"}, "403 application/problem+json"),
)


@pytest.mark.parametrize(("headers", "said"), STREAMS, ids=str)
async def test_beyond_loopback_streams_are_for_our_own_and_the_listed_pages(
    beyond: Place, headers: Headers, said: str
) -> None:
    assert await beyond.whisper(headers) == said


def preflight(origin: str) -> Headers:
    return {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}


@pytest.fixture(params=["loopback", "beyond", "open_to_any"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    return request.getfixturevalue(request.param)


async def test_a_preflight_of_a_listed_page_is_answered(place: Place) -> None:
    answer = await place.ask(preflight(LISTED), "OPTIONS")
    assert (answer.status_code, answer.content) == (204, b"")
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {"authorization", "x-api-key", "content-type", "x-request-timeout-ms", "traceparent"} <= allowed
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    assert answer.headers["access-control-allow-origin"] in {LISTED, "*"}
    assert "Origin" in answer.headers["vary"]


async def test_a_preflight_of_another_page_is_refused(beyond: Place, loopback: Place) -> None:
    for one in (beyond, loopback):
        answer = await one.ask(preflight("https://evil.example"), "OPTIONS")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "LOOKONCE_SERVER__ORIGINS" in answer.json()["detail"]
        assert "access-control-allow-origin" not in answer.headers


async def test_a_plain_options_reaches_the_route(place: Place) -> None:
    assert (await place.ask({}, "OPTIONS")).text == "OPTIONS"


async def test_credentials_are_never_allowed(place: Place) -> None:
    for headers, method in ((preflight(LISTED), "OPTIONS"), ({"Origin": LISTED}, "POST")):
        assert "access-control-allow-credentials" not in (await place.ask(headers, method)).headers


async def test_a_star_is_any_page_but_no_other_host(open_to_any: Place) -> None:
    answer = await open_to_any.ask({"Origin": "https://evil.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert await open_to_any.whisper({"Origin": "null"}) == "hello"
    async with serving(loopback=True, origins=("*",)) as place:
        assert (await place.ask({"Origin": "https://evil.example"})).status_code == 200
        assert (await place.ask({"Host": "evil.example", "Origin": "https://evil.example"})).status_code == 403


async def _raw(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(20):
        reply = await reader.readline()
    writer.close()
    return reply
