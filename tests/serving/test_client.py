"""The Python client against a real gateway: what comes back, and how it says what went wrong."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.serving.conftest import Gateways

from lookonce.card import Card
from lookonce.client import Client, Detections, Refused, Unreachable
from lookonce.errors import Overloaded
from lookonce.inference.embedded import Embedded
from lookonce.inference.fake import Fake
from lookonce.inference.port import ServedModel

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "shapes.jpg"


@pytest.fixture(scope="module")
async def client(gateway: Gateways) -> AsyncIterator[Client]:
    async with gateway(Embedded(ROOT / "model_repository" / "cpu"), timeouts={"request_s": 30}) as ports:
        with Client(f"http://127.0.0.1:{ports.http}") as client:
            await until_ready(client)
            yield client


async def until_ready(client: Client) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(_serves, client):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _serves(client: Client) -> bool:
    return bool(client.models())


async def test_a_picture_is_one_line(client: Client) -> None:
    found = await asyncio.to_thread(client.detect, PICTURE)
    assert len(found) == 12
    assert found.size_wh == (960, 720)
    first = next(iter(found))
    assert (first.label, first.class_id) == ("hexagon", 4)
    assert 0.9 < first.confidence < 1
    assert (round(first.box.x1), round(first.box.y2)) == (600, 570)
    assert found.json["model"]["name"] == "shapes"


async def test_bytes_paths_and_options_are_taken(client: Client) -> None:
    def ask() -> Detections:
        return client.detect(PICTURE.read_bytes(), model="shapes", version=1, classes=["cross", 0], normalized=True)

    found = await asyncio.to_thread(ask)
    assert {each.label for each in found} == {"cross", "circle"}
    assert all(0 <= edge <= 1 for each in found for edge in (each.box.x1, each.box.y1, each.box.x2, each.box.y2))


async def test_of_several_a_bad_one_is_an_error_in_its_place(client: Client) -> None:
    good, bad, again = await asyncio.to_thread(client.detect_many, [str(PICTURE), b"no picture", PICTURE])
    assert isinstance(bad, Refused)
    assert (bad.status, bad.code) == (415, "unsupported-media")
    assert len(good) == len(again) == 12


async def test_a_bad_one_alone_is_an_error_in_its_place_too(client: Client) -> None:
    (bad,) = await asyncio.to_thread(client.detect_many, [b"no picture"])
    assert isinstance(bad, Refused)
    (good,) = await asyncio.to_thread(client.detect_many, [PICTURE])
    assert len(good) == 12


async def test_what_is_refused_is_told(client: Client) -> None:
    with pytest.raises(Refused, match="confidence: 7 is not a number from 0 to 1") as refused:
        await asyncio.to_thread(lambda: client.detect(PICTURE, confidence=7))
    assert (refused.value.status, refused.value.code) == (422, "invalid-options")
    assert refused.value.request_id
    with pytest.raises(Refused, match="there is no model street"):
        await asyncio.to_thread(lambda: client.detect(PICTURE, model="street"))
    with pytest.raises(ValueError, match="name the model too"):
        client.detect(PICTURE, version=1)


async def test_the_models_are_listed(client: Client) -> None:
    (model,) = await asyncio.to_thread(client.models)
    assert model["name"] == "shapes"


def test_nobody_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(Unreachable, match="is the service running there"):
        client.detect(PICTURE)


async def test_one_who_is_too_busy_is_asked_again(gateway: Gateways, card_of: Callable[..., Card]) -> None:
    busy = Fake({"echo": ServedModel("echo", 1, {1: card_of()})}, failures=[])
    async with gateway(busy) as ports:
        with Client(f"http://127.0.0.1:{ports.http}", tries=2) as client:
            await until_ready(client)
            busy.failures = iter([Overloaded("later", 0.01)])
            assert len(await asyncio.to_thread(client.detect, PICTURE)) == 0
            busy.failures = iter([Overloaded("later", 0.01)] * 2)
            with pytest.raises(Refused, match="later") as refused:
                await asyncio.to_thread(client.detect, PICTURE)
            assert refused.value.status == 429
