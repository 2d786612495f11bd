"""Several Tritons as one, for real: servers on loopback that come and go, and a Triton that is killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as wire
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server

from lookonce.card import Card, cards_to_parameters
from lookonce.errors import BackendUnavailable, ServiceError
from lookonce.inference.port import Call, Inference
from lookonce.inference.spread import inference_for
from lookonce.inference.triton import CHANNEL_OPTIONS, Triton
from lookonce.local.environment import Environment
from lookonce.local.triton import LocalTriton, serving

CallOf, CardOf = Callable[..., Call], Callable[..., Card]
PATIENCE_S = 30


@dataclass
class Server(GRPCInferenceServiceServicer):
    """Speaks as much of Triton's protocol as it takes, on a port of its own that it keeps."""

    card: Card
    port: int = 0
    answered: int = 0
    slowly_s: float = 0.0
    running: grpc.aio.Server = field(init=False)

    async def start(self) -> None:
        self.running = grpc.aio.server(options=CHANNEL_OPTIONS[:2])
        add_GRPCInferenceServiceServicer_to_server(self, self.running)
        self.port = self.running.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.running.start()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def ModelInfer(  # noqa: N802
        self, request: wire.ModelInferRequest, _context: grpc.aio.ServicerContext
    ) -> wire.ModelInferResponse:
        await asyncio.sleep(self.slowly_s)
        self.answered += 1
        rows = np.zeros((request.inputs[0].shape[0], 5, 6), np.float32)
        answer = wire.ModelInferResponse(raw_output_contents=[rows.tobytes()])
        answer.outputs.add(name="candidates", datatype="FP32", shape=rows.shape)
        return answer

    async def ModelConfig(  # noqa: N802
        self, _request: wire.ModelConfigRequest, _context: grpc.aio.ServicerContext
    ) -> wire.ModelConfigResponse:
        answer = wire.ModelConfigResponse()
        answer.config.name = "echo"
        for key, text in cards_to_parameters({1: self.card}, 1).items():
            answer.config.parameters[key].string_value = text
        return answer

    async def RepositoryIndex(  # noqa: N802
        self, _request: wire.RepositoryIndexRequest, _context: grpc.aio.ServicerContext
    ) -> wire.RepositoryIndexResponse:
        answer = wire.RepositoryIndexResponse()
        answer.models.add(name="echo", version="1", state="READY")
        return answer


@pytest.fixture
async def servers(card_of: CardOf) -> AsyncIterator[tuple[Server, Server]]:
    pair = Server(card_of()), Server(card_of())
    for server in pair:
        await server.start()
    yield pair
    for server in pair:
        await server.running.stop(0)


@asynccontextmanager
async def stream_of_calls(spread: Inference, call: Call) -> AsyncIterator[list[BaseException | None]]:
    """Eight callers that ask without a break; the list has what came of each call."""
    outcomes, over = list[BaseException | None](), asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            try:
                await spread.infer(call)
                outcomes.append(None)
            except ServiceError as error:
                outcomes.append(error)

    callers = [asyncio.create_task(ask()) for _ in range(8)]
    try:
        yield outcomes
    finally:
        over.set()
        await asyncio.gather(*callers)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not reached():  # noqa: ASYNC110  what is waited for happens elsewhere
            await asyncio.sleep(0.01)


async def test_one_server_dies_comes_back_and_nothing_is_lost(servers: tuple[Server, Server], call_of: CallOf) -> None:
    first, second = servers
    spread = inference_for([first.url, second.url])
    for server in servers:
        server.slowly_s = 0.005
    async with stream_of_calls(spread, call_of(timeout_s=20.0)) as outcomes:
        await until(lambda: first.answered > 20 and second.answered > 20)
        await first.running.stop(0)
        before = first.answered, second.answered
        await until(lambda: second.answered > before[1] + 100)
        await first.start()
        async with asyncio.timeout(PATIENCE_S):
            while first.answered <= before[0] + 20:  # as the catalogue looks
                await spread.names()
                await asyncio.sleep(0.01)
    assert len(outcomes) > 150
    assert [outcome for outcome in outcomes if outcome] == []
    await spread.close()


async def test_where_all_are_gone_it_is_told_at_once_and_mended_without_help(
    servers: tuple[Server, Server], call_of: CallOf
) -> None:
    spread = inference_for([server.url for server in servers])
    assert await spread.names() == ("echo",)
    for server in servers:
        await server.running.stop(0)
    with pytest.raises(BackendUnavailable):
        await asyncio.wait_for(spread.infer(call_of()), 5)
    for server in servers:
        await server.start()
    async with stream_of_calls(spread, call_of()) as outcomes:
        await until(lambda: None in outcomes)
    await spread.close()


async def test_one_name_is_one_triton_that_goes_round_by_itself(
    servers: tuple[Server, Server], call_of: CallOf
) -> None:
    inference = inference_for([f"dns:///localhost:{servers[0].port}"])
    assert isinstance(inference, Triton)
    assert await inference.names() == ("echo",)
    assert (await inference.served("echo")).card() == call_of().card
    assert (await inference.infer(call_of(images=3))).shape == (3, 5, 6)
    await inference.close()


async def test_an_address_that_is_named_twice_is_one(servers: tuple[Server, Server]) -> None:
    inference = inference_for([servers[0].url] * 2)
    assert isinstance(inference, Triton)
    await inference.close()


async def test_a_real_triton_that_is_killed_is_not_missed(
    triton_environment: Environment,
    local_triton: LocalTriton,
    lay_model: Callable[..., Path],
    plan_for: Callable[..., object],
    call_of: CallOf,
    tmp_path: Path,
) -> None:
    lay_model(tmp_path)
    with serving(triton_environment, plan_for(tmp_path)) as second:
        spread = inference_for([local_triton.endpoint.grpc_url, second.endpoint.grpc_url])
        assert "echo" in await spread.names()
        async with stream_of_calls(spread, call_of(timeout_s=20.0)) as outcomes:
            await until(lambda: len(outcomes) > 50)
            os.kill(second.endpoint.pid, signal.SIGKILL)
            stopped = len(outcomes)
            await until(lambda: len(outcomes) > stopped + 50)
        assert [outcome for outcome in outcomes if outcome] == []
        await spread.close()
