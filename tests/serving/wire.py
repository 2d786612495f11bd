"""A server around an application that tells what reached it, and a caller that sends any bytes."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from starlette.types import Receive, Scope, Send

from lookonce.doors import Address, door, opened
from lookonce.http_protocol import HttpProtocol


@dataclass
class Echo:
    """An application that tells how much it was sent and remembers by whom; /slow waits for `go`."""

    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    cut_off: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def forget(self) -> None:
        self.seen.clear()
        self.cut_off, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return await send({"type": "websocket.send", "text": scope["path"]})
        body = await self._body(receive)
        if scope["path"] == "/slow":
            await self.go.wait()
        self.headers = [name for name, _ in scope["headers"]]
        self.seen.append((scope["method"], scope["path"], body))
        told = b"%s %d" % (scope["path"].encode(), len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]})
        return await send({"type": "http.response.body", "body": told})

    async def _body(self, receive: Receive) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.cut_off.set()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return body


@dataclass(frozen=True)
class Caller:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """Each in a segment of its own, as far as one can tell."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.02)

    async def answer(self) -> tuple[int, httpx.Headers, bytes]:
        async with asyncio.timeout(20):
            line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = httpx.Headers([line.split(": ", 1) for line in lines])
            return int(line.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def rest(self) -> bytes:
        """Until the other side hangs up."""
        async with asyncio.timeout(20):
            return await self.reader.read()

    async def refusal(self) -> tuple[int, str]:
        """Status and code of a problem with which the connection ends."""
        status, headers, body = await self.answer()
        problem = json.loads(body)
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert problem["status"] == status
        assert problem["request_id"] == headers["x-request-id"]
        assert await self.rest() == b""
        return status, problem["code"]


@asynccontextmanager
async def calling(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("localhost" if tls else "127.0.0.1", port, ssl=tls)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def serving(
    echo: Echo, tls: ssl.SSLContext | None = None, kind: type[HttpProtocol] = HttpProtocol
) -> AsyncIterator[int]:
    server = door(echo, max_frame_bytes=2**20, grace_s=1, tls=tls)
    server.config.http_protocol_class = kind
    async with opened(server, Address("127.0.0.1", 0, "")) as port:
        yield port
