"""Several inference servers as one: calls go round among those that are well.

One that fails rests for a while, and then is asked what it serves: only when it answers that do calls go to it again.
So nobody who wants an answer waits to find out whether it is back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from lookonce.card import Card
from lookonce.errors import BackendContractBroken, BackendUnavailable, DeadlineExceeded, NotServed, ServiceError
from lookonce.inference.colocated import Colocated
from lookonce.inference.port import Call, Candidates, Canvas, Inference, ServedModel, sendable
from lookonce.inference.shared import Canvases
from lookonce.inference.triton import Triton

T = TypeVar("T")
SHORTEST_REST_S, LONGEST_REST_S = 0.25, 10.0
PATIENT_S: Final = 1.0
"""Whoever was silent for so long may be gone; of a caller in a hurry nothing is learned."""


def inference_for(urls: Sequence[str], canvases: Canvases | None = None) -> Inference:
    """Triton at each of these addresses; behind one name (`dns:///…`) gRPC itself goes round.

    With `canvases`, those that are on this machine read pictures where they were laid.
    """
    members = [Colocated(url, canvases) if canvases else Triton(url) for url in dict.fromkeys(urls)]
    return members[0] if len(members) == 1 else Spread(members)


@dataclass(slots=True)
class Member:
    """One of the servers. It rests the longer the more often it failed since it last looked at a picture."""

    inference: Inference
    failures: int = 0
    rests_until: float = 0.0
    is_well: bool = True

    def fail(self, now: float) -> None:
        """Of the many calls that one breakdown ends, the first one counts."""
        self.is_well = False
        if self.rests_until <= now:
            self.rests_until = now + min(LONGEST_REST_S, SHORTEST_REST_S * 2.0 ** min(self.failures, 16))
            self.failures += 1

    def wake(self) -> None:
        self.is_well, self.rests_until = True, 0.0


class Spread:
    """What one member lacks or cannot answer just now, the next one is asked for; each at most once a call.

    Members may differ while they are rolled over: the models are those of any of them.
    """

    def __init__(self, members: Sequence[Inference], clock: Callable[[], float] = time.monotonic) -> None:
        self._members = [Member(inference) for inference in members]
        self._clock = clock
        self._begun = 0

    async def names(self) -> tuple[str, ...]:
        answers = await self._ask(lambda inference: inference.names())
        return tuple(sorted({name for names in answers for name in names}))

    async def served(self, name: str) -> ServedModel:
        """The model of the first member that has it, once all that serve a version of it agree on it."""
        first, *others = await self._ask(lambda inference: inference.served(name))
        for other in others:
            _refuse_differences(first, other)
        return first

    def canvas(self, card: Card, images: int) -> Canvas:
        return self._members[0].inference.canvas(card, images)

    async def infer(self, call: Call) -> Candidates:
        until = self._clock() + call.timeout_s
        errors: list[ServiceError] = []
        for member in self._in_turn():
            left = sendable(replace(call, timeout_s=until - self._clock()) if errors else call)
            try:
                found = await self._heard(member, member.inference.infer(left), left.timeout_s)
            except (BackendUnavailable, NotServed) as error:
                errors.append(error)
            else:
                member.failures = 0
                return found
        raise _telling_most(errors)

    async def close(self) -> None:
        await asyncio.gather(*(member.inference.close() for member in self._members))

    def _in_turn(self) -> list[Member]:
        """Whoever is well, each call beginning with the next one; then the others, the soonest awake first."""
        well = [member for member in self._members if member.is_well]
        others = [member for member in self._members if not member.is_well]
        first = self._begun % len(well) if well else 0
        self._begun += 1
        return well[first:] + well[:first] + sorted(others, key=lambda member: member.rests_until)

    async def _ask(self, ask: Callable[[Inference], Awaitable[T]]) -> list[T]:
        """What those say who do not rest, in their own order; everybody where all do."""
        now = self._clock()
        asked = [member for member in self._members if member.rests_until <= now] or self._members
        hearing = (self._heard(member, ask(member.inference), PATIENT_S) for member in asked)
        said = await asyncio.gather(*map(_answer_or_error, hearing))
        answers = [each for each in said if not isinstance(each, ServiceError)]
        if not answers:
            raise _telling_most([each for each in said if isinstance(each, ServiceError)])
        return answers

    async def _heard(self, member: Member, answer: Awaitable[T], timeout_s: float) -> T:
        """The answer itself. Whoever gives one, be it a refusal, is there."""
        try:
            heard = await answer
        except (BackendUnavailable, DeadlineExceeded) as error:
            if isinstance(error, BackendUnavailable) or timeout_s >= PATIENT_S:
                member.fail(self._clock())
            raise
        except ServiceError:
            member.wake()
            raise
        member.wake()
        return heard


async def _answer_or_error(answer: Awaitable[T]) -> T | ServiceError:
    try:
        return await answer
    except ServiceError as error:
        return error


def _telling_most(errors: Sequence[ServiceError]) -> ServiceError:
    """What says more than that nobody was there."""
    return next((error for error in errors if not isinstance(error, BackendUnavailable)), errors[-1])


def _refuse_differences(one: ServedModel, other: ServedModel) -> None:
    for version in one.cards.keys() & other.cards.keys():
        if _meaning(one.cards[version]) != _meaning(other.cards[version]):
            raise BackendContractBroken(
                f"two Tritons serve different models as {one.name} version {version}; give both the same repository."
            )


def _meaning(card: Card) -> tuple[object, ...]:
    """What must be the same wherever a call goes. Engines may differ: each kind of GPU has its own."""
    return card.source_sha256, card.labels, card.geometry, card.candidates, card.max_batch, card.needs_nms, card.raw
