"""The gateway before a real Triton, whole: every way in gives the same boxes, and Triton may come and go."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.live import asking
from tests.live.asking import Row, Way
from tests.reference import assert_agrees, samples

from lookonce.app import build
from lookonce.local.environment import Environment
from lookonce.local.triton import LocalTriton, Plan, serving
from lookonce.serving import Ports, running
from lookonce.settings import read_settings

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
MODELS = ROOT / "model_repository" / "cpu"
PICTURE = (ROOT / "docs" / "images" / "shapes.jpg").read_bytes()
OPEN = {"server": {"http_port": 0, "grpc_port": 0}, "admin": {"port": 0}}
JPEG = {"Content-Type": "image/jpeg"}
AT_ONCE_S = 1.0


@pytest.fixture(scope="module")
def triton(triton_environment: Environment, plan_for: Callable[..., Plan]) -> Iterator[LocalTriton]:
    with serving(triton_environment, plan_for(MODELS)) as started:
        yield started


@pytest.fixture(scope="module", params=["grpc", "shared-memory"])
async def ports(triton: LocalTriton, request: pytest.FixtureRequest) -> AsyncIterator[Ports]:
    server = {"url": triton.endpoint.grpc_url, "transport": request.param}
    settings = read_settings(triton=server, timeouts={"request_s": 30}, **OPEN)
    gateway = build(settings)
    async with running(gateway) as opened:
        await gateway.service.detector.catalogue.looked.wait()
        yield opened


@pytest.fixture(scope="module")
async def wanted(ports: Ports) -> list[Row]:
    found = await asking.raw(ports, PICTURE)
    assert len(found) > 5
    return found


@pytest.mark.parametrize("way", asking.EXACT, ids=lambda way: way.__name__)
async def test_every_way_in_gives_the_same_boxes(ports: Ports, wanted: list[Row], way: Way) -> None:
    np.testing.assert_allclose(await way(ports, PICTURE), wanted, atol=1e-5)


@pytest.mark.parametrize("way", asking.IN_WHOLE_PIXELS, ids=lambda way: way.__name__)
async def test_ways_in_whole_pixels_give_the_same_boxes_rounded(ports: Ports, wanted: list[Row], way: Way) -> None:
    found = np.array(await way(ports, PICTURE))
    np.testing.assert_allclose(found[:, 4:], np.array(wanted)[:, 4:], atol=1e-5)
    np.testing.assert_allclose(found[:, :4], np.array(wanted)[:, :4], atol=0.5)


@pytest.mark.parametrize("way", [asking.raw, asking.grpc_stream, asking.websocket], ids=lambda way: way.__name__)
async def test_fifty_pictures_equal_an_independent_reference(ports: Ports, way: Way) -> None:
    async def ask(data: bytes) -> Sequence[Row]:
        return await way(ports, data)

    assert await assert_agrees(ask) > 100


async def test_pictures_sent_together_are_answered_as_if_alone(ports: Ports) -> None:
    pictures = [sample.data for sample in samples()[:12]]
    files = [("file", (str(place), picture)) for place, picture in enumerate(pictures)]
    together = await asking.posted(ports, "/v1/detect", files=files)
    for picture, result in zip(pictures, together["results"], strict=True):
        alone = await asking.raw(ports, picture)
        np.testing.assert_allclose(asking.rows(result) or np.zeros((0, 6)), alone or np.zeros((0, 6)), atol=0.05)


async def test_the_gateway_starts_without_triton_and_outlives_it(
    triton_environment: Environment, plan_for: Callable[..., Plan]
) -> None:
    plan = plan_for(MODELS)
    url = f"127.0.0.1:{plan.ports.grpc}"
    async with (
        running(build(read_settings(triton={"url": url}, models={"refresh_s": 0.2}, **OPEN))) as ports,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}", timeout=30) as http,
    ):
        for _ in range(2):
            await until(lambda: _ready(http, 503))
            await _refused_at_once(http)
            with serving(triton_environment, plan):
                await until(lambda: _ready(http, 200))
                answer = await http.post("/v1/detect", content=PICTURE, headers=JPEG)
                assert answer.status_code == 200
        await until(lambda: _ready(http, 503))
        assert (await http.get("/healthz")).status_code == 200


async def _refused_at_once(http: httpx.AsyncClient) -> None:
    assert min([await _refused(http) for _ in range(3)]) < AT_ONCE_S, "a Triton that is away is no reason to wait"


async def _refused(http: httpx.AsyncClient) -> float:
    """How many seconds it took."""
    begun = time.monotonic()
    answer = await http.post("/v1/detect", content=PICTURE, headers=JPEG)
    took_s = time.monotonic() - begun
    assert (answer.status_code, answer.json()["code"]) == (503, "backend-unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    return took_s


async def _ready(http: httpx.AsyncClient, status: int) -> bool:
    return (await http.get("/readyz")).status_code == status


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
