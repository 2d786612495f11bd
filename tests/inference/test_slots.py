"""Slots are lent to one at a time, in the order of asking, and all come back whatever becomes of the borrowers."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookonce.inference.slots import Slots

SOON_S = 10.0
SETTLED = 5


@dataclass
class Book:
    """Who holds what, and in which order it was lent."""

    held: set[int] = field(default_factory=set)
    served: list[int] = field(default_factory=list)


ASK, END, FAIL, LEAVE = "ask", "end", "fail", "leave"
STEPS = st.lists(st.tuples(st.sampled_from([ASK, ASK, ASK, END, FAIL, LEAVE]), st.integers(0, 7)), max_size=40)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Borrower:
    """Keeps its slots until it is told to end, or to fail."""

    def __init__(self, slots: Slots, length: int, number: int, book: Book) -> None:
        self.ends: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._borrow(slots, length, number, book))

    async def _borrow(self, slots: Slots, length: int, number: int, book: Book) -> None:
        async with slots.lent(length) as first:
            mine = set(range(first, first + length))
            assert not mine & book.held, "somebody else has them"
            assert max(mine) < slots.count
            book.served.append(number)
            book.held |= mine
            try:
                if await self.ends:
                    raise RuntimeError
            finally:
                book.held -= mine

    def take(self, step: str) -> None:
        if self.ends.done() or step == LEAVE:
            self.task.cancel()
        else:
            self.ends.set_result(step == FAIL)


async def lend_to_all(steps: list[tuple[str, int]], rest: int) -> None:
    """After each step `rest` turns of the loop: with none, things happen before others have noticed what was before."""
    slots, book, borrowers = Slots(8), Book(), list[Borrower]()
    for step, number in steps:
        if step == ASK:
            borrowers.append(Borrower(slots, 1 + number, len(borrowers), book))
        elif borrowers:
            borrowers[number % len(borrowers)].take(step)
        await turns(rest)
    for borrower in borrowers:
        if not borrower.ends.done():
            borrower.ends.set_result(False)
    async with asyncio.timeout(SOON_S):
        ends = await asyncio.gather(*(borrower.task for borrower in borrowers), return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), RuntimeError, asyncio.CancelledError}
    assert slots.free == slots.count
    assert rest < SETTLED or book.served == sorted(book.served), "first come, first served"
    assert set(book.served) >= {number for number, end in enumerate(ends) if end is None}


@given(STEPS, st.sampled_from([0, 1, SETTLED]))
def test_no_slot_is_lent_twice_and_all_come_back_in_the_order_of_asking(
    steps: list[tuple[str, int]], rest: int
) -> None:
    asyncio.run(lend_to_all(steps, rest))


async def test_the_lowest_slots_go_first() -> None:
    slots = Slots(8)
    async with slots.lent(1) as first, slots.lent(3) as second:
        assert (first, second) == (0, 1)
    async with slots.lent(8) as first:
        assert first == 0


async def test_a_gap_is_filled_by_whoever_fits_in() -> None:
    slots = Slots(6)
    async with slots.lent(2):
        async with slots.lent(2), slots.lent(2) as last:
            assert last == 4
        async with slots.lent(4) as middle:
            assert middle == 2


@pytest.mark.parametrize("others_length", [1, 2])
async def test_who_wants_many_is_not_passed_over_for_ever(others_length: int) -> None:
    slots = Slots(4)
    order: list[str] = []

    async def take(name: str, length: int) -> None:
        async with slots.lent(length):
            order.append(name)

    async with slots.lent(1):
        waiting = [asyncio.create_task(take("many", 4))]
        await turns(1)
        waiting += [asyncio.create_task(take("few", others_length)) for _ in range(3)]
        await turns(3)
        assert order == []
    await asyncio.gather(*waiting)
    assert order == ["many", "few", "few", "few"]


async def test_whoever_gives_up_waiting_keeps_nobody_behind_waiting() -> None:
    slots = Slots(4)
    async with slots.lent(1):
        many = asyncio.create_task(slots.lent(4).__aenter__())
        await turns(1)
        few = asyncio.create_task(slots.lent(2).__aenter__())
        await turns(1)
        many.cancel()
        async with asyncio.timeout(SOON_S):
            assert await few == 1


async def test_slots_of_one_who_leaves_in_the_moment_of_being_called_go_to_the_next() -> None:
    slots = Slots(1)
    held = slots.lent(1)
    await held.__aenter__()
    called = asyncio.create_task(slots.lent(1).__aenter__())
    await turns(1)
    await held.__aexit__(None, None, None)
    called.cancel()
    with pytest.raises(asyncio.CancelledError):
        await called
    assert slots.free == 1
