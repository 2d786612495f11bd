"""Triton's and gRPC's errors, and what they are called here: one table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from grpc import StatusCode
from grpc.aio import AioRpcError

from lookonce.errors import (
    BackendContractBroken,
    BackendUnavailable,
    DeadlineExceeded,
    Overloaded,
    ServiceError,
    UnknownModel,
    UnknownVersion,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who was asked for what, and how long we were ready to wait. No name: Triton itself."""

    url: str
    name: str | None
    timeout_s: float

    @property
    def whom(self) -> str:
        return f"model {self.name}" if self.name else f"Triton at {self.url}"


def _overloaded(asked: Asked, _said: str) -> ServiceError:
    return Overloaded(f"the queue of {asked.whom} is full; try again shortly.")


def _late(asked: Asked, _said: str) -> ServiceError:
    if asked.name is None:
        return BackendUnavailable(f"{asked.whom} is silent, for {asked.timeout_s:g} s by now; look into its log.")
    return DeadlineExceeded(f"model {asked.name} did not answer within {asked.timeout_s:g} s; allow more or try later.")


def _unknown_model(asked: Asked, _said: str) -> ServiceError:
    return UnknownModel(f"there is no model {asked.name} at {asked.url}; publish it or correct the name.")


def _unknown_version(asked: Asked, _said: str) -> ServiceError:
    return UnknownVersion(f"that version of model {asked.name} is not served; ask for another one or for none.")


def _unavailable(asked: Asked, _said: str) -> ServiceError:
    return BackendUnavailable(f"Triton at {asked.url} cannot be reached or is not ready; try again shortly.")


def _broken(asked: Asked, said: str) -> ServiceError:
    on = f" with model {asked.name}" if asked.name else ""
    return BackendContractBroken(f"Triton at {asked.url} failed{on}: {said}")


Refusal = Callable[[Asked, str], ServiceError]

REFUSALS: Final[tuple[tuple[StatusCode, str, Refusal], ...]] = (
    (StatusCode.UNAVAILABLE, "Exceeds maximum queue size", _overloaded),
    (StatusCode.UNAVAILABLE, "Request timeout expired", _late),
    (StatusCode.UNAVAILABLE, "protocol is restricted", _broken),
    (StatusCode.UNAVAILABLE, "", _unavailable),
    (StatusCode.NOT_FOUND, "' version ", _unknown_version),
    (StatusCode.NOT_FOUND, "", _unknown_model),
    (StatusCode.DEADLINE_EXCEEDED, "", _late),
    (StatusCode.RESOURCE_EXHAUSTED, "larger than max", _broken),
    (StatusCode.RESOURCE_EXHAUSTED, "", _overloaded),
    (StatusCode.CANCELLED, "", _unavailable),
    (StatusCode.ABORTED, "", _unavailable),
    (StatusCode.UNKNOWN, "", _unavailable),
)
"""The first row with the same code and its text among what was said decides; no row: the contract is broken."""


def refusal(error: AioRpcError, asked: Asked) -> ServiceError:
    said = ((error.details() or "").strip() or error.code().name).splitlines()[0]
    decides = (make for code, text, make in REFUSALS if code is error.code() and text in said)
    return next(decides, _broken)(asked, said)
