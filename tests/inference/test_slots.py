"""Slots are lent to one at a time, the lowest first, and what comes back is lent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookonce.inference.slots import Slots

COUNT = 8
STEPS = st.lists(
    st.one_of(st.tuples(st.just("lend"), st.integers(1, COUNT)), st.tuples(st.just("end"), st.integers(0)))
)


def lowest(free: set[int], length: int) -> int | None:
    """The same said slowly."""
    starts = (first for first in range(COUNT) if free.issuperset(range(first, first + length)))
    return next(starts, None)


@given(STEPS)
def test_slots_are_lent_side_by_side_to_one_at_a_time_and_the_lowest_first(steps: list[tuple[str, int]]) -> None:
    slots, free, lent = Slots(COUNT), set(range(COUNT)), list[tuple[int, int]]()
    for step, number in steps:
        if step == "lend":
            first = slots.lend(number)
            assert first == lowest(free, number)
            if first is not None:
                lent.append((first, number))
                free -= set(range(first, first + number))
        elif lent:
            first, length = lent.pop(number % len(lent))
            slots.give_back(first, length)
            free |= set(range(first, first + length))
        assert slots.free == len(free)


@pytest.mark.parametrize("length", [9, 64, 1000])
def test_more_than_there_are_is_not_lent(length: int) -> None:
    slots = Slots(COUNT)
    assert slots.lend(length) is None
    assert slots.free == COUNT
