"""A detector over a fake that tells the pictures it is sent by their colour."""

from collections.abc import Awaitable, Callable, Iterator

import cv2
import numpy as np
import pytest

from lookonce.card import Card
from lookonce.inference.fake import Fake, nothing
from lookonce.inference.port import Call, Candidates, Inference, ServedModel
from lookonce.pipeline.admission import Admission
from lookonce.pipeline.catalogue import Catalogue
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.stages import Bounds
from lookonce.pipeline.workers import Workers

DetectorOver = Callable[..., Awaitable[Detector]]


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


@pytest.fixture
def fake_of(card_of: Callable[..., Card]) -> Callable[..., Fake]:
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
