"""What each error is called on each wire: one table, and the words around it."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import grpc

from lookonce import errors


@dataclass(frozen=True, slots=True)
class Status:
    http: HTTPStatus
    grpc: grpc.StatusCode


def _status(http: int, code: grpc.StatusCode) -> Status:
    return Status(HTTPStatus(http), code)


STATUSES: Final[dict[type[BaseException], Status]] = {
    errors.BadRequest: _status(422, grpc.StatusCode.INVALID_ARGUMENT),
    errors.UnsupportedMedia: _status(415, grpc.StatusCode.INVALID_ARGUMENT),
    errors.SlowBody: _status(408, grpc.StatusCode.DEADLINE_EXCEEDED),
    errors.ImageTooLarge: _status(413, grpc.StatusCode.INVALID_ARGUMENT),
    errors.Unauthenticated: _status(401, grpc.StatusCode.UNAUTHENTICATED),
    errors.Forbidden: _status(403, grpc.StatusCode.PERMISSION_DENIED),
    errors.NotServed: _status(404, grpc.StatusCode.NOT_FOUND),
    errors.Overloaded: _status(429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    errors.RateLimited: _status(429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    errors.TryLater: _status(503, grpc.StatusCode.UNAVAILABLE),
    errors.DeadlineExceeded: _status(504, grpc.StatusCode.DEADLINE_EXCEEDED),
    errors.BackendContractBroken: _status(502, grpc.StatusCode.INTERNAL),
    BaseException: _status(500, grpc.StatusCode.INTERNAL),
}
"""The nearest kind decides; whatever is not one of ours is a bug."""

BUG: Final = "something went wrong on our side; the request id finds it in the log."


def status_of(error: BaseException) -> Status:
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def code_of(error: BaseException) -> str:
    return error.code if isinstance(error, errors.ServiceError) else "internal"


def message_of(error: BaseException) -> str:
    """What the caller may read: of a bug nothing but that it is one."""
    return str(error) if isinstance(error, errors.ServiceError) else BUG


def retry_after_s(error: BaseException) -> float | None:
    return error.retry_after_s if isinstance(error, errors.TryLater) else None


def problem(error: BaseException, request_id: str) -> dict[str, object]:
    """RFC 9457 problem details."""
    http = status_of(error).http
    return {
        "type": f"urn:lookonce:{code_of(error)}",
        "title": http.phrase,
        "status": int(http),
        "detail": message_of(error),
        "code": code_of(error),
        "request_id": request_id,
    }
