"""Buckets and turns, with a clock that is turned by hand."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookonce.access.rates import Allowance, Meter
from lookonce.errors import ImageTooLarge, RateLimited


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def drain(meter: Meter) -> int:
    """How many images there are to be had now."""
    taken = 0
    while True:
        try:
            meter.take(1)
        except RateLimited:
            return taken
        taken += 1


def test_without_a_rate_as_many_images_as_come_are_let_through() -> None:
    meter = Meter(Allowance(), Clock())
    for _ in range(3):
        meter.take(1_000_000)


def test_a_bucket_is_full_at_first_and_then_fills_with_time() -> None:
    clock = Clock()
    meter = Meter(Allowance(images_per_s=2, burst=10), clock)
    assert drain(meter) == 10
    clock.now += 2.5
    assert drain(meter) == 5
    clock.now += 3600
    assert drain(meter) == 10


@pytest.mark.parametrize(
    ("images_per_s", "burst", "bucket"), [(50, None, 50), (0.5, None, 1), (2.5, None, 3), (5, 9, 9)]
)
def test_without_a_burst_the_bucket_holds_one_second(images_per_s: float, burst: int | None, bucket: int) -> None:
    assert drain(Meter(Allowance(images_per_s, burst), Clock())) == bucket


def test_whoever_comes_too_often_is_told_when_to_come_back() -> None:
    clock = Clock()
    meter = Meter(Allowance(images_per_s=4, burst=8), clock)
    meter.take(8)
    with pytest.raises(RateLimited, match=r"4 images a second; try again shortly\.") as refused:
        meter.take(6)
    assert refused.value.retry_after_s == pytest.approx(1.5)


@pytest.mark.parametrize("now", [0.1, 12_345.678, 1e7])
def test_whoever_comes_back_just_then_is_not_sent_away_again(now: float) -> None:
    for images_per_s in (0.1, 0.3, 3, 7, 29.97, 1e4 / 3):
        clock = Clock(now)
        meter = Meter(Allowance(images_per_s, burst=3), clock)
        for _ in range(100):
            try:
                meter.take(3)
            except RateLimited as refused:
                clock.now += refused.retry_after_s
                meter.take(3)


def test_a_refused_request_costs_nothing() -> None:
    meter = Meter(Allowance(images_per_s=1, burst=4), Clock())
    meter.take(1)
    with pytest.raises(RateLimited):
        meter.take(4)
    assert drain(meter) == 3


def test_a_request_that_no_bucket_holds_is_not_asked_to_come_back() -> None:
    meter = Meter(Allowance(images_per_s=1, burst=4), Clock())
    with pytest.raises(ImageTooLarge, match=r"holds 5 images and this key may send 4 at once; split it\."):
        meter.take(5)
    assert drain(meter) == 4


@given(
    images_per_s=st.floats(0.01, 10_000),
    burst=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.integers(1, 40), st.floats(0, 30)), max_size=60),
)
def test_no_more_than_the_rate_comes_through_and_the_wait_that_is_told_is_true(
    images_per_s: float, burst: int, steps: list[tuple[int, float]]
) -> None:
    clock = Clock()
    meter, passed = Meter(Allowance(images_per_s, burst), clock), 0
    for wanted, wait_s in steps:
        images = min(wanted, burst)
        try:
            meter.take(images)
        except RateLimited as refused:
            clock.now += refused.retry_after_s
            meter.take(images)
        passed += images
        assert passed <= burst + images_per_s * (clock.now - 1000) * (1 + 1e-9) + 1e-3
        clock.now += wait_s


def test_only_so_many_turns_are_open_at_once() -> None:
    meter = Meter(Allowance(concurrency=2), Clock())
    with meter.turn():
        with meter.turn(), pytest.raises(RateLimited, match="2 requests and streams"), meter.turn():
            pytest.fail("a third one was let in")
        with meter.turn():
            pass


def test_a_turn_that_fails_is_given_back() -> None:
    meter = Meter(Allowance(concurrency=1), Clock())
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), meter.turn():
            raise ZeroDivisionError


CHANGES = (
    (Allowance(10, 10), Allowance(10, 10), 4),
    (Allowance(10, 10), Allowance(10, 20), 14),
    (Allowance(10, 10), Allowance(10, 8), 2),
    (Allowance(10, 10), Allowance(10, 3), 0),
)


@pytest.mark.parametrize(("before", "after", "left"), CHANGES, ids=str)
def test_what_was_used_stays_used_when_the_allowance_changes(before: Allowance, after: Allowance, left: int) -> None:
    meter = Meter(before, Clock())
    meter.take(6)
    meter.allow(after)
    assert drain(meter) == left


def test_a_limit_may_come_and_go() -> None:
    clock = Clock()
    meter = Meter(Allowance(), clock)
    meter.take(500)
    meter.allow(Allowance(images_per_s=1, burst=5))
    assert drain(meter) == 5
    meter.allow(Allowance())
    meter.take(500)


def test_open_turns_are_counted_across_a_change() -> None:
    meter = Meter(Allowance(concurrency=5), Clock())
    with meter.turn():
        meter.allow(Allowance(concurrency=1))
        with pytest.raises(RateLimited), meter.turn():
            pytest.fail("it was let in")
    with meter.turn():
        pass
