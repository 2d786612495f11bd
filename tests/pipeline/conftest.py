"""A detector over a fake that tells the pictures it is sent by their colour."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import cv2
import numpy as np
import pytest

from lookonce.card import Card
from lookonce.errors import LookOnceError
from lookonce.inference.fake import Fake, nothing
from lookonce.inference.port import Call, Candidates, Inference, ServedModel
from lookonce.pipeline.admission import Admission
from lookonce.pipeline.catalogue import Catalogue
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.request import Options, Picture, Request, Seen
from lookonce.pipeline.stages import Bounds
from lookonce.pipeline.workers import Workers

FakeOf = Callable[..., Fake]
DetectorOver = Callable[..., Awaitable[Detector]]
LONG_S = 60.0


def brightness(call: Call) -> Candidates:
    """One box around each picture; its score is how bright the picture's middle is."""
    rows = nothing(call)
    rows[:, 0] = 0, 0, 32, 32, 0, 0
    rows[:, 0, 4] = call.images[:, 16, 16, 0] / np.float32(255)
    return rows


def grey(level: int, size_wh: tuple[int, int] = (32, 32)) -> bytes:
    """A picture of one grey, as a PNG."""
    _, data = cv2.imencode(".png", np.full((size_wh[1], size_wh[0], 3), level, np.uint8))
    return bytes(data)


def asking(*pictures: Picture | LookOnceError, within_s: float = LONG_S, **wishes: object) -> Request:
    options = Options(confidence=0.0)
    return Request(
        pictures=pictures, until=asyncio.get_running_loop().time() + within_s, **{"options": options} | wishes
    )


@asynccontextmanager
async def busy(workers: Workers) -> AsyncIterator[None]:
    """Both threads are held up."""
    done = threading.Event()
    held = [asyncio.create_task(workers.run(done.wait, 30)) for _ in range(2)]
    await asyncio.sleep(0)
    try:
        yield
    finally:
        done.set()
        await asyncio.gather(*held)


def levels(results: tuple[object, ...]) -> list[int]:
    return [round(float(seen.rows[0, 4]) * 255) for seen in results if isinstance(seen, Seen)]


@pytest.fixture
def fake_of(card_of: Callable[..., Card]) -> FakeOf:
    """A fake of one model for each name, with one version, and whatever else a fake can be told."""

    def make(*names: str, card: dict[str, object] | None = None, **told: object) -> Fake:
        models = {name: ServedModel(name, 1, {1: card_of(name, **(card or {}))}) for name in names or ("echo",)}
        return Fake(models, **{"script": brightness, **told})

    return make


@pytest.fixture(scope="session")
def threads() -> Iterator[Workers]:
    two = Workers(2)
    yield two
    two.close()


@pytest.fixture
def detector_over(threads: Workers) -> DetectorOver:
    """A detector that has looked at what `inference` serves; a fake has forgotten the calls that took."""

    async def make(inference: Inference, limit: int = 16, max_images: int = 16, workers: Workers = threads) -> Detector:
        catalogue = Catalogue(inference)
        await catalogue.refresh()
        if isinstance(inference, Fake):
            inference.calls.clear()
        return Detector(inference, catalogue, Admission(limit), workers, Bounds(100_000, 1_000_000, max_images))

    return make
