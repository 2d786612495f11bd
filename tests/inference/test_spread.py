"""Several servers as one, where each fails as it is told to and the clock is turned by hand."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from lookonce.card import Card
from lookonce.errors import (
    BackendContractBroken,
    BackendUnavailable,
    DeadlineExceeded,
    InvalidOptions,
    Overloaded,
    ServiceError,
    UnknownModel,
    UnknownVersion,
)
from lookonce.inference.fake import Fake
from lookonce.inference.port import Call, Candidates, ServedModel
from lookonce.inference.spread import LONGEST_REST_S, SHORTEST_REST_S, Spread

CallOf, CardOf = Callable[..., Call], Callable[..., Card]
PATIENCE_S = 30
GONE = BackendUnavailable("nobody is there.")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fakes(card_of: CardOf) -> Callable[..., list[Fake]]:
    """So many servers with the model `echo`."""

    def make(count: int) -> list[Fake]:
        return [Fake({"echo": ServedModel("echo", 1, {1: card_of()})}) for _ in range(count)]

    return make


def asked(members: Iterable[Fake]) -> list[int]:
    """How many calls each one was sent since it was last looked at."""
    counts = [len(member.calls) for member in members]
    for member in members:
        member.calls.clear()
    return counts


async def send(spread: Spread, call: Call, times: int) -> None:
    for _ in range(times):
        await spread.infer(call)


async def test_calls_go_round(fakes: Callable[..., list[Fake]], call_of: CallOf) -> None:
    members = fakes(3)
    await send(Spread(members), call_of(), 9)
    assert asked(members) == [3, 3, 3]


async def test_one_is_enough(fakes: Callable[..., list[Fake]], call_of: CallOf) -> None:
    members = fakes(1)
    await send(Spread(members), call_of(), 3)
    assert asked(members) == [3]


async def test_a_call_that_meets_nobody_goes_to_the_next(fakes: Callable[..., list[Fake]], call_of: CallOf) -> None:
    members = fakes(3)
    members[0].failures = iter([GONE])
    members[1].failures = iter([GONE])
    assert (await Spread(members).infer(call_of())).shape == (1, 5, 6)
    assert asked(members) == [1, 1, 1]


async def test_where_nobody_is_each_is_asked_once_and_the_next_call_tries_again(
    fakes: Callable[..., list[Fake]], call_of: CallOf
) -> None:
    members = fakes(3)
    spread = Spread(members, Clock())
    for member in members:
        member.failures = iter([GONE])
    with pytest.raises(BackendUnavailable):
        await spread.infer(call_of())
    assert asked(members) == [1, 1, 1]
    await spread.infer(call_of())
    assert sum(asked(members)) == 1


@pytest.mark.parametrize("error", [Overloaded("full."), DeadlineExceeded("late."), BackendContractBroken("wrong.")])
async def test_what_another_server_would_not_better_is_not_sent_again(
    fakes: Callable[..., list[Fake]], call_of: CallOf, error: ServiceError
) -> None:
    members = fakes(2)
    members[0].failures = iter([error])
    with pytest.raises(type(error)):
        await Spread(members).infer(call_of())
    assert asked(members) == [1, 0]


async def test_what_cannot_be_sent_is_sent_to_nobody(fakes: Callable[..., list[Fake]], call_of: CallOf) -> None:
    members = fakes(2)
    with pytest.raises(InvalidOptions):
        await Spread(members).infer(call_of(images=0))
    assert asked(members) == [0, 0]


async def test_one_that_failed_is_left_alone_until_it_says_what_it_serves(
    fakes: Callable[..., list[Fake]], call_of: CallOf
) -> None:
    members, clock = fakes(3), Clock()
    spread = Spread(members, clock)
    members[0].failures = iter([GONE])
    await spread.infer(call_of())
    assert asked(members) == [1, 1, 0]
    for wait_s in (0.0, SHORTEST_REST_S, 100 * LONGEST_REST_S):
        clock.now += wait_s
        await send(spread, call_of(), 10)
        assert asked(members) == [0, 5, 5]
    await spread.names()
    await send(spread, call_of(), 12)
    assert asked(members) == [4, 4, 4]


class Silent(Fake):
    """A server behind which packets vanish, until it `speaks`."""

    speaks = False

    async def names(self) -> tuple[str, ...]:
        self._vanish()
        return await super().names()

    async def infer(self, call: Call) -> Candidates:
        self.calls.append(call)
        self._vanish()
        return await super().infer(call)

    def _vanish(self) -> None:
        if not self.speaks:
            raise DeadlineExceeded("nobody answered.")


async def test_nobody_who_wants_an_answer_waits_for_one_that_was_silent(
    fakes: Callable[..., list[Fake]], call_of: CallOf
) -> None:
    """It costs the first caller its time, and after that only those who look."""
    (other,), clock = fakes(1), Clock()
    silent = Silent(other.models)
    spread = Spread([silent, other], clock)
    with pytest.raises(DeadlineExceeded):
        await spread.infer(call_of(timeout_s=5.0))
    for _ in range(200):
        await send(spread, call_of(timeout_s=5.0), 2)
        await spread.names()
        clock.now += 1.0
    assert len(silent.calls) == 1
    silent.speaks = True
    clock.now += LONGEST_REST_S
    await spread.names()
    await send(spread, call_of(timeout_s=5.0), 2)
    assert len(silent.calls) > 1


async def test_the_rest_grows_to_a_limit_where_calls_fail_and_looks_do_not(
    fakes: Callable[..., list[Fake]], call_of: CallOf
) -> None:
    members, clock = fakes(2), Clock()
    spread, tried_at = Spread(members, clock), list[float]()
    members[0].failures = iter([GONE] * 1000)
    for _ in range(400):
        await spread.names()
        await send(spread, call_of(), 2)
        if asked(members)[0]:
            tried_at.append(clock.now)
        clock.now += SHORTEST_REST_S / 2
    rests = [later - earlier for earlier, later in pairwise(tried_at)]
    assert rests[:6] == [0.25, 0.5, 1, 2, 4, 8]
    assert set(rests[6:]) == {LONGEST_REST_S}


async def test_many_calls_that_one_breakdown_ends_count_once(fakes: Callable[..., list[Fake]], call_of: CallOf) -> None:
    members, clock = fakes(2), Clock()
    spread = Spread(members, clock)
    members[0].failures = iter([GONE] * 32)
    await asyncio.gather(*(spread.infer(call_of()) for _ in range(64)))
    clock.now += SHORTEST_REST_S
    await spread.names()
    asked(members)
    await send(spread, call_of(), 4)
    assert asked(members)[0] >= 1


async def test_hurried_callers_do_not_lengthen_the_rest_of_one_that_is_well(
    fakes: Callable[..., list[Fake]], call_of: CallOf
) -> None:
    members, clock = fakes(2), Clock()
    spread = Spread(members, clock)
    members[0].failures = iter([GONE, *[DeadlineExceeded("late.")] * 40])
    for _ in range(40):
        with suppress(DeadlineExceeded):
            await spread.infer(call_of(timeout_s=0.02))
        clock.now += 0.7
    await spread.names()
    asked(members)
    members[0].failures = iter([])
    await send(spread, call_of(), 4)
    assert asked(members) == [2, 2]


async def test_a_server_that_is_silent_for_long_rests_but_a_hurried_caller_proves_nothing(
    fakes: Callable[..., list[Fake]], call_of: CallOf
) -> None:
    for timeout_s, tried in ((5.0, 0), (0.02, 2)):
        members = fakes(2)
        spread = Spread(members, Clock())
        members[0].failures = iter([DeadlineExceeded("late.")])
        with pytest.raises(DeadlineExceeded):
            await spread.infer(call_of(timeout_s=timeout_s))
        asked(members)
        await send(spread, call_of(), 4)
        assert asked(members) == [tried, 4 - tried]


async def test_after_its_time_a_call_goes_to_nobody_else(fakes: Callable[..., list[Fake]], call_of: CallOf) -> None:
    clock = Clock()

    def dawdle(_call: Call) -> Candidates:
        clock.now += 2
        raise GONE

    members = [replace(member, script=dawdle) for member in fakes(3)]
    with pytest.raises(DeadlineExceeded, match="the time was over"):
        await Spread(members, clock).infer(call_of(timeout_s=3))
    assert [[call.timeout_s for call in member.calls] for member in members] == [[3.0], [1.0], []]


async def test_a_caller_that_goes_away_is_not_passed_on(fakes: Callable[..., list[Fake]], call_of: CallOf) -> None:
    members = fakes(2)
    members[0].latency_s = {"echo": 60}
    waiting = asyncio.create_task(Spread(members).infer(call_of(timeout_s=60)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asked(members) == [1, 0]


async def test_the_models_are_those_of_any_member_that_answers(card_of: CardOf, call_of: CallOf) -> None:
    old, new = (
        Fake({name: ServedModel(name, 1, {1: card_of(name)}) for name in names})
        for names in (("echo", "old"), ("echo", "new"))
    )
    spread = Spread([old, new], Clock())
    assert await spread.names() == ("echo", "new", "old")
    for name in ("old", "new"):
        assert (await spread.served(name)).name == name
        await send(spread, call_of(name), 4)
    assert {call.card.name for call in new.calls} == {"new"}
    with pytest.raises(UnknownModel):
        await spread.served("nowhere")
    with pytest.raises(UnknownModel):
        await spread.infer(call_of("nowhere"))
    old.is_closed = True
    assert await spread.names() == ("echo", "new")
    new.is_closed = True
    with pytest.raises(BackendUnavailable):
        await spread.names()
    old.is_closed = new.is_closed = False
    assert await spread.names() == ("echo", "new", "old")


async def test_a_version_that_only_one_has_is_found_there(card_of: CardOf, call_of: CallOf) -> None:
    cards = {version: card_of(version=version) for version in (1, 2)}
    old, new = Fake({"echo": ServedModel("echo", 1, {1: cards[1]})}), Fake({"echo": ServedModel("echo", 2, cards)})
    spread = Spread([old, new])
    assert (await spread.served("echo")).default_version == 1
    await send(spread, call_of(version=2), 3)
    assert [call.card.version for call in new.calls] == [2, 2, 2]
    with pytest.raises(UnknownVersion):
        await spread.infer(call_of(version=3))


async def test_members_that_serve_different_things_under_one_name_are_refused(card_of: CardOf) -> None:
    one, other = (
        Fake({"echo": ServedModel("echo", 1, {1: card_of(labels=labels)})}) for labels in (("a", "b"), ("b", "a"))
    )
    with pytest.raises(BackendContractBroken, match="serve different models as echo version 1"):
        await Spread([one, other]).served("echo")


async def test_each_kind_of_gpu_may_have_its_own_engine(card_of: CardOf) -> None:
    one, other = (
        Fake({"echo": ServedModel("echo", 1, {1: card_of(served_sha256=digest * 64)})}) for digest in ("1", "2")
    )
    assert (await Spread([one, other]).served("echo")).card().served_sha256 == "1" * 64


async def test_closing_closes_all(fakes: Callable[..., list[Fake]], call_of: CallOf) -> None:
    members = fakes(3)
    spread = Spread(members)
    await spread.close()
    assert all(member.is_closed for member in members)
    with pytest.raises(BackendUnavailable):
        await spread.infer(call_of())
