"""Who holds a canvas, and for how long: few at once, and nobody whose picture is still being drawn."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.pipeline.conftest import DetectorOver, FakeOf, asking, busy, grey, levels
from tests.waiting import until

from lookonce.card import Card
from lookonce.errors import DeadlineExceeded
from lookonce.inference.fake import Fake
from lookonce.inference.port import Call, Candidates, Canvas, Images, ServedModel
from lookonce.pipeline.deadline import in_time
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.request import Answer
from lookonce.pipeline.workers import AHEAD, Workers

BLANK = 77
MANY = 12


@dataclass
class Lender:
    """The fake, with its canvases counted; one that came back is painted over, and kept to be looked at."""

    fake: Fake
    lent: int = 0
    asking: int = 0
    most_unasked: int = 0
    returned: list[Images] = field(default_factory=list)

    async def names(self) -> tuple[str, ...]:
        return await self.fake.names()

    async def served(self, name: str) -> ServedModel:
        return await self.fake.served(name)

    def canvas(self, card: Card, images: int) -> Canvas:
        drawn = self.fake.canvas(card, images).images
        self.lent += 1
        self.most_unasked = max(self.most_unasked, self.lent - self.asking)

        def take_back() -> None:
            self.lent -= 1
            self.returned.append(drawn)
            drawn[:] = BLANK

        return Canvas(drawn, take_back)

    async def infer(self, call: Call) -> Candidates:
        self.asking += 1
        try:
            return await self.fake.infer(call)
        finally:
            self.asking -= 1

    async def close(self) -> None:
        await self.fake.close()


@dataclass
class Held:
    """Pictures whose decoding has begun and goes on when it is told to."""

    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go_on: threading.Event = field(default_factory=threading.Event)

    def picture(self, level: int) -> bytes:
        held = self

        class Picture(bytes):
            def __len__(self) -> int:
                held.begun.release()
                held.go_on.wait(30)
                return super().__len__()

        return Picture(grey(level))

    async def all_begun(self, pictures: int) -> None:
        async with asyncio.timeout(10):
            for _ in range(pictures):
                await asyncio.to_thread(self.begun.acquire, timeout=10)


class Broken(bytes):
    """A picture that nobody has thought of."""

    def __len__(self) -> int:
        raise ZeroDivisionError


@pytest.fixture
async def lender(fake_of: FakeOf) -> Lender:
    return Lender(fake_of())


@pytest.fixture
async def detector(lender: Lender, detector_over: DetectorOver) -> Detector:
    detector = await detector_over(lender, limit=64)
    lender.fake.calls.clear()
    lender.returned.clear()
    return detector


Asked = Callable[[int], list["asyncio.Task[Answer]"]]


@pytest.fixture
def asked(detector: Detector) -> Asked:
    """So many requests at once, each with a picture of its own."""

    def ask(many: int) -> list[asyncio.Task[Answer]]:
        return [asyncio.create_task(detector.detect(asking(grey(level)))) for level in range(many)]

    return ask


async def settled() -> None:
    """Everybody who could take a step has taken it."""
    for _ in range(10):
        await asyncio.sleep(0)


async def gone(tasks: list["asyncio.Task[Answer]"]) -> None:
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} <= {asyncio.CancelledError}


async def test_a_slow_model_is_asked_by_every_request_at_once(lender: Lender, asked: Asked, threads: Workers) -> None:
    lender.fake.latency_s = {"echo": 30.0}
    requests = asked(MANY)
    await until(lambda: len(lender.fake.calls) == MANY)
    assert lender.lent == MANY
    assert lender.most_unasked <= threads.count + AHEAD
    await gone(requests)
    assert lender.lent == 0


async def test_of_many_that_wait_for_a_thread_few_hold_a_canvas(lender: Lender, asked: Asked, threads: Workers) -> None:
    async with busy(threads):
        requests = asked(MANY)
        await settled()
        assert lender.lent == threads.count + AHEAD
    answers = await asyncio.gather(*requests)
    assert [levels(answer.results) for answer in answers] == [[level] for level in range(MANY)]
    assert lender.most_unasked == threads.count + AHEAD
    assert lender.lent == 0


async def test_who_goes_away_gives_its_place_to_the_next(lender: Lender, asked: Asked, threads: Workers) -> None:
    few = threads.count + AHEAD
    async with busy(threads):
        requests = asked(MANY)
        await settled()
        await gone(requests[: few + 2])
        await settled()
        assert lender.lent == few
        assert len(lender.returned) == few, "two of them had not had one yet"
    answers = await asyncio.gather(*requests[few + 2 :])
    assert [levels(answer.results) for answer in answers] == [[level] for level in range(few + 2, MANY)]
    assert len(lender.fake.calls) == MANY - few - 2


async def test_a_request_that_is_refused_gives_its_place_back(
    lender: Lender, detector: Detector, asked: Asked, threads: Workers
) -> None:
    for _ in range(2 * (threads.count + AHEAD)):
        with pytest.raises(ZeroDivisionError):
            await detector.detect(asking(Broken()))
    answers = await asyncio.gather(*asked(MANY))
    assert len(answers) == MANY
    assert lender.most_unasked <= threads.count + AHEAD


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(leaving=st.lists(st.tuples(st.integers(0, 4), st.integers(0, MANY - 1)), max_size=MANY))
async def test_whoever_goes_away_at_whatever_moment_all_places_come_back(
    leaving: list[tuple[int, int]], lender: Lender, asked: Asked, threads: Workers
) -> None:
    few = threads.count + AHEAD
    requests = asked(MANY)
    for ticks, number in leaving:
        for _ in range(ticks):
            await asyncio.sleep(0)
        requests[number].cancel()
    ends = await asyncio.gather(*requests, return_exceptions=True)
    assert {type(end) for end in ends} <= {Answer, asyncio.CancelledError}
    await until(lambda: (lender.lent, lender.asking) == (0, 0))
    async with busy(threads):
        waiting = asked(MANY)
        await settled()
        assert lender.lent == few
        await gone(waiting)


async def test_whose_time_ends_on_a_thread_is_told_at_once_and_the_canvas_is_held_for_the_thread() -> None:
    threads, go_on, returned = Workers(1), threading.Event(), list[bool]()
    canvas = Canvas(np.zeros((1, 1, 1, 3), np.uint8), lambda: returned.append(bool(canvas.images.all())))

    def draw() -> None:
        go_on.wait(30)
        canvas.images[:] = 1

    with canvas, pytest.raises(DeadlineExceeded):
        async with in_time(asyncio.get_running_loop().time() + 0.05):
            await threads.run(draw, on=canvas)
    assert not returned
    go_on.set()
    await until(lambda: returned == [True])
    threads.close()


@pytest.mark.parametrize("pictures", [1, 2])
async def test_a_canvas_comes_back_only_when_nobody_draws_on_it_any_more(
    pictures: int, lender: Lender, detector: Detector
) -> None:
    held = Held()
    wanted = asking(*[held.picture(9)] * pictures, within_s=0.1)
    request = asyncio.create_task(detector.detect(wanted))
    await held.all_begun(pictures)
    with pytest.raises(DeadlineExceeded):
        await request
    assert lender.lent == 1
    held.go_on.set()
    await until(lambda: lender.lent == 0)
    await nothing_drawn(lender, detector, after=1)


async def test_a_bug_in_one_picture_leaves_nobody_drawing_the_other(lender: Lender, detector: Detector) -> None:
    held = Held()
    request = asyncio.create_task(detector.detect(asking(held.picture(9), Broken())))
    await held.all_begun(1)
    with pytest.raises(ZeroDivisionError):
        await request
    assert lender.lent == 1
    held.go_on.set()
    await until(lambda: lender.lent == 0)
    await nothing_drawn(lender, detector, after=1)


async def nothing_drawn(lender: Lender, detector: Detector, *, after: int) -> None:
    """The threads have done all that they were given, and what came back is as blank as it was then."""
    more: list[Awaitable[Answer]] = [detector.detect(asking(grey(level))) for level in range(4)]
    await asyncio.gather(*more)
    assert len(lender.returned) == after + 4
    assert all((canvas == np.uint8(BLANK)).all() for canvas in lender.returned)
    assert lender.lent == 0
