"""HTTP/1.1 as it comes off the wire: uvicorn's protocol, with bounds, and in which no request hides another."""

import resource
from asyncio import TimerHandle, Transport
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from typing import Any, ClassVar, Final

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from lookonce.transports.http.lingering import LINGER_S
from lookonce.transports.http.problems import PROBLEM
from lookonce.transports.service import request_id_from

MAX_HEAD_BYTES: Final = 2**16
MAX_HEADERS: Final = 128
HEAD_S: Final = 10.0
MAX_AHEAD: Final = 64
"""Requests that a caller may send before the first of them is answered."""
MAX_CONNECTIONS: Final = 4096


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is answered before any application was asked; the connection ends with it."""

    status: HTTPStatus
    code: str
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def body(self, request_id: str) -> bytes:
        told = {"type": f"urn:lookonce:{self.code}", "title": self.status.phrase, "status": int(self.status)}
        return orjson.dumps(told | {"detail": self.detail, "code": self.code, "request_id": request_id})


TOO_LARGE: Final = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head-too-large",
    f"path and headers are at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers, and before a WebSocket 8192 bytes "
    "each; send fewer or shorter ones.",
)
SLOW: Final = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "slow-head", "the headers took too long to arrive; send them at once."
)
MALFORMED: Final = Refusal(HTTPStatus.BAD_REQUEST, "malformed", "this is not HTTP/1.1; correct what sends it.")
NO_TUNNEL: Final = Refusal(HTTPStatus.NOT_IMPLEMENTED, "no-tunnel", "this is no proxy; ask it without CONNECT.")
CROWDED: Final = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    "overloaded",
    "more connections are open than this gateway has room for; wait a second, then ask again.",
    ((b"retry-after", b"1"),),
)


class _Refused(Exception):
    """Goes up through the parser, out of one of its callbacks."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    head_s: ClassVar[float] = HEAD_S

    _deadline: TimerHandle | None = None
    """Of the head that is awaited, and after a refusal of the caller who still sends."""
    _in_head = False
    _refused = False
    _opens_websocket = False
    _unparsed_bytes = 0
    """That came since a head, a piece of a body or a message ended: never more than a head may have."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > connections_at_most():
            self._refused = True
            self._answer(CROWDED)
            transport.close()
            return
        self._deadline = self.loop.call_later(self.head_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unparsed_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.refusal if isinstance(cause, _Refused) else MALFORMED)
            return
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self._refuse(TOO_LARGE)
        elif self._in_head and self._deadline is None:
            self._deadline = self.loop.call_later(self.head_s, self._give_up)

    def on_message_begin(self) -> None:
        self._in_head = True
        self._unset_keepalive_if_required()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        if len(self.headers) > MAX_HEADERS or self._head_bytes() > MAX_HEAD_BYTES:
            raise _Refused(TOO_LARGE)
        if len(self.pipeline) >= MAX_AHEAD:
            raise _Refused(CROWDED)
        if self.parser.should_upgrade():
            self._opens_websocket = self._asks_for_websocket()
            if not self._opens_websocket:
                return
        self._in_head = False
        if self._deadline is not None:
            self._forget_deadline()
        self._unset_keepalive_if_required()  # an answer may have ended since this head began
        super().on_headers_complete()
        self.headers = []  # what comes behind a chunked body is no header of the request that has begun

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return self._opens_websocket

    def _head_bytes(self) -> int:
        return len(self.url) + 4 * len(self.headers) + sum(map(len, chain.from_iterable(self.headers)))

    def _asks_for_websocket(self) -> bool:
        """As RFC 6455 has it, and on a connection that owes no answer. Whoever asks otherwise gets plain HTTP."""
        if self.parser.get_method() == b"CONNECT":
            raise _Refused(NO_TUNNEL)
        free = self.cycle is None or self.cycle.response_complete
        plain = self.parser.get_method() == b"GET" and self.parser.get_http_version() == "1.1" and self.url.isascii()
        return free and plain and not self._has_body() and self._get_upgrade() == b"websocket"

    def _has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        )

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
            else:
                return
            if self._opens_websocket:
                self._open_websocket()
                return
            self._read_again_without_upgrade()

    def _read_again_without_upgrade(self) -> None:
        """The parser takes what follows an Upgrade for another protocol, be it a body that was announced.

        Whoever asks for one that we do not speak, as Java's HttpClient does by default, is answered in HTTP/1.1.
        """
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join([line, *headers, b"", b""]))

    def _open_websocket(self) -> None:
        """What is wrong with a handshake is answered by its own protocol, unless it cannot even read it."""
        self.handle_websocket_upgrade()
        opened: Any = self.transport.get_protocol()
        assert isinstance(opened, WebSocketsSansIOProtocol)  # noqa: S101  it is what the door is configured with
        if not opened.handshake_initiated:
            self._answer(TOO_LARGE)
            self.transport.close()

    def _give_up(self) -> None:
        """A caller who never sent anything is not waiting for an answer."""
        self._deadline = None
        if not self._in_head:
            self.transport.close()
        elif self.flow.read_paused:  # it is we who do not read
            self._deadline = self.loop.call_later(self.head_s, self._give_up)
        else:
            self._refuse(SLOW)

    def _refuse(self, refusal: Refusal) -> None:
        """The last answer on this connection; where answers to whole requests are due, those are the last."""
        self._refused = True
        self._forget_deadline()
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer_and_linger(refusal)
        elif not cycle.more_body:
            cycle.keep_alive = False
        elif cycle.response_started or self.pipeline:
            self.transport.close()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer_and_linger(refusal)

    def _answer_and_linger(self, refusal: Refusal) -> None:
        """Closing at once would reset the connection of a caller who still sends, and the answer might not be seen."""
        self._answer(refusal)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.close)

    def _answer(self, refusal: Refusal) -> None:
        request_id = request_id_from(None)
        body = refusal.body(request_id)
        headers = [
            *self.server_state.default_headers,
            *refusal.headers,
            (b"content-type", PROBLEM.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        line = b"HTTP/1.1 %d %s" % (refusal.status, refusal.status.phrase.encode())
        self.transport.write(b"\r\n".join([line, *(b"%s: %s" % header for header in headers), b"", body]))
        self.logger.warning("refused before it was a request: %s, with request id %s", refusal.code, request_id)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def connections_at_most() -> int:
    """On one port, as far as half of the files that may be open reaches: the rest is for everything else."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files // 2)
