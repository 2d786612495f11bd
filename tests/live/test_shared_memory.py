"""Pictures in memory that a real Triton reads: it may be started anew, and a gateway that ends leaves nothing."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import grpc
import httpx
import numpy as np
import pytest
from tests.cli.command import started
from tests.waiting import until
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import SystemSharedMemoryStatusRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from lookonce.app import Gateway, build
from lookonce.card import Card, card_to_json
from lookonce.errors import BackendContractBroken, BackendUnavailable, DeadlineExceeded
from lookonce.inference.port import Call
from lookonce.inference.shared import SHM, Canvases, Region
from lookonce.inference.spread import inference_for
from lookonce.local.environment import Environment
from lookonce.local.triton import LocalTriton, Plan, serving
from lookonce.pipeline.request import Options, Request, Seen
from lookonce.serving import Ports, running
from lookonce.settings import Settings, read_settings

pytestmark = pytest.mark.live
SLOTS = 8
CALLERS = 6
PATIENCE_S = 60.0
PNG = {"Content-Type": "image/png"}
NEVER = 3600.0
ANYTHING = Options(confidence=0.0)


def picture(number: int) -> bytes:
    """Its first six bytes, which is what `echo` answers, are a box of its own."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[0, :2] = np.reshape(box(number), (2, 3))
    return bytes(cv2.imencode(".png", pixels[..., ::-1])[1])


def box(number: int) -> list[float]:
    return [float(number % 8), float(number // 8 % 8), 20.0, 24.0, 1.0, float(number % 200)]


def settings_for(url: str) -> Settings:
    return read_settings(
        server={"http_port": 0, "grpc_port": 0},
        admin={"port": 0},
        triton={"url": url, "transport": "shared-memory"},
        models={"refresh_s": 0.2, "default": "echo"},
        limits={"max_in_flight": SLOTS, "max_images": SLOTS},
    )


class Sharing:
    """A gateway in this process, with the memory that it shares in sight."""

    def __init__(self, url: str, card: Card, folder: Path = SHM) -> None:
        self.told: list[str] = []
        self.canvases = Canvases(SLOTS, lambda event, _facts: self.told.append(event), folder)
        self.gateway: Gateway = build(settings_for(url), inference_for([url], self.canvases))
        self.card = card

    @property
    def region(self) -> Region:
        region = self.canvases.region_of(self.card)
        assert region is not None, "nothing is shared"
        return region

    def is_idle(self) -> bool:
        return self.region.slots.free == SLOTS

    async def detect(self, *numbers: int, model: str = "echo", within_s: float = NEVER) -> None:
        """Ask about these pictures, and hold the answers to be theirs."""
        end = asyncio.get_running_loop().time() + within_s
        pictures = [picture(number) for number in numbers]
        request = Request(pictures=pictures, until=end, model=model, options=ANYTHING, patient=True)
        answer = await self.gateway.service.detector.detect(request)
        found = [seen.rows[0].tolist() for seen in answer.results if isinstance(seen, Seen)]
        assert found == [box(number) for number in numbers]


@pytest.fixture(scope="module")
def repository(
    lay_model: Callable[..., Path], card_of: Callable[..., Card], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    def with_many_labels(config: ModelConfig) -> None:
        card = replace(card_of(config.name), labels=tuple(map(str, range(256))))
        config.parameters["card.1"].string_value = card_to_json(card)

    folder = tmp_path_factory.mktemp("shared")
    for name in ("echo", "slow", "fails"):
        lay_model(folder, name, with_many_labels)
    return folder


@pytest.fixture(scope="module")
def triton(triton_environment: Environment, plan_for: Callable[..., Plan], repository: Path) -> Iterator[LocalTriton]:
    with serving(triton_environment, plan_for(repository)) as opened:
        yield opened


@pytest.fixture(scope="module")
async def sharing(triton: LocalTriton, card_of: Callable[..., Card]) -> AsyncIterator[tuple[Sharing, Ports]]:
    gateway = Sharing(triton.endpoint.grpc_url, card_of())
    async with running(gateway.gateway) as ports:
        await gateway.gateway.service.detector.catalogue.looked.wait()
        yield gateway, ports
        await until(gateway.is_idle)
    assert gateway.canvases.names == []


def regions_at(url: str) -> set[str]:
    with grpc.insecure_channel(url) as channel:
        return set(
            GRPCInferenceServiceStub(channel).SystemSharedMemoryStatus(SystemSharedMemoryStatusRequest()).regions
        )


async def test_triton_knows_the_memory_and_it_is_as_large_as_its_slots(
    triton: LocalTriton, sharing: tuple[Sharing, Ports]
) -> None:
    gateway, _ = sharing
    assert gateway.region.name in regions_at(triton.endpoint.grpc_url)
    assert (SHM / gateway.region.name).stat().st_size == SLOTS * 32 * 32 * 3


@pytest.mark.parametrize("images", [1, 3, SLOTS - 2])
async def test_slots_come_back_after_an_answer(sharing: tuple[Sharing, Ports], images: int) -> None:
    gateway, _ = sharing
    await asyncio.gather(*(gateway.detect(*range(first, first + images)) for first in range(6)))
    assert gateway.is_idle()


async def test_slots_come_back_after_an_error(sharing: tuple[Sharing, Ports], card_of: Callable[..., Card]) -> None:
    gateway, ports = sharing
    inference, card = gateway.gateway.service.detector.inference, card_of("fails")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}") as http:
        broken = await http.post("/v1/detect", content=picture(0)[:60], headers=PNG)
    assert broken.status_code == 422
    with pytest.raises(BackendContractBroken, match="no good will come of"), inference.canvas(card, 2) as canvas:
        await inference.infer(Call(card, canvas, 30.0))
    assert gateway.is_idle()


async def test_slots_come_back_from_those_who_are_late_or_gone_and_nobody_gets_anothers_answer(
    sharing: tuple[Sharing, Ports],
) -> None:
    gateway, _ = sharing
    late = [asyncio.create_task(gateway.detect(turn, model="slow", within_s=0.1)) for turn in range(3)]
    gone = [asyncio.create_task(gateway.detect(turn, model="slow")) for turn in range(3)]
    await until(lambda: gateway.region.slots.free < SLOTS - len(gone))
    for task in gone:
        task.cancel()
    ends = await asyncio.gather(*late, *gone, return_exceptions=True)
    assert [type(end) for end in ends] == [DeadlineExceeded] * 3 + [asyncio.CancelledError] * 3
    assert gateway.is_idle()
    await asyncio.gather(gateway.detect(7, model="slow"), *(gateway.detect(turn) for turn in range(40)))


async def test_slots_come_back_from_callers_who_hang_up(sharing: tuple[Sharing, Ports]) -> None:
    gateway, ports = sharing
    head = f"POST /v1/models/slow/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture(0))}"
    doors = [await asyncio.open_connection("127.0.0.1", ports.http) for _ in range(4)]
    for _, writer in doors:
        writer.write(f"{head}\r\nContent-Type: image/png\r\n\r\n".encode() + picture(0))
    await until(lambda: gateway.region.slots.free == SLOTS - 4)
    for _, writer in doors:
        writer.close()
    await until(gateway.is_idle)


async def test_a_triton_started_anew_under_load_is_given_the_memory_again(
    triton_environment: Environment, plan_for: Callable[..., Plan], repository: Path, card_of: Callable[..., Card]
) -> None:
    plan = plan_for(repository, models=("echo",))
    url = f"127.0.0.1:{plan.ports.grpc}"
    gateway, load = Sharing(url, card_of()), Load()
    async with running(gateway.gateway), asyncio.TaskGroup() as group:
        async with open_again(triton_environment, plan):
            await until(lambda: gateway.told == ["pictures are shared"], PATIENCE_S)
            callers = [group.create_task(load.ask(gateway, number)) for number in range(CALLERS)]
            await load.goes_on()
        async with open_again(triton_environment, plan):
            await until(lambda: gateway.told == ["pictures are shared"] * 2, PATIENCE_S)
            await load.goes_on()
            assert gateway.region.name in regions_at(url)
            for caller in callers:
                caller.cancel()
            await until(gateway.is_idle)


@dataclass
class Load:
    """Callers who ask again and again, whatever becomes of it; how often they were answered, each with their own."""

    answers: int = 0

    async def ask(self, gateway: Sharing, number: int) -> None:
        while True:
            try:
                await gateway.detect(number, within_s=5)
                self.answers += 1
            except BackendUnavailable:
                await asyncio.sleep(0.02)

    async def goes_on(self) -> None:
        before = self.answers
        await until(lambda: self.answers > before + 50, PATIENCE_S)


@asynccontextmanager
async def open_again(environment: Environment, plan: Plan) -> AsyncIterator[None]:
    """A Triton; the loop goes on while it starts and while it ends."""
    triton = serving(environment, plan)
    await asyncio.to_thread(triton.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(triton.__exit__, None, None, None)


async def test_a_triton_that_does_not_see_the_memory_is_sent_the_pictures(
    triton: LocalTriton, card_of: Callable[..., Card], tmp_path: Path
) -> None:
    gateway = Sharing(triton.endpoint.grpc_url, card_of(), tmp_path)
    async with running(gateway.gateway):
        await gateway.gateway.service.detector.catalogue.looked.wait()
        await asyncio.gather(*(gateway.detect(number, number + 1) for number in range(10)))
    assert gateway.told == ["pictures are not shared"]
    assert gateway.canvases.names == []


def memory_of(process: "subprocess.Popen[str]") -> str:
    """The name that a gateway in a process of its own gave its memory."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        line = process.stderr.readline()
        if '"memory"' in line:
            return str(json.loads(line)["memory"])
    raise AssertionError("no memory was told of")


def test_a_killed_gateways_memory_is_removed_by_the_next_one_and_a_neighbours_stays(triton: LocalTriton) -> None:
    url = triton.endpoint.grpc_url
    arguments = ["serve", "--triton", url, "--http-port", "0", "--grpc-port", "0", "--admin-port", "0"]
    variables = {"LOOKONCE_TRITON__TRANSPORT": "shared-memory"}
    with started(*arguments, variables=variables) as neighbour:
        living = memory_of(neighbour)
        with started(*arguments, variables=variables) as killed:
            left = memory_of(killed)
            killed.kill()
            killed.wait()
        assert (SHM / left).exists()
        assert {living, left} <= regions_at(url)
        with started(*arguments, variables=variables) as following:
            own = memory_of(following)
            assert not (SHM / left).exists()
            assert (SHM / living).exists()
            assert (SHM / own).exists()
            following.send_signal(signal.SIGTERM)
            assert following.wait(30) == 0
        assert not (SHM / own).exists()
        assert not {left, own} & regions_at(url)
        neighbour.send_signal(signal.SIGTERM)
        assert neighbour.wait(30) == 0
    assert not (SHM / living).exists()
    assert living not in regions_at(url)
