"""Every error of an HTTP request as the answer that its caller reads: RFC 9457 problem details."""

import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeAlias

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from lookonce.errors import ServiceError, Unauthenticated
from lookonce.transports.http.gone import CallerGone
from lookonce.transports.status import problem, retry_after_s

PROBLEM: Final = "application/problem+json"
GONE: Final = 499
"""What access logs call a caller who hung up; nobody reads that answer."""


def refuse(request: Request, error: BaseException) -> Response:
    """The answer to an error of ours."""
    return _problem(request, problem(error, request.state.request_id), headers_of(error))


def headers_of(error: BaseException) -> dict[str, str]:
    """What an error says beside its body."""
    wait_s = retry_after_s(error)
    headers = {} if wait_s is None else {"Retry-After": str(math.ceil(wait_s))}
    return headers | ({"WWW-Authenticate": 'Bearer realm="lookonce"'} if isinstance(error, Unauthenticated) else {})


def refuse_bug(request: Request, error: BaseException) -> Response:
    return refuse(request, error)


def refuse_route(request: Request, error: BaseException) -> Response:
    """A path that nothing is at, or a method that it does not take."""
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    if request.method == "OPTIONS" and "Allow" in headers:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    return _refused_route(request, HTTPStatus(error.status_code), headers)


async def refuse_stream(socket: WebSocket) -> None:
    """A WebSocket at a path that has none, which is told before it is opened."""
    await socket.send_denial_response(_refused_route(socket, HTTPStatus.NOT_FOUND, {}))


def _refused_route(asked: HTTPConnection, status: HTTPStatus, headers: dict[str, str]) -> Response:
    body = {
        "type": f"urn:lookonce:{_code(status)}",
        "title": status.phrase,
        "status": int(status),
        "detail": _WORDS.get(status, "the request cannot be understood; see /docs.").format(**headers),
        "code": _code(status),
        "request_id": asked.state.request_id,
    }
    return _problem(asked, body, headers)


def leave_alone(request: Request, _error: BaseException) -> Response:
    request.state.facts["code"] = "caller-gone"
    return Response(status_code=GONE)


Answering: TypeAlias = Callable[[Request, BaseException], Response]
ANSWERS: Final[dict[type[Exception], Answering]] = {
    ServiceError: refuse,
    CallerGone: leave_alone,
    HTTPException: refuse_route,
}
"""Each kind of exception with what answers it. Everything else is a bug."""


def answer_to(error: Exception) -> Answering:
    return next((answer for kind, answer in ANSWERS.items() if isinstance(error, kind)), refuse_bug)


_WORDS: Final = {
    HTTPStatus.NOT_FOUND: "there is nothing at this path; GET /docs tells what there is.",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path takes {Allow} alone; use that.",
}


def _code(status: HTTPStatus) -> str:
    return status.name.lower().replace("_", "-")


def _problem(request: HTTPConnection, body: dict[str, object], headers: dict[str, str]) -> Response:
    request.state.facts["code"] = body["code"]
    return Response(orjson.dumps(body), int(str(body["status"])), headers, PROBLEM)
