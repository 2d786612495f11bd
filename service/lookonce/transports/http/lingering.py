"""Answers that come before the body has: the caller must be able to read them."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookonce.transports.http.heads import header

LINGER_S: Final = 5.0


class Lingering:
    """ASGI middleware, outermost: whoever is answered in the midst of a body is heard out a while, then hung up on.

    Closing at once would reset the connection, and a caller that is still sending might never see the answer.
    """

    def __init__(self, app: ASGIApp, linger_s: float = LINGER_S) -> None:
        self._app = app
        self._linger_s = linger_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            return await self._app(scope, receive, send)
        exchange = _Exchange(receive, send)
        await self._app(scope, exchange.receive, exchange.send)
        return await exchange.end(self._linger_s)


class _Exchange:
    """One request and its answer, whose end is held back while the body has not ended."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._unread = True
        self._held_back = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._unread = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self._unread and message["type"] == "http.response.start":
            MutableHeaders(scope=message)["connection"] = "close"
        if self._unread and message["type"] == "http.response.body" and not message.get("more_body", False):
            self._held_back = True
            message = {**message, "more_body": True}
        await self._send(message)

    async def end(self, linger_s: float) -> None:
        if not self._held_back:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(linger_s):
                while self._unread:
                    await self.receive()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _has_body(scope: Scope) -> bool:
    return header(scope, b"content-length") not in {None, b"0"} or header(scope, b"transfer-encoding") is not None
