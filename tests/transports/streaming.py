"""The stream and the page behind the server that `lookonce serve` opens, and a WebSocket client of another make."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
import pytest
from prometheus_client import CollectorRegistry
from tests.transports.gateways import logging_to
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from lookonce.access.gate import Gate, OpenGate
from lookonce.doors import Address, door, opened
from lookonce.inference.port import Inference
from lookonce.pipeline.admission import Admission
from lookonce.pipeline.catalogue import Catalogue
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.stages import Bounds
from lookonce.pipeline.workers import Workers
from lookonce.transports.http import page, rest
from lookonce.transports.http.public import public_app
from lookonce.transports.posted.bodies import Reading
from lookonce.transports.service import Patience, Service
from lookonce.transports.ws import stream

BOUNDS = Bounds(max_bytes=2**20, max_pixels=1_000_000, max_images=4)
Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Streaming:
    service: Service
    port: int
    lines: list[dict[str, object]]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"

    def ended(self) -> list[dict[str, object]]:
        """The log lines of streams that ended."""
        return [line for line in self.lines if line["event"] == "stream"]


@dataclass(frozen=True, slots=True)
class Plan:
    inference: Inference
    gate: Gate = field(default_factory=OpenGate)
    patience: Patience = field(default_factory=Patience)
    max_streams: int = 64
    max_frame_bytes: int = 2 * 2**20


@asynccontextmanager
async def streaming(inference: Inference, **changes: object) -> AsyncIterator[Streaming]:
    plan = Plan(inference, **changes)
    lines: list[dict[str, object]] = []
    catalogue = Catalogue(inference)
    await catalogue.refresh()
    detector = Detector(inference, catalogue, Admission(8), Workers(2), BOUNDS)
    streams = Admission(plan.max_streams, "streams")
    service = Service(detector, plan.gate, logging_to(lines), plan.patience, streams=streams)
    api = rest.router(service, Reading(BOUNDS, plan.patience.body_s, None))
    app = public_app(service, [api], [*stream.routes(service), page.route()], registry=CollectorRegistry())
    server = door(app, max_frame_bytes=plan.max_frame_bytes, grace_s=5)
    async with opened(server, Address("127.0.0.1", 0, "")) as port:
        try:
            yield Streaming(service, port, lines)
        finally:
            service.life.draining.set()
            await service.streams.empty()
    await detector.close()


async def heard(socket: ClientConnection) -> Json:
    message: Json = orjson.loads(await socket.recv())
    return message


async def asked(socket: ClientConnection, said: Json) -> Json:
    await socket.send(orjson.dumps(said).decode())
    return await heard(socket)


async def looked_at(socket: ClientConnection, picture: bytes) -> Json:
    await socket.send(picture)
    return await heard(socket)


async def goodbye(socket: ClientConnection) -> tuple[int, str]:
    """The code and the reason with which the other side ends the stream, once it has no more to say."""
    with pytest.raises(ConnectionClosed) as ending:
        await socket.recv()
    said = ending.value.rcvd
    assert said is not None, "the connection broke off"
    return said.code, said.reason
