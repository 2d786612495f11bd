"""A Triton on this machine: it reads pictures where they were laid, and only boxes travel.

The boxes come in the answer, not in shared memory: 7 KB, which to fetch in place would save 6 µs, and a Triton that is
late could write them where somebody else's are awaited by then.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import grpc
import grpc.aio
from tritonclient.grpc.service_pb2 import (
    ModelInferResponse,
    SystemSharedMemoryRegisterRequest,
    SystemSharedMemoryStatusRequest,
    SystemSharedMemoryUnregisterRequest,
)
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from lookonce.card import Card
from lookonce.errors import TryLater
from lookonce.inference.port import Call, Canvas, ServedModel
from lookonce.inference.refusals import Asked, refusal
from lookonce.inference.shared import Canvases, NotShared, Region, Size, size_of
from lookonce.inference.triton import ASK_TIMEOUT_S, Triton, envelope

REST_S: Final = 30.0
"""Until what did not work is tried again."""

GOODBYE_S: Final = 1.0
AGAIN_S: Final = 0.05
AWAY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
GONE: Final = AWAY | {grpc.StatusCode.NOT_FOUND}


class Colocated(Triton):
    """Whoever looks at a model has its memory made and registered. Until then calls go as they go elsewhere."""

    def __init__(self, url: str, canvases: Canvases, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(url)
        stub = GRPCInferenceServiceStub(self._channel)
        self._register, self._unregister = stub.SystemSharedMemoryRegister, stub.SystemSharedMemoryUnregister
        self._status = stub.SystemSharedMemoryStatus
        self._canvases = canvases
        self._clock = clock
        self._registered: set[str] = set()
        self._sharing = asyncio.Lock()
        self._rests_until: dict[Size, float] = {}

    async def served(self, name: str) -> ServedModel:
        model = await super().served(name)
        async with self._sharing:
            await self._share(model.card())
        return model

    def canvas(self, card: Card, images: int) -> Canvas:
        return self._canvases.canvas(card, images)

    async def close(self) -> None:
        """Triton keeps memory that it still reads from; what it does not let go of in time, the next gateway has it."""
        names = self._canvases.names
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    while names := await self._withdraw(names):  # noqa: ASYNC110  Triton tells nobody when it is idle
                        await asyncio.sleep(AGAIN_S)
        finally:
            if names:
                self._canvases.tell("pictures are still shared", {"triton": self._url, "memory": names})
            self._canvases.close()
            await super().close()

    async def _answer(self, call: Call) -> ModelInferResponse:
        """A Triton that was started anew has forgotten the memory: the call is sent whole, the next look registers."""
        region = self._canvases.region_of(call.card)
        offset = region.offset_of(call.images) if region and region.name in self._registered else None
        if region is None or offset is None:
            return await super()._answer(call)
        try:
            return await self._send(_referring(call, region.name, offset), call)
        except grpc.aio.AioRpcError as error:
            if region.name not in (error.details() or ""):
                raise
        self._registered.discard(region.name)
        return await super()._answer(call)

    async def _share(self, card: Card) -> None:
        """A Triton that is away is not refusing: it is asked again with the next look."""
        size = size_of(card)
        if card.raw is not None or self._clock() < self._rests_until.get(size, 0.0):
            return
        try:
            region = self._canvases.region_of(card)
            if region is None:
                region = await asyncio.to_thread(self._canvases.made, card)
            if region.name not in self._registered:
                await self._introduce(region)
        except TryLater:
            return
        except NotShared as error:
            if size not in self._rests_until:
                self._canvases.tell("pictures are not shared", {"triton": self._url, "why": str(error)})
            self._rests_until[size] = self._clock() + REST_S
        else:
            self._rests_until.pop(size, None)

    async def _introduce(self, region: Region) -> None:
        key, many_bytes = f"/{region.name}", region.pixels.nbytes
        request = SystemSharedMemoryRegisterRequest(name=region.name, key=key, byte_size=many_bytes)
        try:
            await self._register(request, timeout=ASK_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise self._refused(error) from error
        else:
            facts = {"triton": self._url, "memory": region.name, "bytes": many_bytes}
            self._canvases.tell("pictures are shared", facts)
        self._registered.add(region.name)
        await self._withdraw([name for name in await self._known() if self._canvases.is_dead(name)])

    def _refused(self, error: grpc.aio.AioRpcError) -> Exception:
        why = refusal(error, Asked(self._url, None, ASK_TIMEOUT_S))
        if isinstance(why, TryLater) and error.code() in AWAY:
            return why
        return NotShared(
            f"{why}. Give Triton this machine's /dev/shm, the rights on what lies there and its shared-memory "
            "protocol, or set LOOKONCE_TRITON__TRANSPORT=grpc."
        )

    async def _known(self) -> list[str]:
        with suppress(grpc.aio.AioRpcError):
            return list((await self._status(SystemSharedMemoryStatusRequest(), timeout=ASK_TIMEOUT_S)).regions)
        return []

    async def _withdraw(self, names: Iterable[str]) -> list[str]:
        """Those that Triton does not let go of yet."""
        kept = []
        for name in names:
            try:
                await self._unregister(SystemSharedMemoryUnregisterRequest(name=name), timeout=ASK_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() not in GONE:
                    kept.append(name)
        return kept


def _referring(call: Call, region: str, offset: int) -> bytes:
    """The request with its pixels named instead of sent."""
    request = envelope(call, call.images.shape)
    where = request.inputs[0].parameters
    where["shared_memory_region"].string_param = region
    where["shared_memory_offset"].int64_param = offset
    where["shared_memory_byte_size"].int64_param = call.images.nbytes
    written: bytes = request.SerializeToString()
    return written
