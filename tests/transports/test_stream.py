import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import simplejpeg
from tests.transports.gateways import Fakes
from tests.transports.streaming import Streaming, asked, goodbye, heard, looked_at, streaming
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from lookonce.forge.pictures import draw_picture
from lookonce.inference.embedded import Embedded
from lookonce.inference.port import Call, Candidates
from lookonce.transports.service import Patience

ROOT = Path(__file__).parents[2]
A_ROW = (4.0, 8.0, 20.0, 24.0, 0.5, 1.0)


def one_box(call: Call) -> Candidates:
    """The same box in every picture, and rows with nothing in them."""
    rows = np.zeros((len(call.images), call.card.candidates, 6), np.float32)
    rows[:, :, 5] = -1
    rows[:, 0] = A_ROW
    return rows


@pytest.fixture(scope="module")
async def boxes(fake_of: Fakes) -> AsyncIterator[Streaming]:
    """A gateway that finds one box of class `b` with a score of 0.5 in every picture."""
    async with streaming(fake_of("echo", "other", versions=(2, 1), script=one_box)) as gateway:
        gateway.service.detector.catalogue.default = "echo"
        yield gateway


async def test_every_frame_is_answered_like_a_request_with_one_image(boxes: Streaming, png: bytes) -> None:
    async with connect(boxes.url) as socket:
        answer = await looked_at(socket, png)
    timings = answer.pop("timings_ms")
    assert answer.pop("request_id").endswith("-1")
    assert answer == {
        "frame": 1,
        "dropped": 0,
        "model": {"name": "echo", "version": 2, "digest": "0" * 64},
        "image": {"width": 40, "height": 30},
        "detections": [{"box": {"x1": 5, "y1": 5, "x2": 25, "y2": 25}, "confidence": 0.5, "class_id": 1, "label": "b"}],
    }
    assert list(timings) == ["decode", "letterbox", "inference", "nms", "total"]


async def test_frames_are_numbered_and_answered_in_order(boxes: Streaming, png: bytes) -> None:
    async with connect(boxes.url) as socket:
        answers = [await looked_at(socket, png) for _ in range(5)]
    assert [(answer["frame"], answer["dropped"]) for answer in answers] == [(number, 0) for number in range(1, 6)]


async def test_a_bad_frame_answers_only_itself(boxes: Streaming, png: bytes) -> None:
    async with connect(boxes.url) as socket:
        for number, bad in enumerate((b"", b"hello", png[:200], bytes(1000)), start=1):
            answer = await looked_at(socket, bad)
            assert (answer["frame"], answer["error"]["status"]) in {(number, 422), (number, 415)}
            assert answer["error"]["detail"].endswith(".")
        good = await looked_at(socket, png)
    assert (good["frame"], len(good["detections"])) == (5, 1)


async def test_a_frame_over_the_limit_of_an_image_answers_only_itself(boxes: Streaming, png: bytes) -> None:
    async with connect(boxes.url) as socket:
        large = await looked_at(socket, png + bytes(2**20))
        good = await looked_at(socket, png)
    assert large["error"]["code"] == "image-too-large"
    assert good["frame"] == 2


async def test_the_first_text_message_names_model_version_and_options(boxes: Streaming, png: bytes) -> None:
    setup = {"model": "other", "version": 1, "options": {"classes": ["b"], "normalized": True}, "request_id": "me"}
    async with connect(boxes.url) as socket:
        ready = await asked(socket, setup)
        answer = await looked_at(socket, png)
    assert ready == {
        "ready": {
            "request_id": "me",
            "model": {"name": "other", "version": 1, "digest": "0" * 64},
            "labels": ["a", "b"],
            "thresholds": {"confidence": 0.25, "iou": 0.7},
        }
    }
    assert answer["request_id"] == "me-1"
    assert answer["model"] == ready["ready"]["model"]
    assert answer["detections"][0]["box"]["x2"] == pytest.approx(0.625)


async def test_a_later_text_message_replaces_all_that_was_said_before(boxes: Streaming, png: bytes) -> None:
    async with connect(boxes.url) as socket:
        before = await looked_at(socket, png)
        ready = await asked(socket, {"options": {"confidence": 0.6}})
        strict = await looked_at(socket, png)
        await asked(socket, {})
        after = await looked_at(socket, png)
    assert ready["ready"]["thresholds"] == {"confidence": 0.6, "iou": 0.7}
    assert [len(answer["detections"]) for answer in (before, strict, after)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("", "invalid-options", "its text"),
        ("hello", "invalid-options", "JSON"),
        ("[]", "invalid-options", "object"),
        ("null", "invalid-options", "object"),
        ('{"options": []}', "invalid-options", "options"),
        ('{"opions": {}}', "invalid-options", "opions"),
        ('{"version": 0}', "invalid-options", "version"),
        ('{"version": "1"}', "invalid-options", "version"),
        ('{"options": {"confidence": 2}}', "invalid-options", "from 0 to 1"),
        ('{"options": {"confidense": 0.5}}', "invalid-options", "did you mean confidence?"),
        ('{"options": {"classes": ["zebra"]}}', "invalid-options", "zebra"),
        ('{"options": {"format": "coco"}}', "invalid-options", "format"),
        ('{"model": "nobody"}', "unknown-model", "nobody"),
        ('{"version": 7}', "unknown-version", "7"),
        (f'{{"model": "{"x" * 70_000}"}}', "invalid-options", "characters"),
        (f'{{"{"x" * 60_000}": 1}}', "invalid-options", "Extra inputs are not permitted"),
        (f'{{"options": {{"iou": {"[" * 150}{"]" * 150}}}}}', "invalid-options", "iou: a list is not"),
    ],
)
async def test_a_wrong_text_message_is_explained_and_ends_the_stream(
    boxes: Streaming, text: str, code: str, word: str
) -> None:
    async with connect(boxes.url) as socket:
        await socket.send(text)
        error = (await heard(socket))["error"]
        assert await goodbye(socket) == (1008, code)
    assert error["code"] == code
    assert word in error["detail"]
    assert len(error["detail"]) < 300
    assert error["request_id"]


async def test_a_wrong_text_message_ends_a_stream_that_already_runs(boxes: Streaming, png: bytes) -> None:
    async with connect(boxes.url) as socket:
        await looked_at(socket, png)
        assert (await asked(socket, {"options": {"iou": -1}}))["error"]["status"] == 422
        assert await goodbye(socket) == (1008, "invalid-options")


async def test_of_the_frames_that_wait_only_the_newest_is_answered(fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with streaming(fake) as gateway, connect(gateway.url) as socket:
        fake.latency_s = {"echo": 0.4}
        for _ in range(20):
            await socket.send(png)
        answers = [await heard(socket)]
        while answers[-1]["frame"] < 20:
            answers.append(await heard(socket))
    numbers = [answer["frame"] for answer in answers]
    assert numbers == sorted(set(numbers))
    assert [answer["frame"] - answer["dropped"] for answer in answers] == list(range(1, len(answers) + 1))
    assert len(answers) < 20
    assert gateway.ended()[0]["dropped"] == answers[-1]["dropped"] == 20 - len(answers)


async def test_a_frame_that_takes_too_long_is_answered_by_its_deadline(fake_of: Fakes, png: bytes) -> None:
    fake = fake_of()
    async with streaming(fake, patience=Patience(request_s=0.2)) as gateway, connect(gateway.url) as socket:
        fake.latency_s = {"echo": 600.0}
        answers = [await looked_at(socket, png) for _ in range(2)]
    assert [answer["error"]["code"] for answer in answers] == ["deadline-exceeded"] * 2


async def test_a_bug_shows_no_more_than_that_it_is_one(fake_of: Fakes, png: bytes) -> None:
    def broken(call: Call) -> Candidates:
        if call.request_id:
            raise ZeroDivisionError("the secret")
        return one_box(call)

    async with streaming(fake_of(script=broken)) as gateway, connect(gateway.url) as socket:
        answers = [await looked_at(socket, png) for _ in range(2)]
    assert [answer["error"]["code"] for answer in answers] == ["internal"] * 2
    assert "secret" not in str(answers)
    bugs = [line for line in gateway.lines if line["event"] == "bug"]
    assert [bug["request_id"] for bug in bugs] == [answer["error"]["request_id"] for answer in answers]


async def test_streams_wait_for_room_instead_of_being_refused(fake_of: Fakes, png: bytes) -> None:
    async with streaming(fake_of(latency_s={"echo": 0.05})) as gateway:
        sockets = [await connect(gateway.url) for _ in range(12)]
        answers = await asyncio.gather(*(looked_at(socket, png) for socket in sockets))
        for socket in sockets:
            await socket.close()
    assert [answer["frame"] for answer in answers] == [1] * 12
    assert not [answer for answer in answers if "error" in answer]


async def test_the_trace_and_the_request_id_of_the_handshake_hold_for_every_frame(fake_of: Fakes, png: bytes) -> None:
    fake, traceparent = fake_of(), f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {"traceparent": traceparent, "X-Request-Id": "gate-7"}
    async with streaming(fake) as gateway, connect(gateway.url, additional_headers=headers) as socket:
        answer = await looked_at(socket, png)
    assert answer["request_id"] == "gate-7-1"
    assert (fake.calls[-1].traceparent, fake.calls[-1].request_id) == (traceparent, "gate-7-1")


@pytest.fixture(scope="module")
async def shapes_stream() -> AsyncIterator[Streaming]:
    async with streaming(Embedded(ROOT / "model_repository" / "cpu")) as gateway:
        yield gateway


async def test_a_frame_gets_what_a_request_gets(shapes_stream: Streaming) -> None:
    picture = simplejpeg.encode_jpeg(draw_picture(11, (320, 240)).image_rgb)
    headers, options = {"Content-Type": "image/jpeg"}, {"confidence": 0.1, "classes": "circle,star,cross"}
    async with connect(shapes_stream.url) as socket, httpx.AsyncClient(trust_env=False, timeout=30) as http:
        await asked(socket, {"options": options})
        frame = await looked_at(socket, picture)
        url = f"http://127.0.0.1:{shapes_stream.port}/v1/detect"
        request = (await http.post(url, params=options, content=picture, headers=headers)).json()
    assert request["detections"]
    assert {name: frame[name] for name in ("model", "image", "detections")} == {
        name: request[name] for name in ("model", "image", "detections")
    }


async def test_the_example_in_the_documents_works(shapes_stream: Streaming, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(simplejpeg.encode_jpeg(draw_picture(11, (320, 240)).image_rgb))
    bad.write_text("no picture")
    example = ROOT / "docs" / "examples" / "detect_stream.py"
    command = [sys.executable, str(example), str(good), str(bad), str(good), "--url", shapes_stream.url]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    said, complaints = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, complaints) == (0, b"")
    lines = said.decode().splitlines()
    assert lines[0].endswith("found")
    assert any(line.startswith(f"{bad}: the data looks like text") for line in lines)
    assert lines.count(lines[0]) == 2
    assert any(" at " in line for line in lines)


async def test_a_path_without_a_stream_is_told_before_anything_is_opened(boxes: Streaming) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(boxes.url.replace("/v1/stream", "/v1/streem"))
    answer = refused.value.response
    assert answer.status_code == 404
    assert json.loads(answer.body)["code"] == "not-found"
