"""Every way to ask, as cheap as a caller can be: each opens a connection and gives a function that asks once."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import grpc.aio
from tritonclient.grpc.service_pb2 import ModelInferRequest
from websockets.asyncio.client import connect

from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.proto.lookonce.v1.detection_pb2_grpc import DetectionStub
from lookonce.vision.headers import read_header
from lookonce.vision.images import decode
from lookonce.vision.letterbox import Geometry, letterbox

Ask: TypeAlias = Callable[[], Awaitable[None]]
HOST: Final = "127.0.0.1"
BOUNDARY: Final = b"cut-here"
PART: Final = (
    b'--%s\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n%s\r\n'
)
MODEL_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """So many callers ask the server at `port` for `duration_s`, or for so many `requests`; `per_s`: at that rate.

    Each request holds the picture `pictures` times. `watch` is the process whose CPU time is told.
    """

    way: str
    port: int
    watch: int
    picture: str
    callers: int = 8
    warm_up_s: float = 0.4
    duration_s: float = 2.0
    requests: int = 0
    per_s: float = 0.0
    pictures: int = 1
    model: str = ""
    path: str = "/v1/detect"

    @property
    def photo(self) -> bytes:
        return Path(self.picture).read_bytes()


class Line(asyncio.Protocol):
    """A connection that sends the same bytes again and again, and wants a 200 each time."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = bytearray()
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, gap, body = self.received.partition(b"\r\n\r\n")
        if not gap or len(body) < _length(head) or self.answered.cancelled():
            return
        if not head.startswith(b"HTTP/1.1 200 ") or b'"error":{' in body:
            self.answered.set_exception(ConnectionError(self.received[:300].decode(errors="replace")))
            return
        self.received.clear()
        self.answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_exception(error or ConnectionError("the server hung up."))

    async def ask(self) -> None:
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(self.request)
        await self.answered


def _length(head: bytes | bytearray) -> int:
    lines = head.lower().split(b"\r\n")
    return int(next(line for line in lines if line.startswith(b"content-length:"))[15:])


@asynccontextmanager
async def _line(order: Order, kind: str, body: bytes) -> AsyncIterator[Ask]:
    head = f"POST {order.path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    transport, line = await loop.create_connection(lambda: Line(head.encode() + body), HOST, order.port)
    try:
        yield line.ask
    finally:
        line.answered.cancel()
        transport.close()


def raw(order: Order) -> AbstractAsyncContextManager[Ask]:
    return _line(order, "image/jpeg", order.photo)


def multipart(order: Order) -> AbstractAsyncContextManager[Ask]:
    parts = PART % (BOUNDARY, order.photo) * order.pictures
    return _line(order, f"multipart/form-data; boundary={BOUNDARY.decode()}", b"%s--%s--\r\n" % (parts, BOUNDARY))


@asynccontextmanager
async def unary(order: Order) -> AsyncIterator[Ask]:
    request = wire.DetectRequest(images=[order.photo] * order.pictures, model=order.model)
    async with grpc.aio.insecure_channel(f"{HOST}:{order.port}", options=CHANNEL_OPTIONS) as channel:
        stub = DetectionStub(channel)

        async def ask() -> None:
            _refuse_errors((await stub.Detect(request)).results)

        yield ask


@asynccontextmanager
async def stream(order: Order) -> AsyncIterator[Ask]:
    frame = wire.DetectStreamRequest(frame=wire.Frame(image=order.photo))
    async with grpc.aio.insecure_channel(f"{HOST}:{order.port}", options=CHANNEL_OPTIONS) as channel:
        call = DetectionStub(channel).DetectStream()

        async def ask() -> None:
            await call.write(frame)
            _refuse_errors([(await call.read()).result])

        yield ask
        await call.done_writing()


def _refuse_errors(results: Iterable[wire.Result]) -> None:
    for result in results:
        if result.HasField("error"):
            raise ConnectionError(result.error.detail)


@asynccontextmanager
async def websocket(order: Order) -> AsyncIterator[Ask]:
    picture = order.photo
    async with connect(f"ws://{HOST}:{order.port}/v1/stream", proxy=None, compression=None) as socket:

        async def ask() -> None:
            await socket.send(picture)
            answer = json.loads(await socket.recv())
            if "error" in answer:
                raise ConnectionError(str(answer["error"]))

        yield ask


@asynccontextmanager
async def tensors(order: Order) -> AsyncIterator[Ask]:
    """Straight to Triton, with a tensor that was ready before and a message that was written before."""
    data = order.photo
    canvas, _ = letterbox(decode(data, read_header(data)), Geometry(640, 640))
    request = ModelInferRequest(model_name=order.model)
    request.inputs.add(name="images", datatype="UINT8", shape=(1, *canvas.shape))
    request.raw_input_contents.append(canvas.tobytes())
    written = request.SerializeToString()
    async with grpc.aio.insecure_channel(f"{HOST}:{order.port}", options=CHANNEL_OPTIONS) as channel:
        infer = channel.unary_unary(MODEL_INFER, request_serializer=None, response_deserializer=None)

        async def ask() -> None:
            await infer(written)

        yield ask


WAYS: Final[Mapping[str, Callable[[Order], AbstractAsyncContextManager[Ask]]]] = {
    "REST raw": raw,
    "multipart": multipart,
    "gRPC unary": unary,
    "gRPC stream": stream,
    "WebSocket": websocket,
    "tensors": tensors,
}
