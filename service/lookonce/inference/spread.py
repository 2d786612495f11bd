"""Several inference servers as one: calls go round, and one that fails rests for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from lookonce.card import Card
from lookonce.errors import BackendContractBroken, BackendUnavailable, DeadlineExceeded, NotServed, ServiceError
from lookonce.inference.port import Call, Candidates, Inference, ServedModel, sendable
from lookonce.inference.triton import Triton

T = TypeVar("T")
SHORTEST_REST_S, LONGEST_REST_S = 0.25, 10.0
PATIENT_S: Final = 1.0
"""Whoever was silent for so long may be gone; of a caller in a hurry nothing is learned."""


def inference_for(urls: Sequence[str]) -> Inference:
    """Triton at each of these addresses; behind one name (`dns:///…`) gRPC itself goes round."""
    members = [Triton(url) for url in dict.fromkeys(urls)]
    return members[0] if len(members) == 1 else Spread(members)


@dataclass(slots=True)
class Member:
    """One of the servers. It rests the longer the more often it failed in a row."""

    inference: Inference
    failures: int = 0
    rests_until: float = 0.0

    def fail(self, now: float) -> None:
        """Of the many calls that one breakdown ends, the first one counts."""
        if self.rests_until <= now:
            self.rests_until = now + min(LONGEST_REST_S, SHORTEST_REST_S * 2.0 ** min(self.failures, 16))
            self.failures += 1

    def recover(self) -> None:
        self.failures, self.rests_until = 0, 0.0


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

    async def infer(self, call: Call) -> Candidates:
        until = self._clock() + call.timeout_s
        errors: list[ServiceError] = []
        for member in self._in_turn():
            left = sendable(replace(call, timeout_s=until - self._clock()) if errors else call)
            try:
                return await self._heard(member, member.inference.infer(left), left.timeout_s)
            except (BackendUnavailable, NotServed) as error:
                errors.append(error)
        raise _telling_most(errors)

    async def close(self) -> None:
        await asyncio.gather(*(member.inference.close() for member in self._members))

    def _in_turn(self) -> list[Member]:
        """Whoever is awake, each call beginning with the next one; then those that rest, the soonest awake first."""
        now = self._clock()
        awake = [member for member in self._members if member.rests_until <= now]
        resting = [member for member in self._members if member.rests_until > now]
        first = self._begun % len(awake) if awake else 0
        self._begun += 1
        return awake[first:] + awake[:first] + sorted(resting, key=lambda member: member.rests_until)

    async def _ask(self, ask: Callable[[Inference], Awaitable[T]]) -> list[T]:
        """What those say who are awake, in their own order; everybody where nobody is."""
        now = self._clock()
        asked = [member for member in self._members if member.rests_until <= now] or self._members
        hearing = (self._heard(member, ask(member.inference), PATIENT_S) for member in asked)
        said = await asyncio.gather(*map(_answer_or_error, hearing))
        answers = [each for each in said if not isinstance(each, ServiceError)]
        if not answers:
            raise _telling_most([each for each in said if isinstance(each, ServiceError)])
        return answers

    async def _heard(self, member: Member, answer: Awaitable[T], timeout_s: float) -> T:
        """The answer itself. Whoever gives one, be it a refusal, is there; after a failure one call at a time tries."""
        if member.failures:
            member.fail(self._clock())
        try:
            heard = await answer
        except (BackendUnavailable, DeadlineExceeded) as error:
            if isinstance(error, BackendUnavailable) or timeout_s >= PATIENT_S:
                member.fail(self._clock())
            raise
        except ServiceError:
            member.recover()
            raise
        member.recover()
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
