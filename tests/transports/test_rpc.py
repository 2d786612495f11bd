"""`Detect` and `ListModels`, asked over real connections."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from tests.transports.calling import Gateway, failure_of, gateway, labels_of, trailer_of, two_things

from lookonce.inference.fake import Fake
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.service import Patience

FakeOf = Callable[..., Fake]


@pytest.fixture(scope="session")
async def echo(fake_of: FakeOf) -> AsyncIterator[Gateway]:
    async with gateway(fake_of("echo", versions=(1, 2), script=two_things)) as running:
        yield running


async def test_a_picture_is_answered_with_boxes_in_its_own_pixels(echo: Gateway, png: bytes) -> None:
    answer = await echo.stub.Detect(wire.DetectRequest(images=[png]))
    (result,) = answer.results
    assert (result.image.width, result.image.height) == (40, 30)
    first = result.detections[0]
    assert (first.box.x1, first.box.y1, first.box.x2, first.box.y2) == (10, 10, 30, 20)
    assert (first.confidence, first.class_id, first.label) == (0.9, 0, "a")
    assert (answer.model.name, answer.model.version, answer.model.digest) == ("echo", 1, "0" * 64)
    assert answer.timings_ms.total >= answer.timings_ms.decode > 0
    assert not result.HasField("error")


async def test_a_bad_picture_among_several_is_an_error_in_its_place(echo: Gateway, png: bytes) -> None:
    answer = await echo.stub.Detect(wire.DetectRequest(images=[png, b"no picture", png]))
    assert labels_of(answer.results) == [["a", "b"], [], ["a", "b"]]
    assert answer.results[1].error.code == "unsupported-media"
    assert answer.results[1].error.detail.endswith(".")
    assert not answer.results[1].HasField("image")


@pytest.mark.parametrize("image", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
async def test_a_lone_bad_picture_fails_the_call(echo: Gateway, image: bytes) -> None:
    error = await failure_of(echo.stub.Detect(wire.DetectRequest(images=[image])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailer_of(error)["lookonce-code"] in {"invalid-image", "unsupported-media"}


async def test_no_picture_and_too_many_are_refused(echo: Gateway, png: bytes) -> None:
    for images, code in ([], "invalid-options"), ([png] * 5, "image-too-large"):
        error = await failure_of(echo.stub.Detect(wire.DetectRequest(images=images)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert trailer_of(error)["lookonce-code"] == code


async def test_a_picture_above_the_limit_is_too_large(echo: Gateway) -> None:
    error = await failure_of(echo.stub.Detect(wire.DetectRequest(images=[bytes(1_000_001)])))
    assert trailer_of(error)["lookonce-code"] == "image-too-large"


async def test_a_message_above_the_limit_is_refused_by_grpc_itself(echo: Gateway, png: bytes) -> None:
    error = await failure_of(echo.stub.Detect(wire.DetectRequest(images=[bytes(1_000_000)] * 5)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "lookonce-code" not in trailer_of(error)
    assert (await echo.stub.Detect(wire.DetectRequest(images=[png]))).results


async def test_a_message_that_unpacks_to_more_than_the_limit_is_refused_by_grpc_itself(echo: Gateway) -> None:
    asked = wire.DetectRequest(images=[bytes(50_000_000)])
    error = await failure_of(echo.stub.Detect(asked, compression=grpc.Compression.Gzip))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_metadata_above_the_limit_is_refused_by_grpc_itself(echo: Gateway) -> None:
    error = await failure_of(echo.stub.ListModels(wire.ListModelsRequest(), metadata=[("x-long", "x" * 20_000)]))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_options_do_what_they_say(echo: Gateway, png: bytes) -> None:
    async def labels(**options: object) -> list[list[str]]:
        asked = wire.DetectRequest(images=[png], options=wire.Options(**options))
        return labels_of((await echo.stub.Detect(asked)).results)

    assert await labels(confidence=0.6) == [["a"]]
    assert await labels(classes=["b"]) == [["b"]]
    assert await labels(classes=["1", "a"]) == [["a", "b"]]
    assert await labels(max_detections=1) == [["a"]]
    assert await labels(confidence=0.0, iou=1.0, class_agnostic=False, soft=False) == [["a", "b"]]


async def test_boxes_may_be_asked_for_in_shares(echo: Gateway, png: bytes) -> None:
    answer = await echo.stub.Detect(wire.DetectRequest(images=[png], options=wire.Options(normalized=True)))
    box = answer.results[0].detections[0].box
    assert (box.x1, box.x2) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"confidence": 1.5}, "confidence: 1.5 is not a number from 0 to 1"),
        ({"confidence": float("nan")}, "confidence: nan is not a number from 0 to 1"),
        ({"iou": -0.1}, "iou: -0.1 is not a number from 0 to 1"),
        ({"max_detections": 0}, "max_detections: 0 is not a whole number from 1 to 1000"),
        ({"max_detections": 2**62}, "max_detections: 4611686018427387904 is not a whole number"),
        ({"classes": [""]}, "classes: "),
        ({"classes": ["c"]}, "classes: model echo has no class c"),
        ({"classes": ["a"] * 1001}, "classes: "),
    ],
)
async def test_options_out_of_range_are_named(echo: Gateway, png: bytes, options: dict[str, object], said: str) -> None:
    error = await failure_of(echo.stub.Detect(wire.DetectRequest(images=[png], options=wire.Options(**options))))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailer_of(error)["lookonce-code"] == "invalid-options"
    assert error.details().startswith(said)


async def test_model_and_version_are_chosen(echo: Gateway, png: bytes) -> None:
    answer = await echo.stub.Detect(wire.DetectRequest(images=[png], model="echo", version=2))
    assert (answer.model.name, answer.model.version) == ("echo", 2)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"model": "nobody"}, "unknown-model"),
        ({"model": "é" * 3000}, "unknown-model"),
        ({"version": 3}, "unknown-version"),
        ({"version": 0}, "unknown-version"),
        ({"version": -1}, "unknown-version"),
    ],
)
async def test_what_is_not_served_is_not_found(echo: Gateway, png: bytes, wanted: dict[str, object], code: str) -> None:
    error = await failure_of(echo.stub.Detect(wire.DetectRequest(images=[png], **wanted)))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert trailer_of(error)["lookonce-code"] == code


async def test_what_is_no_message_of_ours_is_refused(echo: Gateway) -> None:
    detect = echo.channel.unary_unary("/lookonce.v1.Detection/Detect")
    error = await failure_of(detect(b"\x0a\xff no message"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailer_of(error)["lookonce-code"] == "invalid-options"


async def test_a_method_that_we_do_not_have_is_unimplemented(echo: Gateway) -> None:
    error = await failure_of(echo.channel.unary_unary("/lookonce.v1.Detection/Guess")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_models_are_listed_with_all_that_is_told_of_them(echo: Gateway) -> None:
    listed = await echo.stub.ListModels(wire.ListModelsRequest())
    (model,) = listed.models
    assert (listed.default, model.name, model.default_version) == ("echo", "echo", 1)
    first, second = model.versions
    assert (first.version, second.version) == (1, 2)
    assert (list(first.labels), first.size.width, first.size.height) == (["a", "b"], 32, 32)
    assert (first.thresholds.confidence, first.thresholds.iou) == (0.25, 0.7)
    assert (first.precision, first.max_batch, first.created) == ("fp32", 4, "2026-01-01T00:00:00Z")


async def test_without_a_default_none_is_listed(fake_of: FakeOf) -> None:
    async with gateway(fake_of("b", "a")) as two:
        listed = await two.stub.ListModels(wire.ListModelsRequest())
    assert [model.name for model in listed.models] == ["a", "b"]
    assert not listed.HasField("default")


async def test_the_callers_request_id_comes_back_and_stands_in_the_log(echo: Gateway, png: bytes) -> None:
    call = echo.stub.Detect(wire.DetectRequest(images=[png]), metadata=[("x-request-id", "mine-1")])
    assert (await call).request_id == "mine-1"
    assert dict(await call.initial_metadata())["x-request-id"] == "mine-1"
    (line,) = [line for line in echo.lines if line.get("request_id") == "mine-1"]
    assert line["took_ms"] > 0
    told = {"event": "call", "method": "Detect", "status": "OK", "client": "anonymous", "images": 1, "bytes": len(png)}
    assert told.items() <= line.items()


@pytest.mark.parametrize("given", ["", "two words", "x" * 200, "semi;colon"])
async def test_an_id_that_could_not_stand_in_a_log_is_replaced(echo: Gateway, png: bytes, given: str) -> None:
    answer = await echo.stub.Detect(wire.DetectRequest(images=[png]), metadata=[("x-request-id", given)])
    assert answer.request_id not in {given, ""}


async def test_a_failed_call_tells_its_id_too(echo: Gateway) -> None:
    call = echo.stub.Detect(wire.DetectRequest(), metadata=[("x-request-id", "mine-2")])
    error = await failure_of(call)
    assert trailer_of(error)["lookonce-request-id"] == "mine-2"
    assert dict(await call.initial_metadata())["x-request-id"] == "mine-2"
    (line,) = [line for line in echo.lines if line.get("request_id") == "mine-2"]
    assert line["status"] == "INVALID_ARGUMENT"


async def test_a_trace_is_passed_on_and_what_is_none_is_not(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    async with gateway(fake) as running:
        for given in trace, "no trace":
            await running.stub.Detect(wire.DetectRequest(images=[png]), metadata=[("traceparent", given)])
    assert [call.traceparent for call in fake.calls] == [trace, ""]


async def test_a_call_is_over_at_its_own_deadline(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        fake.latency_s = {"echo": 20}
        error = await failure_of(running.stub.Detect(wire.DetectRequest(images=[png]), timeout=1.0))
        await running.service.requests.empty()
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert fake.calls[0].timeout_s < 2


async def test_a_call_without_a_deadline_has_the_gateways(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake, patience=Patience(request_s=0.3)) as running:
        fake.latency_s = {"echo": 20}
        error = await failure_of(running.stub.Detect(wire.DetectRequest(images=[png])))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert trailer_of(error)["lookonce-code"] == "deadline-exceeded"


async def test_a_deadline_beyond_the_longest_time_is_brought_down_to_it(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake, patience=Patience(max_request_s=7)) as running:
        await running.stub.Detect(wire.DetectRequest(images=[png]), timeout=3600)
    assert 1 < fake.calls[0].timeout_s <= 7


async def test_a_caller_that_goes_away_leaves_nothing_behind(fake_of: FakeOf, png: bytes) -> None:
    fake = fake_of()
    async with gateway(fake) as running:
        fake.latency_s = {"echo": 3600}
        call = running.stub.Detect(wire.DetectRequest(images=[png]), timeout=60)
        async with asyncio.timeout(10):
            while not fake.calls:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            call.cancel()
            await running.service.requests.empty()
            await running.service.detector.admission.empty()
    assert running.lines[-1]["status"] == "CANCELLED"


async def test_a_message_that_does_not_end_is_given_up(fake_of: FakeOf) -> None:
    async with gateway(fake_of(), patience=Patience(body_s=0.2)) as running:
        silent = running.channel.stream_unary("/lookonce.v1.Detection/Detect")()
        error = await failure_of(silent)
    assert trailer_of(error)["lookonce-code"] == "slow-body"


async def test_a_call_without_a_message_is_refused(echo: Gateway) -> None:
    call = echo.channel.stream_unary("/lookonce.v1.Detection/Detect")()
    await call.done_writing()
    error = await failure_of(call)
    assert trailer_of(error)["lookonce-code"] == "invalid-options"
