"""A gRPC server on a port of this machine, and a client of it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
import structlog

from lookonce.access.gate import Gate, OpenGate
from lookonce.inference.fake import Fake, nothing
from lookonce.inference.port import Call, Candidates, Inference
from lookonce.pipeline.admission import Admission
from lookonce.pipeline.catalogue import Catalogue
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.stages import Bounds
from lookonce.pipeline.workers import Workers
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.proto.lookonce.v1.detection_pb2_grpc import DetectionStub
from lookonce.transports.rpc.server import Pem, grpc_server
from lookonce.transports.service import Patience, Service
from lookonce.transports.weighing import Scales

BOUNDS = Bounds(max_bytes=1_000_000, max_pixels=1_000_000, max_images=4)
ALONE = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
"""A channel that shares no connection with another test's."""


@dataclass(frozen=True, slots=True)
class Gateway:
    service: Service
    server: grpc.aio.Server
    port: int
    channel: grpc.aio.Channel
    stub: DetectionStub
    lines: list[dict[str, object]]


@asynccontextmanager
async def gateway(
    inference: Inference,
    *,
    gate: Gate | None = None,
    patience: Patience | None = None,
    in_flight: int = 64,
    requests: int = 64,
    streams: int = 64,
    scales: Scales | None = None,
    tls: Pem | None = None,
    credentials: grpc.ChannelCredentials | None = None,
) -> AsyncIterator[Gateway]:
    catalogue = Catalogue(inference)
    await catalogue.refresh()
    if isinstance(inference, Fake):
        inference.calls.clear()
    detector = Detector(inference, catalogue, Admission(in_flight), Workers(2), BOUNDS)
    lines: list[dict[str, object]] = []
    rooms = {"requests": Admission(requests, "requests"), "streams": Admission(streams, "streams")}
    service = Service(
        detector, gate or OpenGate(), logging_to(lines), patience or Patience(), scales=scales or Scales(), **rooms
    )
    server, port = grpc_server(service, host="127.0.0.1", port=0, tls=tls)
    await server.start()
    async with channel_to(port, credentials) as channel:
        try:
            yield Gateway(service, server, port, channel, DetectionStub(channel), lines)
        finally:
            service.life.draining.set()
            await server.stop(5)
    await detector.close()


def channel_to(port: int, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    if credentials:
        return grpc.aio.secure_channel(f"localhost:{port}", credentials, options=ALONE)
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=ALONE)


def logging_to(lines: list[dict[str, object]]) -> structlog.stdlib.BoundLogger:
    def keep(_logger: object, _method: str, line: Mapping[str, object]) -> Mapping[str, object]:
        lines.append(dict(line))
        raise structlog.DropEvent

    log: structlog.stdlib.BoundLogger = structlog.wrap_logger(None, processors=[keep])
    return log


def two_things(call: Call) -> Candidates:
    """In each picture an `a` in the middle and a `b` in the corner, in the pixels of a 32 px model."""
    rows = nothing(call)
    rows[:, 0] = 8, 12, 24, 20, 0.9, 0
    rows[:, 1] = 0, 4, 6, 10, 0.5, 1
    return rows


def frame(image: bytes, number: int) -> wire.DetectStreamRequest:
    message = wire.DetectStreamRequest(frame=wire.Frame(image=image, id=f"frame {number}"))
    message.frame.captured_at.FromMicroseconds(1_700_000_000_000_000 + number)
    return message


async def failure_of(call: object) -> grpc.aio.AioRpcError:
    """How a call fails. Of a stream, how it ends."""
    try:
        if not hasattr(call, "read"):
            await call
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call did not fail")


def trailer_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    return dict(error.trailing_metadata() or ())


def labels_of(results: Sequence[wire.Result]) -> list[list[str]]:
    return [[found.label for found in result.detections] for result in results]
