"""The sample model over gRPC: real boxes, through the script that the documents show."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.transports.calling import Gateway, frame, gateway

from lookonce.forge.pictures import LABELS, draw_picture
from lookonce.inference.embedded import Embedded
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "detect_grpc.py"
SIZE_WH = 320, 240


@pytest.fixture(scope="session")
async def sample() -> AsyncIterator[Gateway]:
    async with gateway(Embedded(ROOT / "model_repository" / "cpu")) as running:
        yield running


def jpeg_of(seed: int) -> tuple[bytes, set[str]]:
    """A picture and the labels of what is drawn on it."""
    picture = draw_picture(seed, SIZE_WH)
    bgr = cv2.cvtColor(picture.image_rgb, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr)[1]), {LABELS[class_id] for class_id in picture.class_ids}


async def test_a_call_and_a_stream_see_the_same_in_every_picture(sample: Gateway) -> None:
    jpegs = [jpeg_of(seed)[0] for seed in range(4)]
    answer = await sample.stub.Detect(wire.DetectRequest(images=jpegs))
    messages = [frame(jpeg, number) for number, jpeg in enumerate(jpegs)]
    streamed = [each.result async for each in sample.stub.DetectStream(iter(messages))]
    assert sum(len(result.detections) for result in answer.results) >= 4
    for called, seen in zip(answer.results, streamed, strict=True):
        assert (called.image.width, called.image.height) == SIZE_WH
        assert [found.label for found in called.detections] == [found.label for found in seen.detections]
        assert np.abs(_corners(called) - _corners(seen)).max(initial=0) <= 0.02


async def test_what_is_drawn_is_found(sample: Gateway) -> None:
    jpeg, drawn = jpeg_of(1)
    answer = await sample.stub.Detect(wire.DetectRequest(images=[jpeg]))
    assert {found.label for found in answer.results[0].detections} == drawn


async def test_the_script_of_the_documents_prints_what_it_finds(sample: Gateway, tmp_path: Path) -> None:
    for seed in range(2):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg_of(seed)[0])
    (tmp_path / "note.jpg").write_text("no picture")
    code, told, complained = await _run(sample, tmp_path, "0.jpg", "note.jpg", "1.jpg")
    assert (code, complained) == (0, "")
    found = [line for line in told.splitlines() if " at " in line]
    assert {line.partition(":")[0] for line in found} == {"0.jpg", "1.jpg"}
    assert len(told.splitlines()) == len(found) + 1


async def test_the_script_says_in_a_line_what_was_wrong(sample: Gateway, tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("no picture")
    code, told, complained = await _run(sample, tmp_path, "note.jpg")
    assert (code, told) == (1, "")
    assert complained.startswith("INVALID_ARGUMENT: ")
    assert len(complained.splitlines()) == 1


async def _run(sample: Gateway, folder: Path, *pictures: str) -> tuple[int | None, str, str]:
    command = sys.executable, str(EXAMPLE), *pictures, "--target", f"127.0.0.1:{sample.port}"
    pipe = asyncio.subprocess.PIPE
    script = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=pipe, stderr=pipe)
    told, complained = await asyncio.wait_for(script.communicate(), 30)
    return script.returncode, told.decode(), complained.decode()


def _corners(result: wire.Result) -> np.ndarray:
    boxes = [(found.box.x1, found.box.y1, found.box.x2, found.box.y2) for found in result.detections]
    return np.array(boxes, np.float64).reshape(-1, 4)
