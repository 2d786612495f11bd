"""The one path from pictures to detections, over a fake that answers by brightness."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable
from contextlib import suppress

import numpy as np
import pytest
from tests.pipeline.conftest import DetectorOver, FakeOf, asking, brightness, busy, grey, levels
from tests.waiting import until

from lookonce.errors import (
    BackendContractBroken,
    BackendUnavailable,
    BadRequest,
    DeadlineExceeded,
    ImageFetchFailed,
    ImageTooLarge,
    InvalidImage,
    InvalidOptions,
    LookOnceError,
    Overloaded,
    UnknownModel,
    UnknownVersion,
    UnsupportedMedia,
)
from lookonce.inference.port import Call, Candidates
from lookonce.pipeline.request import Options, Picture, Seen
from lookonce.pipeline.workers import Workers


class Noticed(bytes):
    """A picture that knows whether it was looked at."""

    looked_at = False

    def __len__(self) -> int:
        self.looked_at = True
        return super().__len__()


class Watched(bytearray):
    """A picture that a weak reference can point to."""


async def test_one_picture_is_answered(fake_of: FakeOf, detector_over: DetectorOver) -> None:
    detector = await detector_over(fake_of())
    answer = await detector.detect(asking(grey(51, (64, 16))))
    seen = answer.only()
    assert seen.size_wh == (64, 16)
    np.testing.assert_array_equal(seen.rows, np.array([[0, 0, 64, 16, 0.2, 0]], np.float32))
    assert (answer.card.name, answer.card.version) == ("echo", 1)
    timings = answer.timings_ms
    assert min(timings.decode, timings.letterbox, timings.inference, timings.nms) > 0
    assert timings.total >= timings.decode + timings.letterbox + timings.inference + timings.nms


async def test_many_pictures_are_answered_in_their_order(fake_of: FakeOf, detector_over: DetectorOver) -> None:
    fake = fake_of()
    answer = await (await detector_over(fake)).detect(asking(*map(grey, range(10, 80, 10))))
    assert levels(answer.results) == [10, 20, 30, 40, 50, 60, 70]
    assert sorted(len(call.images) for call in fake.calls) == [3, 4]


async def test_a_bad_picture_is_an_error_in_its_place(fake_of: FakeOf, detector_over: DetectorOver) -> None:
    fake = fake_of()
    not_fetched = ImageFetchFailed("nobody was at home; correct the address.")
    pictures = grey(10), b"words, words", not_fetched, grey(20)[:60], grey(30), grey(1, (1001, 1000)), bytes(100_001)
    answer = await (await detector_over(fake)).detect(asking(*pictures))
    kinds = [type(each) for each in answer.results]
    assert kinds == [Seen, UnsupportedMedia, ImageFetchFailed, InvalidImage, Seen, ImageTooLarge, ImageTooLarge]
    assert levels(answer.results) == [10, 30]
    assert answer.results[2] is not_fetched
    assert [len(call.images) for call in fake.calls] == [2]


@pytest.mark.parametrize("data", [b"words", grey(20)[:60], bytes(100_001)], ids=["words", "cut off", "too large"])
async def test_a_refused_picture_is_held_by_nothing(data: bytes, fake_of: FakeOf, detector_over: DetectorOver) -> None:
    """Not even until the garbage collector comes: pictures are large, and it goes by how many things there are."""
    detector, picture = await detector_over(fake_of()), Watched(data)
    is_there = weakref.ref(picture)

    async def look(picture: Picture) -> None:
        (await detector.detect(asking(picture))).only()

    gc.disable()
    try:
        with suppress(BadRequest):
            await look(picture)
        del picture
        await until(lambda: is_there() is None)
    finally:
        gc.enable()


async def test_where_every_picture_is_bad_the_model_is_not_asked(fake_of: FakeOf, detector_over: DetectorOver) -> None:
    fake = fake_of()
    answer = await (await detector_over(fake)).detect(asking(b"", b"words"))
    assert [type(each) for each in answer.results] == [InvalidImage, UnsupportedMedia]
    assert not fake.calls
    with pytest.raises(InvalidImage):
        (await (await detector_over(fake)).detect(asking(b""))).only()


@pytest.mark.parametrize(
    ("pictures", "wishes", "error", "says"),
    [
        (0, {}, InvalidOptions, "there is no image in the request; send at least one"),
        (17, {}, ImageTooLarge, "more than the 16 images that are taken"),
        (1, {"model": "nobody"}, UnknownModel, "there is no model nobody here; served are echo"),
        (1, {"version": 7}, UnknownVersion, "model echo has no version 7 here; it serves 1"),
        (1, {"options": Options(classes=("c",))}, InvalidOptions, "model echo has no class c"),
    ],
)
async def test_a_request_that_cannot_be_answered_is_refused_before_any_work(
    pictures: int,
    wishes: dict[str, object],
    error: type[LookOnceError],
    says: str,
    fake_of: FakeOf,
    detector_over: DetectorOver,
) -> None:
    fake, sent = fake_of(), [Noticed(grey(1)) for _ in range(pictures)]
    detector = await detector_over(fake)
    with pytest.raises(error, match=says):
        await detector.detect(asking(*sent, **wishes))
    assert not any(picture.looked_at for picture in sent)
    assert not fake.calls


async def test_options_reach_the_rows(fake_of: FakeOf, detector_over: DetectorOver) -> None:
    detector = await detector_over(fake_of())
    picture = grey(51, (64, 16))
    shares = (await detector.detect(asking(picture, options=Options(confidence=0.1, normalized=True)))).only()
    np.testing.assert_array_equal(shares.rows, np.array([[0, 0, 1, 1, 0.2, 0]], np.float32))
    assert shares.normalized
    for none in (Options(confidence=0.3), Options(confidence=0.1, classes=("b",)), Options()):
        assert not len((await detector.detect(asking(picture, options=none))).only().rows)


async def test_the_call_says_who_asks_and_how_long_it_may_take(fake_of: FakeOf, detector_over: DetectorOver) -> None:
    fake = fake_of()
    wanted = asking(grey(1), within_s=7, request_id="abc", traceparent="00-1-2-01")
    await (await detector_over(fake)).detect(wanted)
    (call,) = fake.calls
    assert 0 < call.timeout_s <= 7
    assert (call.request_id, call.traceparent) == ("abc", "00-1-2-01")


async def test_a_class_without_a_label_is_a_broken_contract(fake_of: FakeOf, detector_over: DetectorOver) -> None:
    """A warm-up's empty picture need not show it."""

    def bright_is_unlabelled(call: Call) -> Candidates:
        rows = brightness(call)
        rows[:, 0, 5] = np.where(rows[:, 0, 4] > 0.9, 2, 0)
        return rows

    detector = await detector_over(fake_of(script=bright_is_unlabelled))
    assert levels((await detector.detect(asking(grey(20)))).results) == [20]
    with pytest.raises(BackendContractBroken, match="found a class that its card has no label for"):
        await detector.detect(asking(grey(250)))


async def test_when_full_who_cannot_wait_is_refused_and_who_can_is_answered(
    fake_of: FakeOf, detector_over: DetectorOver
) -> None:
    fake = fake_of(latency_s={"echo": 0.05})
    detector = await detector_over(fake, limit=2)
    first = asyncio.ensure_future(detector.detect(asking(grey(1), grey(2))))
    await until(lambda: detector.admission.in_flight == 2)
    with pytest.raises(Overloaded):
        await detector.detect(asking(grey(3)))
    assert levels((await detector.detect(asking(grey(4), patient=True))).results) == [4]
    assert levels((await first).results) == [1, 2]
    assert detector.admission.in_flight == 0


async def test_a_model_that_takes_too_long_is_answered_by_our_own_clock(
    fake_of: FakeOf, detector_over: DetectorOver
) -> None:
    fake = fake_of()
    detector = await detector_over(fake)
    fake.latency_s = {"echo": 30.0}
    with pytest.raises(DeadlineExceeded, match="allow more"):
        await detector.detect(asking(grey(1), within_s=0.05))
    assert detector.admission.in_flight == 0


@pytest.mark.parametrize("within_s", [-1.0, 0.0, 0.05])
async def test_the_deadline_holds_while_pictures_wait_for_a_thread(
    within_s: float, fake_of: FakeOf, detector_over: DetectorOver, threads: Workers
) -> None:
    fake, picture = fake_of(), Noticed(grey(1))
    detector = await detector_over(fake)
    async with busy(threads):
        with pytest.raises(DeadlineExceeded, match="the request's time was over"):
            await detector.detect(asking(picture, within_s=within_s))
    assert detector.admission.in_flight == 0
    assert levels((await detector.detect(asking(grey(2)))).results) == [2]
    assert not picture.looked_at
    assert len(fake.calls) == 1


async def test_the_deadline_holds_in_line(fake_of: FakeOf, detector_over: DetectorOver, threads: Workers) -> None:
    detector = await detector_over(fake_of(), limit=1)
    async with busy(threads):
        first = asyncio.ensure_future(detector.detect(asking(grey(1))))
        await until(lambda: detector.admission.in_flight == 1)
        with pytest.raises(DeadlineExceeded):
            await detector.detect(asking(grey(2), within_s=0.02, patient=True))
    assert levels((await first).results) == [1]
    detector.admission.refuse_when_full()


async def test_who_goes_away_takes_what_is_queued_along(
    fake_of: FakeOf, detector_over: DetectorOver, threads: Workers
) -> None:
    fake, pictures = fake_of(), [Noticed(grey(1)) for _ in range(4)]
    detector = await detector_over(fake)
    async with busy(threads):
        gone = asyncio.ensure_future(detector.detect(asking(*pictures)))
        await until(lambda: detector.admission.in_flight == 4)
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert detector.admission.in_flight == 0
    assert levels((await detector.detect(asking(grey(9)))).results) == [9]
    assert not any(picture.looked_at for picture in pictures)
    assert len(fake.calls) == 1


async def test_who_goes_away_while_the_model_looks_cancels_every_call(
    fake_of: FakeOf, detector_over: DetectorOver
) -> None:
    fake = fake_of()
    detector = await detector_over(fake)
    fake.latency_s, before = {"echo": 30.0}, asyncio.all_tasks()
    gone = asyncio.ensure_future(detector.detect(asking(*[grey(1)] * 9)))
    await until(lambda: len(fake.calls) == 3)
    assert len(asyncio.all_tasks() - before) == 4
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await until(lambda: asyncio.all_tasks() <= before)
    assert detector.admission.in_flight == 0


async def test_when_one_part_of_a_request_fails_the_others_are_given_up(
    fake_of: FakeOf, detector_over: DetectorOver
) -> None:
    fake = fake_of()
    detector = await detector_over(fake)
    fake.failures, fake.latency_s = iter([BackendUnavailable("gone.")]), {"echo": 30.0}
    async with asyncio.timeout(10):
        with pytest.raises(BackendUnavailable):
            await detector.detect(asking(*[grey(1)] * 9))
    assert detector.admission.in_flight == 0


async def test_many_at_once_all_get_their_own_answer(fake_of: FakeOf, detector_over: DetectorOver) -> None:
    detector = await detector_over(fake_of(latency_s={"echo": 0.001}), limit=5)
    asked = [asking(grey(level), grey(level + 100), patient=True) for level in range(60)]
    work: list[Awaitable[object]] = [detector.detect(each) for each in asked]
    answers = await asyncio.gather(*work)
    assert [levels(answer.results) for answer in answers] == [[level, level + 100] for level in range(60)]
    assert detector.admission.in_flight == 0
