"""What every transport stands on."""

import asyncio
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from lookonce.access.gate import Caller, Gate
from lookonce.errors import Draining, InvalidOptions
from lookonce.pipeline.admission import Admission
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.request import Answer, Request
from lookonce.transports.weighing import Scales

_REQUEST_ID: Final = re.compile(r"[\w.:-]{1,128}", re.ASCII)

STRANGERS: Final = 16
"""WebSockets whose key is awaited; each may hold a message of the largest size in memory."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request, a body and a silent stream may take."""

    request_s: float = 5.0
    max_request_s: float = 60.0
    body_s: float = 10.0
    idle_s: float = 60.0


@dataclass(slots=True)
class Life:
    """Serving, until told to stop: then not ready at first, and some time later refusing what is new."""

    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    def refuse_when_draining(self) -> None:
        if self.draining.is_set():
            raise Draining("this gateway is shutting down; ask again and another one will answer.")


@dataclass(frozen=True, slots=True)
class Service:
    detector: Detector
    gate: Gate
    log: structlog.stdlib.BoundLogger
    patience: Patience = Patience()
    life: Life = field(default_factory=Life)
    requests: Admission = field(default_factory=lambda: Admission(512, "requests"))
    streams: Admission = field(default_factory=lambda: Admission(64, "streams"))
    scales: Scales = field(default_factory=Scales)
    strangers: Admission = field(default_factory=lambda: Admission(STRANGERS, "streams without a key yet"))

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why nobody should be sent here; nothing while all is well."""
        if self.life.leaving.is_set():
            return {"gateway": "it is shutting down."}
        return self.detector.catalogue.reasons

    async def detect(self, request: Request, caller: Caller) -> Answer:
        """The one way in for every transport, once it knows who asks."""
        caller.refuse_model(self.detector.catalogue.model(request.model).name)
        caller.count(len(request.pictures))
        return await self.detector.detect(request)

    def until(self, timeout_s: float | None) -> float:
        """When a request that may take so long is over, on the loop's clock."""
        wanted = self.patience.request_s if timeout_s is None else timeout_s
        if not 0 < wanted <= self.patience.max_request_s:
            longest_ms = self.patience.max_request_s * 1e3
            raise InvalidOptions(f"the time a request may take is above 0 and at most {longest_ms:g} ms; ask for that.")
        return asyncio.get_running_loop().time() + wanted


def request_id_from(given: str | None) -> str:
    """The caller's own id where it can stand in a log line; else a new one, which need not be hard to guess."""
    return given if given and _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
