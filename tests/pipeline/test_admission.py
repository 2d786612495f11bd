"""Room for a bounded number of images: nobody is lost, nobody jumps the line, and the limit always holds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookonce.errors import Overloaded
from lookonce.pipeline.admission import Admission

LIMIT = 4
SHARE = 3
"""Of those who wait."""


async def settled() -> None:
    """Everybody who could take a step has taken it."""
    for _ in range(10):
        await asyncio.sleep(0)


@dataclass(eq=False)
class Guest:
    """Somebody who asks for room, stays until told to go, and notes in `seen` when they are let in."""

    number: int
    images: int
    patient: bool
    admission: Admission
    seen: list["Guest"]
    may_go: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def room(self) -> int:
        return min(self.images, SHARE if self.patient else LIMIT)

    async def visit(self) -> None:
        async with self.admission.room_for(self.images, patient=self.patient):
            self.seen.append(self)
            await self.may_go.wait()


@dataclass
class House:
    admission: Admission = field(default_factory=lambda: Admission(LIMIT))
    seen: list[Guest] = field(default_factory=list)
    guests: list[tuple[Guest, asyncio.Task[None]]] = field(default_factory=list)

    def arrive(self, images: int, *, patient: bool) -> tuple[Guest, asyncio.Task[None]]:
        guest = Guest(len(self.guests), images, patient, self.admission, self.seen)
        self.guests.append((guest, asyncio.ensure_future(guest.visit())))
        return self.guests[-1]

    @property
    def inside(self) -> list[Guest]:
        return [guest for guest, visit in self.guests if guest in self.seen and not visit.done()]

    @property
    def waiting(self) -> list[Guest]:
        return [guest for guest, visit in self.guests if guest.patient and guest not in self.seen and not visit.done()]


@asynccontextmanager
async def full() -> AsyncIterator[House]:
    """A house with all of its room taken by its first guest."""
    house = House()
    first, visit = house.arrive(LIMIT, patient=False)
    await settled()
    yield house
    first.may_go.set()
    await settled()
    assert visit.done()
    assert house.admission.in_flight == 0


STEPS = st.one_of(
    st.tuples(st.sampled_from(["wait", "ask"]), st.integers(1, LIMIT + 2)),
    st.tuples(st.sampled_from(["leave", "vanish"]), st.integers(0, 8)),
    st.tuples(st.just("tick"), st.integers(1, 3)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_the_limit_holds_and_nobody_is_lost(steps: list[tuple[str, int]]) -> None:
    """Guests come, go and vanish in any order, several of them within one turn of the loop too."""
    asyncio.run(_live_through(steps))


async def _live_through(steps: list[tuple[str, int]]) -> None:
    house, vanished = House(), set[int]()
    for step, number in steps:
        if step in {"wait", "ask"}:
            house.arrive(number, patient=step == "wait")
        elif step == "tick":
            for _ in range(number):
                await asyncio.sleep(0)
                assert room_of(house.inside) <= house.admission.in_flight <= LIMIT
                assert room_of([guest for guest in house.inside if guest.patient]) <= SHARE
        elif number < len(house.guests):
            guest, visit = house.guests[number]
            if step == "leave":
                guest.may_go.set()
            elif visit.cancel():
                vanished.add(number)
    await settled()
    assert not house.waiting or not has_room_for(house.waiting[0], house)
    for guest, _ in house.guests:
        guest.may_go.set()
    async with asyncio.timeout(5):
        ends = await asyncio.gather(*(visit for _, visit in house.guests), return_exceptions=True)
    assert house.admission.in_flight == 0
    for (guest, _), end in zip(house.guests, ends, strict=True):
        assert guest in house.seen or guest.number in vanished or (not guest.patient and isinstance(end, Overloaded))


def room_of(guests: list[Guest]) -> int:
    return sum(guest.room for guest in guests)


def has_room_for(waiting: Guest, house: House) -> bool:
    patient = [guest for guest in house.inside if guest.patient]
    return room_of(house.inside) + waiting.room <= LIMIT and room_of(patient) + waiting.room <= SHARE


async def test_who_cannot_wait_finds_room_beside_any_number_of_those_who_can() -> None:
    """However many wait, and whoever of them comes next: a quarter is not for them."""
    house = House()
    patient = [house.arrive(1, patient=True)[0] for _ in range(20)]
    for number in range(18):
        await settled()
        assert [guest in house.seen for guest in patient] == [place < number + SHARE for place in range(20)]
        async with house.admission.room_for(1, patient=False):
            with pytest.raises(Overloaded):
                house.admission.refuse_when_full()
        patient[number].may_go.set()
    for guest in patient:
        guest.may_go.set()
    await asyncio.gather(*(visit for _, visit in house.guests))
    assert house.admission.in_flight == 0


async def test_who_waits_comes_first_when_somebody_leaves() -> None:
    async with full() as house:
        waiting, _ = house.arrive(1, patient=True)
        await settled()
        house.guests[0][0].may_go.set()
        await settled()
        assert waiting in house.seen
        waiting.may_go.set()


@pytest.mark.parametrize(("limit", "share"), [(1, 1), (2, 1), (3, 2), (4, 3), (64, 48)])
def test_those_who_wait_have_three_quarters_and_never_nothing(limit: int, share: int) -> None:
    assert Admission(limit).limit_for_patient == share


async def test_waiting_for_the_last_one_keeps_nobody_out() -> None:
    admission = Admission(LIMIT)
    async with AsyncExitStack() as inside:
        await inside.enter_async_context(admission.room_for(1, patient=False))
        emptied = [asyncio.ensure_future(admission.empty()) for _ in range(2)]
        await settled()
        await inside.enter_async_context(admission.room_for(1, patient=False))
        assert not any(each.done() for each in emptied)
    await asyncio.gather(*emptied)


async def test_who_cannot_wait_is_refused_when_full() -> None:
    async with full() as house:
        _, visit = house.arrive(1, patient=False)
        await settled()
        with pytest.raises(
            Overloaded, match="all 4 images that are taken at once are taken; try again shortly"
        ) as told:
            visit.result()
        assert told.value.retry_after_s > 0


async def test_who_can_wait_is_let_in_when_there_is_room_again() -> None:
    async with full() as house:
        guest, visit = house.arrive(2, patient=True)
        await settled()
        assert guest not in house.seen
        house.guests[0][0].may_go.set()
        await settled()
        assert guest in house.seen
        guest.may_go.set()
        await visit


async def test_nobody_overtakes_a_large_request_that_waits_first() -> None:
    async with full() as house:
        large, small = house.arrive(LIMIT, patient=True), house.arrive(1, patient=True)
        await settled()
        with pytest.raises(Overloaded):
            house.admission.refuse_when_full()
        house.guests[0][0].may_go.set()
        await settled()
        assert large[0] in house.seen
        assert small[0] not in house.seen
        large[0].may_go.set()
        await settled()
        assert small[0] in house.seen
        small[0].may_go.set()


async def test_a_request_for_more_than_there_is_gets_all_of_it() -> None:
    admission = Admission(LIMIT)
    async with admission.room_for(LIMIT * 3, patient=False):
        assert admission.in_flight == LIMIT
    assert admission.in_flight == 0


async def test_what_goes_wrong_inside_gives_the_room_back() -> None:
    admission = Admission(LIMIT)
    with pytest.raises(ZeroDivisionError):
        async with admission.room_for(1, patient=True):
            raise ZeroDivisionError
    assert admission.in_flight == 0


async def test_who_vanishes_in_line_lets_the_next_one_in() -> None:
    async with full() as house:
        house.guests[0][0].may_go.clear()
        (_, large), (small, _) = house.arrive(LIMIT, patient=True), house.arrive(1, patient=True)
        await settled()
        large.cancel()
        house.guests[0][0].may_go.set()
        await settled()
        assert large.cancelled()
        assert small in house.seen
        small.may_go.set()


async def test_who_vanishes_in_the_moment_of_being_called_gives_the_room_back() -> None:
    admission = Admission(1)
    async with AsyncExitStack() as inside:
        await inside.enter_async_context(admission.room_for(1, patient=False))
        guest = Guest(0, 1, True, admission, [])
        visit = asyncio.ensure_future(guest.visit())
        await settled()
        await inside.aclose()
        visit.cancel()
        await settled()
    assert visit.cancelled()
    assert not guest.seen
    assert admission.in_flight == 0


async def test_who_vanished_and_has_not_noticed_is_not_called() -> None:
    """The one ahead leaves in the very turn of the loop in which the one in line is cancelled."""
    admission = Admission(1)
    async with AsyncExitStack() as inside:
        await inside.enter_async_context(admission.room_for(1, patient=False))
        first, second = (Guest(number, 1, True, admission, []) for number in range(2))
        gone, waiting = asyncio.ensure_future(first.visit()), asyncio.ensure_future(second.visit())
        await settled()
        gone.cancel()
        await inside.aclose()
        await settled()
    assert gone.cancelled()
    assert second.seen == [second]
    second.may_go.set()
    await waiting
    assert admission.in_flight == 0


async def test_empty_waits_for_the_last_one() -> None:
    async with full() as house:
        emptied = asyncio.ensure_future(house.admission.empty())
        await settled()
        assert not emptied.done()
        house.guests[0][0].may_go.set()
        await emptied
