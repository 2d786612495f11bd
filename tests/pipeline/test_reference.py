"""The whole path against a reference that shares nothing with it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.conftest import DetectorOver
from tests.reference import Row, assert_agrees, detections, differ, samples

from lookonce.inference.embedded import Embedded
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.request import Options, Request
from lookonce.pipeline.stages import Bounds

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
async def embedded() -> AsyncIterator[Embedded]:
    inference = Embedded(ROOT / "model_repository" / "cpu")
    yield inference
    await inference.close()


@pytest.fixture
async def detector(embedded: Embedded, detector_over: DetectorOver) -> Detector:
    return replace(await detector_over(embedded), bounds=Bounds(10_000_000, 10_000_000, 16))


def in_time() -> float:
    return asyncio.get_running_loop().time() + 60


async def test_detections_equal_an_independent_references(detector: Detector) -> None:
    async def ask(data: bytes) -> Sequence[Row]:
        answer = await detector.detect(Request(pictures=[data], until=in_time()))
        return answer.only().rows.tolist()

    assert len(samples()) == 50
    assert await assert_agrees(ask) > 100


async def test_slivers_equal_it_down_to_what_is_hardly_likely(detector: Detector) -> None:
    """Nothing is likely on a picture of a pixel's height, so ask for what is not."""
    slivers = [sample.data for sample in samples() if "sliver" in sample.name]
    options = Options(confidence=0.001)
    answer = await detector.detect(Request(pictures=slivers, until=in_time(), options=options))
    for data, seen in zip(slivers, answer.results, strict=True):
        wanted = detections(data, 0.001)
        assert max(row[4] for row in wanted) > 0.05
        assert not list(differ(seen.rows.tolist(), wanted, 0.001))


async def test_pictures_asked_for_together_are_answered_as_if_alone(detector: Detector) -> None:
    pictures = [sample.data for sample in samples()[:12]]
    together = await detector.detect(Request(pictures=pictures, until=in_time()))
    for picture, seen in zip(pictures, together.results, strict=True):
        alone = (await detector.detect(Request(pictures=[picture], until=in_time()))).only()
        np.testing.assert_allclose(seen.rows, alone.rows, atol=0.02)
        assert seen.size_wh == alone.size_wh


async def test_shares_of_the_sides_are_the_pixels_over_the_sides(detector: Detector) -> None:
    picture = samples()[-1].data
    in_pixels = (await detector.detect(Request(pictures=[picture], until=in_time()))).only()
    wanted = Request(pictures=[picture], until=in_time(), options=Options(normalized=True))
    in_shares = (await detector.detect(wanted)).only()
    assert len(in_pixels.rows)
    assert in_shares.rows[:, :4].max() <= 1
    np.testing.assert_allclose(in_shares.rows_px, in_pixels.rows, atol=0.01)
