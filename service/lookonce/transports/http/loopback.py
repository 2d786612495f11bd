"""What web pages may do here. A browser runs strangers' code on its user's machine, where our loopback port is open."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookonce.errors import Forbidden
from lookonce.transports.http.heads import header, text
from lookonce.transports.http.problems import PROBLEM
from lookonce.transports.status import problem, status_of

ANY: Final = "*"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, X-API-Key, X-Request-Id, X-Request-Timeout-Ms, traceparent"
    ),
    "Access-Control-Max-Age": "600",
}
READABLE: Final = "Retry-After, Server-Timing, X-Request-Id"
VARY: Final = (b"vary", b"Origin")
_LOOPBACK: Final = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE | re.ASCII)
_PAGE: Final = re.compile(r"https?://(.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class KnownPages:
    """Pages of `origins` (`*` is any) and of our own address may call, and, on loopback, those of this machine.

    It stands just inside the edge. It answers CORS itself, for the same rule decides about WebSockets and loopback, of
    which starlette's CORSMiddleware knows nothing.
    """

    app: ASGIApp
    origins: Collection[str] = ()
    loopback: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        origin = text(scope, b"origin")
        try:
            self._refuse_strangers(scope, origin)
        except Forbidden as error:
            return await _refused(error, scope)(scope, receive, send)
        if scope["type"] == "websocket":
            return await self.app(scope, receive, send)
        answering = self._told_to_browsers(scope, origin, send)
        if _is_preflight(scope, origin):
            return await Response(status_code=204, headers=PREFLIGHT)(scope, receive, answering)
        return await self.app(scope, receive, answering)

    def _refuse_strangers(self, scope: Scope, origin: str | None) -> None:
        if self.loopback:
            _refuse_other_hosts(scope)
            _refuse_hidden_pages(scope, origin)
        # Beyond loopback a plain request is left to the browser: behind a proxy even our own page has another address.
        judged = self.loopback or scope["type"] == "websocket" or _is_preflight(scope, origin)
        if judged and not self._may_call(scope, origin):
            raise Forbidden(f"pages of {origin} may not call this gateway; name them in LOOKONCE_SERVER__ORIGINS.")

    def _may_call(self, scope: Scope, origin: str | None) -> bool:
        """Whether it is no page that asks, or one that may."""
        if origin is None or ANY in self.origins or origin in self.origins:
            return True
        page = _PAGE.fullmatch(origin)
        if page is None:
            return False
        return page[1] == text(scope, b"host") or (self.loopback and _LOOPBACK.fullmatch(page[1]) is not None)

    def _told_to_browsers(self, scope: Scope, origin: str | None, send: Send) -> Send:
        """`send`, which also says which pages may read the answer. Never with credentials: our keys are no cookies."""

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append(VARY)
                if origin is not None and self._may_call(scope, origin):
                    answer = MutableHeaders(raw=message["headers"])
                    answer["Access-Control-Allow-Origin"] = ANY if ANY in self.origins else origin
                    answer["Access-Control-Expose-Headers"] = READABLE
            await send(message)

        return answering


def _is_preflight(scope: Scope, origin: str | None) -> bool:
    if origin is None or scope["type"] != "http" or scope["method"] != "OPTIONS":
        return False
    return header(scope, b"access-control-request-method") is not None


def _refuse_other_hosts(scope: Scope) -> None:
    """A page whose name was made to mean this machine (DNS rebinding) still sends its own name as the host."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0].decode("latin-1")):
        raise Forbidden("this gateway serves its own machine alone; ask for it as localhost or 127.0.0.1.")


def _refuse_hidden_pages(scope: Scope, origin: str | None) -> None:
    """A page elsewhere whose browser says so, though it does not say which."""
    changes = scope["type"] == "http" and scope["method"] not in READING
    if changes and origin is None and header(scope, b"sec-fetch-site") == b"cross-site":
        raise Forbidden("pages of other sites may not call this gateway; name them in LOOKONCE_SERVER__ORIGINS.")


def _refused(error: Forbidden, scope: Scope) -> Response:
    """A WebSocket that is not open yet is refused over HTTP, like anything else."""
    state = scope["state"]
    state["facts"]["code"] = error.code
    body = problem(error, state["request_id"])
    return JSONResponse(body, status_of(error).http, media_type=PROBLEM)
