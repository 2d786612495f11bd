"""An inference server that does as it is told, for tests of everything above the port."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from lookonce.card import ROW, Card
from lookonce.errors import BackendUnavailable, DeadlineExceeded, ServiceError, UnknownModel
from lookonce.inference.port import Call, Candidates, Canvas, ServedModel, checked, fresh_canvas, sendable

Script: TypeAlias = Callable[[Call], Candidates]


def nothing(call: Call) -> Candidates:
    """Rows with nothing in them: score 0, class -1."""
    rows = np.zeros((len(call.images), call.card.candidates, ROW), np.float32)
    rows[..., 5] = -1
    return rows


@dataclass(slots=True)
class Fake:
    """Answers by `script` after the model's `latency_s`; each of `failures` is raised once, in turn, before that."""

    models: Mapping[str, ServedModel]
    script: Script = nothing
    latency_s: Mapping[str, float] = field(default_factory=dict)
    failures: Iterable[ServiceError] = ()
    calls: list[Call] = field(default_factory=list)
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.failures = iter(self.failures)

    async def names(self) -> tuple[str, ...]:
        self._refuse_when_closed()
        return tuple(sorted(self.models))

    async def served(self, name: str) -> ServedModel:
        self._refuse_when_closed()
        if name not in self.models:
            raise UnknownModel(f"there is no model {name} here; correct the name.")
        return self.models[name]

    def canvas(self, card: Card, images: int) -> Canvas:
        return fresh_canvas(card, images)

    async def infer(self, call: Call) -> Candidates:
        (await self.served(sendable(call).card.name)).card(call.card.version)
        self.calls.append(call)
        for failure in self.failures:
            raise failure
        latency_s = self.latency_s.get(call.card.name, 0.0)
        await asyncio.sleep(min(latency_s, call.timeout_s))
        if latency_s >= call.timeout_s:
            raise DeadlineExceeded(f"model {call.card.name} did not answer within {call.timeout_s:g} s; allow more.")
        return checked(self.script(call), call)

    async def close(self) -> None:
        self.is_closed = True

    def _refuse_when_closed(self) -> None:
        if self.is_closed:
            raise BackendUnavailable("the connection was closed.")
