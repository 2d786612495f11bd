"""`DetectStream`: frames in, answers out, in their order."""

import asyncio
from collections.abc import AsyncIterator, Callable

import cv2
import grpc
import numpy as np
import pytest
from tests.transports.calling import Gateway, failure_of, frame, gateway, labels_of, trailer_of, two_things

from lookonce.card import Card
from lookonce.errors import BackendUnavailable, Overloaded
from lookonce.inference.fake import Fake, nothing
from lookonce.inference.port import Call, Candidates, ServedModel
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.rpc.frames import READ_AHEAD
from lookonce.transports.service import Patience

FakeOf = Callable[..., Fake]
Messages = list[wire.DetectStreamRequest]


@pytest.fixture(scope="session")
async def echo(fake_of: FakeOf) -> AsyncIterator[Gateway]:
    async with gateway(fake_of("echo", versions=(1, 2), script=two_things)) as running:
        yield running


async def answers_to(messages: Messages, gateway: Gateway, **given: object) -> list[wire.DetectStreamResponse]:
    return [answer async for answer in gateway.stub.DetectStream(iter(messages), **given)]


async def test_a_stream_without_a_frame_is_answered_by_nothing(echo: Gateway) -> None:
    assert await answers_to([], echo) == []
    assert await answers_to([wire.DetectStreamRequest(setup=wire.StreamSetup(model="echo"))], echo) == []


async def test_answers_come_in_order_with_id_and_time_and_a_bad_frame_answers_only_itself(
    echo: Gateway, png: bytes
) -> None:
    sent = [frame(b"no picture" if number % 3 == 1 else png, number) for number in range(30)]
    answers = await answers_to(sent, echo)
    assert [answer.id for answer in answers] == [f"frame {number}" for number in range(30)]
    assert [answer.captured_at for answer in answers] == [each.frame.captured_at for each in sent]
    for number, answer in enumerate(answers):
        is_bad = number % 3 == 1
        assert answer.result.HasField("error") is is_bad
        assert answer.HasField("model") is not is_bad
        assert answer.HasField("timings_ms") is not is_bad
        assert labels_of([answer.result]) == [[] if is_bad else ["a", "b"]]


async def test_a_frame_without_id_and_time_is_answered_without_them(echo: Gateway, png: bytes) -> None:
    (answer,) = await answers_to([wire.DetectStreamRequest(frame=wire.Frame(image=png))], echo)
    assert answer.id == ""
    assert not answer.HasField("captured_at")


async def test_the_first_message_sets_the_stream_up_with_a_frame_or_without(echo: Gateway, png: bytes) -> None:
    setup = wire.StreamSetup(model="echo", version=2, options=wire.Options(classes=["b"]))
    alone = [wire.DetectStreamRequest(setup=setup), frame(png, 1)]
    together = [wire.DetectStreamRequest(setup=setup, frame=wire.Frame(image=png))]
    for messages in alone, together:
        (answer,) = await answers_to(messages, echo)
        assert answer.model.version == 2
        assert labels_of([answer.result]) == [["b"]]


@pytest.mark.parametrize(
    ("setup", "code"),
    [
        (wire.StreamSetup(model="nobody"), "unknown-model"),
        (wire.StreamSetup(version=9), "unknown-version"),
        (wire.StreamSetup(options=wire.Options(confidence=2)), "invalid-options"),
        (wire.StreamSetup(options=wire.Options(classes=["c"])), "invalid-options"),
    ],
)
async def test_a_stream_that_cannot_be_set_up_fails_before_its_first_frame(
    echo: Gateway, setup: wire.StreamSetup, code: str
) -> None:
    stream = echo.stub.DetectStream()
    await stream.write(wire.DetectStreamRequest(setup=setup))
    assert trailer_of(await failure_of(stream))["lookonce-code"] == code


async def test_a_second_setup_ends_the_stream_once_what_came_before_is_answered(echo: Gateway, png: bytes) -> None:
    stream = echo.stub.DetectStream()
    await stream.write(frame(png, 1))
    await stream.write(wire.DetectStreamRequest(setup=wire.StreamSetup(model="echo")))
    assert (await stream.read()).id == "frame 1"
    assert trailer_of(await failure_of(stream))["lookonce-code"] == "invalid-options"


async def test_what_is_no_message_of_ours_ends_the_stream(echo: Gateway) -> None:
    stream = echo.channel.stream_stream("/lookonce.v1.Detection/DetectStream")()
    await stream.write(b"\x0a\xff no message")
    assert (await failure_of(stream)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_trouble_with_the_model_answers_the_frame_and_not_the_stream(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        fake.failures = iter([BackendUnavailable("gone."), Overloaded("full.")])
        stream = running.stub.DetectStream()
        codes = []
        for number in range(3):
            await stream.write(frame(png, number))
            codes.append((await stream.read()).result.error.code)
        stream.cancel()
    assert codes == ["backend-unavailable", "overloaded", ""]


async def test_a_bug_with_one_frame_is_told_without_its_secrets(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        fake.script = _buggy_once()
        answers = await answers_to([frame(png, number) for number in range(2)], running)
    assert sorted(answer.result.error.code for answer in answers) == ["", "internal"]
    assert "secret" not in str(answers)
    assert [line["event"] for line in running.lines] == ["bug", "call"]


def _buggy_once() -> Callable[[Call], Candidates]:
    bugs = [RuntimeError("secret")]

    def script(call: Call) -> Candidates:
        if bugs:
            raise bugs.pop()
        return nothing(call)

    return script


async def test_streams_wait_where_a_lone_call_is_refused(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake, in_flight=1) as running:
        fake.latency_s = {"echo": 0.02}
        answers = await answers_to([frame(png, number) for number in range(10)], running)
    assert [answer.result.error.code for answer in answers] == [""] * 10


async def test_a_lone_call_finds_room_beside_streams(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake, in_flight=8) as running:
        fake.latency_s = {"echo": 3600}
        streams = [running.stub.DetectStream() for _ in range(3)]
        for stream in streams:
            for number in range(READ_AHEAD):
                await stream.write(frame(png, number))
        async with asyncio.timeout(10):
            while len(fake.calls) < 6:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        fake.latency_s = {}
        for _ in range(5):
            assert (await running.stub.Detect(wire.DetectRequest(images=[png]))).results
        assert running.service.detector.admission.in_flight == 6
        for stream in streams:
            stream.cancel()


async def test_only_a_few_frames_are_read_ahead(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        fake.latency_s = {"echo": 3600}
        stream = running.stub.DetectStream()
        for number in range(20):
            await stream.write(frame(png, number))
        async with asyncio.timeout(10):
            while len(fake.calls) < READ_AHEAD:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for _ in range(20):
            await running.stub.ListModels(wire.ListModelsRequest())
        assert len(fake.calls) == running.service.detector.admission.in_flight == READ_AHEAD
        stream.cancel()


def _crowded(call: Call) -> Candidates:
    rows = nothing(call)
    rows[...] = 8, 12, 24, 20, 0.9, 0
    return rows


async def test_a_caller_that_sends_and_never_reads_is_held_back_and_then_let_go(
    card_of: Callable[..., Card],
) -> None:
    """Each frame is large, and so is its answer: neither may pile up in the gateway."""
    pixels = np.random.default_rng(0).integers(0, 255, (500, 500, 3), np.uint8)
    bmp = bytes(cv2.imencode(".bmp", pixels)[1])
    fake = Fake({"echo": ServedModel("echo", 1, {1: card_of(candidates=300, max_batch=1)})}, _crowded)
    async with gateway(fake, patience=Patience(idle_s=1.0)) as running:
        stream = running.stub.DetectStream()
        setup = wire.StreamSetup(options=wire.Options(iou=1.0))
        await stream.write(wire.DetectStreamRequest(setup=setup))
        sent = 0

        async def send() -> None:
            nonlocal sent
            for number in range(1000):
                await stream.write(frame(bmp, number))
                sent = number

        sending = asyncio.create_task(send())
        async with asyncio.timeout(30):
            while not any(line["event"] == "call" for line in running.lines):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert sent < 999
        assert running.service.detector.admission.in_flight == 0
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        stream.cancel()
    (line,) = [line for line in running.lines if line["event"] == "call"]
    assert line["status"] == "DEADLINE_EXCEEDED"
    assert len(fake.calls) < 999


async def test_a_silent_stream_is_ended_in_words(fake_of: FakeOf, png: bytes) -> None:
    async with gateway(fake_of(), patience=Patience(idle_s=1.0)) as running:
        stream = running.stub.DetectStream()
        await stream.write(frame(png, 0))
        assert (await stream.read()).id == "frame 0"
        error = await failure_of(stream)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.details() == "no message came for 1 s; open a new stream when there is one."


async def test_a_gateway_that_leaves_answers_what_it_has_read_and_says_so(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        fake.latency_s = {"echo": 0.3}
        stream = running.stub.DetectStream()
        await stream.write(frame(png, 0))
        async with asyncio.timeout(10):
            while not fake.calls:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.service.life.draining.set()
        assert (await stream.read()).result.error.code == ""
        error = await failure_of(stream)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert trailer_of(error)["lookonce-code"] == "draining"
        assert int(trailer_of(error)["retry-after-ms"]) > 0
        await running.service.streams.empty()


async def test_a_stream_that_is_cancelled_leaves_nothing_behind(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        fake.latency_s = {"echo": 3600}
        stream = running.stub.DetectStream()
        for number in range(3):
            await stream.write(frame(png, number))
        async with asyncio.timeout(10):
            while len(fake.calls) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            stream.cancel()
            await running.service.streams.empty()
            await running.service.detector.admission.empty()
    assert running.lines[-1]["status"] == "CANCELLED"


async def test_a_streams_own_deadline_ends_it(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        stream = running.stub.DetectStream(timeout=1.5)
        await stream.write(frame(png, 0))
        assert (await stream.read()).id == "frame 0"
        assert (await failure_of(stream)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await running.service.streams.empty()
    assert fake.calls[0].timeout_s < 3
    assert running.lines[-1]["status"] == "DEADLINE_EXCEEDED"


async def test_more_streams_than_there_is_room_for_are_refused(fake_of: FakeOf, png: bytes) -> None:
    async with gateway(fake_of(), streams=1) as running:
        first = running.stub.DetectStream()
        await first.write(frame(png, 0))
        await first.read()
        error = await failure_of(running.stub.DetectStream())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert trailer_of(error)["lookonce-code"] == "overloaded"
        assert (await running.stub.Detect(wire.DetectRequest(images=[png]))).results
