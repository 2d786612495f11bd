"""The only door to a running Triton: gRPC, over one channel for the life of the process."""

import asyncio
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import (
    ModelConfigRequest,
    ModelInferRequest,
    ModelInferResponse,
    RepositoryIndexRequest,
)
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from lookonce.card import Card
from lookonce.errors import BackendContractBroken, BackendUnavailable
from lookonce.inference.port import Call, Candidates, Canvas, ServedModel, checked, fresh_canvas, sendable
from lookonce.inference.raw import KINDS, candidates_of, picture_of
from lookonce.inference.refusals import Asked, refusal
from lookonce.inference.served import served_model

ASK_TIMEOUT_S: Final = 5.0
CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
)
EMPTY: Final = "answered 0 bytes; has the Python of its stub numpy 2? It must have numpy 1."
_MODEL_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_RAW_INPUT_CONTENTS: Final = b"\x3a"
_SAMPLED: Final = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")


class Triton:
    """A Triton at `url` (`host:port`, `dns:///host:port`). Make it inside the loop it serves, after any fork."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._channel = grpc.aio.insecure_channel(url, options=CHANNEL_OPTIONS)
        stub = GRPCInferenceServiceStub(self._channel)
        self._model_config, self._repository_index = stub.ModelConfig, stub.RepositoryIndex
        self._model_infer = self._channel.unary_unary(
            _MODEL_INFER, request_serializer=None, response_deserializer=ModelInferResponse.FromString
        )
        self._is_closed = False

    async def names(self) -> tuple[str, ...]:
        with self._asking(Asked(self._url, None, ASK_TIMEOUT_S)):
            answer = await self._repository_index(RepositoryIndexRequest(ready=True), timeout=ASK_TIMEOUT_S)
        return tuple(sorted({model.name for model in answer.models}))

    async def served(self, name: str) -> ServedModel:
        with self._asking(Asked(self._url, name, ASK_TIMEOUT_S)):
            answer = await self._model_config(ModelConfigRequest(name=name), timeout=ASK_TIMEOUT_S)
        return served_model(answer.config)

    def canvas(self, card: Card, images: int) -> Canvas:
        return fresh_canvas(card, images)

    async def infer(self, call: Call) -> Candidates:
        sendable(call)
        with self._asking(Asked(self._url, call.card.name, call.timeout_s)):
            answer = await self._answer(call)
        return checked(_candidates(answer, call), call)

    async def close(self) -> None:
        self._is_closed = True
        await self._channel.close(None)

    async def _answer(self, call: Call) -> ModelInferResponse:
        return await self._send(_whole(call), call)

    async def _send(self, request: bytes, call: Call) -> ModelInferResponse:
        answer: ModelInferResponse = await self._model_infer(request, timeout=call.timeout_s, metadata=_metadata(call))
        return answer

    @contextmanager
    def _asking(self, asked: Asked) -> Iterator[None]:
        """gRPC's errors become ours; closing the channel must not look as if the caller had gone away."""
        closed = BackendUnavailable(f"the connection to Triton at {self._url} was closed.")
        if self._is_closed:
            raise closed
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise refusal(error, asked) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise closed from error


def _whole(call: Call) -> bytes:
    """The request as it travels. The pixels are appended as protobuf would write them, for it copies them thrice."""
    pixels = np.ascontiguousarray(call.images) if call.card.raw is None else picture_of(call, call.card.raw)
    head = envelope(call, pixels.shape).SerializeToString()
    return b"".join((head, _RAW_INPUT_CONTENTS, _varint(pixels.nbytes), pixels.data))


def envelope(call: Call, shape: tuple[int, ...]) -> ModelInferRequest:
    """All of the request but its pixels."""
    request = ModelInferRequest(model_name=call.card.name, model_version=str(call.card.version), id=call.request_id)
    tensor = call.card.input_tensor
    request.inputs.add(name=tensor.name, datatype=tensor.type, shape=shape)
    for output in call.card.output_tensors:
        request.outputs.add(name=output.name)
    request.parameters["timeout"].int64_param = math.ceil(call.timeout_s * 1e6)
    request.parameters["priority"].uint64_param = call.priority
    return request


def _varint(number: int) -> bytes:
    """Seven bits a byte, lowest first; all but the last byte carry the high bit."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*digits, number))


def _metadata(call: Call) -> tuple[tuple[str, str], ...]:
    """Triton traces whatever carries the header, so only what is sampled may."""
    return (("traceparent", call.traceparent),) if _SAMPLED.fullmatch(call.traceparent) else ()


def _candidates(answer: ModelInferResponse, call: Call) -> Candidates:
    wanted = [(tensor.name, tensor.type) for tensor in call.card.output_tensors]
    if [(output.name, output.datatype) for output in answer.outputs] != wanted:
        said = ", ".join(f"{output.datatype} {output.name}" for output in answer.outputs) or "nothing"
        instead = ", ".join(f"{kind} {name}" for name, kind in wanted)
        raise _broken(call, f"answered {said} instead of {instead}; import it again with `lookonce model import`.")
    if len(answer.raw_output_contents) != len(wanted):
        raise _broken(call, EMPTY)
    tensors = [_array(*answered, call) for answered in zip(answer.outputs, answer.raw_output_contents, strict=True)]
    return tensors[0] if call.card.raw is None else candidates_of(tensors, call)


def _array(output: ModelInferResponse.InferOutputTensor, raw: bytes, call: Call) -> NDArray[Any]:
    shape, kind = tuple(output.shape), np.dtype(KINDS[output.datatype])
    if not raw and math.prod(shape):
        raise _broken(call, EMPTY)
    if min(shape, default=0) < 0 or len(raw) != kind.itemsize * math.prod(shape):
        raise _broken(call, f"answered {len(raw)} bytes for {output.datatype} {list(shape)}; look into Triton's log.")
    return np.frombuffer(raw, kind).reshape(shape)


def _broken(call: Call, what: str) -> BackendContractBroken:
    return BackendContractBroken(f"model {call.card.name} version {call.card.version} {what}")
