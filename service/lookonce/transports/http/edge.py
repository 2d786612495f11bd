"""The rim of the HTTP port: each request gets an id and a log line, and no bug shows more than that it is one."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookonce.transports.http.heads import text
from lookonce.transports.http.problems import GONE, answer_to, refuse_bug
from lookonce.transports.service import request_id_from

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""What is asked every few seconds and says nothing new."""


@dataclass(frozen=True, slots=True)
class Sending:
    """`send`, which adds the request's id and writes the status into the request's state."""

    send: Send
    state: dict[str, Any]

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.state["status"] = int(message["status"])
            message["headers"].append((b"x-request-id", self.state["request_id"].encode()))
        await self.send(message)


@dataclass(frozen=True, slots=True)
class Edge:
    """Leaves `request_id`, `traceparent`, `facts` (for the log line) and the `status` sent in the scope's state."""

    app: ASGIApp
    log: structlog.stdlib.BoundLogger
    tells: bool = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id_from(text(scope, b"x-request-id"))
        state["traceparent"] = traceparent_from(text(scope, b"traceparent"))
        state["facts"] = {}
        if scope["type"] == "websocket":
            return await self.app(scope, receive, send)
        return await self._answer(dict(scope), receive, Sending(send, state))

    async def _answer(self, scope: Scope, receive: Receive, sending: Sending) -> None:
        """HEAD is GET, of whose answer the server sends no body."""
        begun, method = time.perf_counter(), scope["method"]
        scope["method"] = "GET" if method == "HEAD" else method
        try:
            await self.app(scope, receive, sending)
        finally:
            self._tell(method, scope, took_s=time.perf_counter() - begun)

    def _tell(self, method: str, scope: Scope, *, took_s: float) -> None:
        route = route_of(scope)
        if not self.tells or route in QUIET:
            return
        state: Mapping[str, object] = scope["state"]
        caller = state.get("caller")
        facts = {"client": getattr(caller, "name", None), **scope["state"]["facts"]}
        self.log.info(
            "request",
            method=method,
            route=route,
            status=state.get("status", GONE),
            took_ms=round(took_s * 1e3, 3),
            request_id=state["request_id"],
            **{name: fact for name, fact in facts.items() if fact is not None},
        )


@dataclass(frozen=True, slots=True)
class Mishaps:
    """Every error becomes an answer; of a bug the log is told what, and the caller only that it is one.

    It stands inside of what lets pages read answers.
    """

    app: ASGIApp
    log: structlog.stdlib.BoundLogger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            return await self.app(scope, receive, send)
        except Exception as error:
            answer = answer_to(error)
            if answer is refuse_bug:
                self.log.exception("bug", request_id=scope["state"]["request_id"])
            if "status" in scope["state"]:
                raise
            return await answer(Request(scope), error)(scope, receive, send)


def route_of(scope: Scope) -> str:
    """The route's template, or the name of the page; never the path itself: nothing that a caller wrote."""
    name = getattr(scope.get("endpoint"), "__name__", "none")
    return getattr(scope.get("route"), "path", name)


def traceparent_from(given: str | None) -> str:
    """A W3C trace context that can be passed on, or nothing."""
    return given if given and _TRACEPARENT.fullmatch(given) else ""
