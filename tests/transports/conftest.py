"""Gateways over the fake, which does as it is told, and over the sample model."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tests.transports.gateways import Gateway, Plan, Serve, served

from lookonce.card import Card
from lookonce.inference.embedded import Embedded
from lookonce.inference.fake import Fake
from lookonce.inference.port import Inference, ServedModel

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def serve() -> Serve:
    """A gateway over an inference server, with any part of its `Plan` changed."""

    def start(inference: Inference, **changes: object) -> AbstractAsyncContextManager[Gateway]:
        return served(Plan(inference, **changes))

    return start


@pytest.fixture(scope="session")
def fake_of(card_of: Callable[..., Card]) -> Callable[..., Fake]:
    """The fake with models of these names, each in these versions, of which the first is the default."""

    def make(*names: str, versions: Sequence[int] = (1,), **changes: object) -> Fake:
        models = {
            name: ServedModel(name, versions[0], {version: card_of(name, version) for version in versions})
            for name in names or ("echo",)
        }
        return Fake(models, **changes)

    return make


@pytest.fixture(scope="session")
async def shapes(serve: Serve) -> AsyncIterator[Gateway]:
    """The sample model, in process."""
    async with serve(Embedded(ROOT / "model_repository" / "cpu")) as gateway:
        yield gateway
