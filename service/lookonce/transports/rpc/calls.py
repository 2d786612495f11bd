"""One gRPC call, whichever it is: who makes it, how long it may take, and how it is told that it failed.

On the wire a unary call is a stream of one message, and here all of them are read as streams: so a caller is known
before a byte of his pictures is taken, and a message that never ends is given up.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc.aio import EOF  # type: ignore[attr-defined]

from lookonce.access.gate import Caller, Gate
from lookonce.errors import DeadlineExceeded, InvalidOptions, ServiceError, SlowBody
from lookonce.pipeline.admission import Admission
from lookonce.transports.credentials import key_from_metadata
from lookonce.transports.http.edge import traceparent_from
from lookonce.transports.service import Service, request_id_from
from lookonce.transports.status import code_of, message_of, retry_after_s, status_of

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
T = TypeVar("T")
Context: TypeAlias = grpc.aio.ServicerContext[Q, A]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

REQUEST_ID: Final = "x-request-id"
CODE, FAILED_ID, RETRY_AFTER = "lookonce-code", "lookonce-request-id", "retry-after-ms"
LONGEST_TEXT: Final = 500
CLOCKS_DIFFER_S: Final = 0.02
"""gRPC ends a call by a clock of its own, which may be a little ahead."""

PARTING_S: Final = 1.0
"""Nobody waits longer for a status to be sent: behind answers that are not read it lies until the caller is gone."""


@dataclass(frozen=True, slots=True)
class Visit(Generic[Q, A]):
    """A call that was let in; `facts` go into its line in the log."""

    service: Service
    context: Context[Q, A]
    caller: Caller
    request_id: str
    traceparent: str
    facts: dict[str, Any]

    async def read(self) -> Q | None:
        """The next message; None after the last."""
        try:
            message: Q = await self.context.read()
        except DecodeError as error:
            raise InvalidOptions("the message cannot be read; generate your code from our .proto again.") from error
        return None if message is EOF else message

    async def only(self) -> Q:
        """The message of a unary call."""
        body_s = self.service.patience.body_s
        try:
            async with asyncio.timeout(body_s):
                message = await self.read()
        except TimeoutError as error:
            raise SlowBody(f"the message did not arrive within {body_s:g} s; send it faster.") from error
        if message is None:
            raise InvalidOptions("the call carries no message; send one.")
        return message

    async def next(self) -> Q | None:
        """The next message of a stream, which may be idle for so long and ends when the gateway does."""
        life, idle_s = self.service.life, self.service.patience.idle_s
        reading, leaving = asyncio.ensure_future(self.read()), asyncio.ensure_future(life.draining.wait())
        try:
            await asyncio.wait((reading, leaving), timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            life.refuse_when_draining()
            raise DeadlineExceeded(f"no message came for {idle_s:g} s; open a new stream when there is one.")
        finally:
            reading.cancel()
            leaving.cancel()

    async def write(self, message: A) -> None:
        idle_s = self.service.patience.idle_s
        try:
            async with asyncio.timeout(idle_s):
                await _sent(self.context.write(message))
        except TimeoutError as error:
            raise DeadlineExceeded(f"nobody read the answers for {idle_s:g} s; read them as they come.") from error

    def until(self) -> float:
        """When the call is over, on the loop's clock: at its own deadline, and at our longest time at the latest."""
        left_s: float | None = self.context.time_remaining()
        if left_s is None:
            return self.service.until(None)
        if left_s <= 0:
            raise DeadlineExceeded("the call's time was over before it was answered; allow more.")
        return self.service.until(min(left_s, self.service.patience.max_request_s))


Method: TypeAlias = Callable[[Visit[Q, A]], Awaitable[A]]
StreamMethod: TypeAlias = Callable[[Visit[Q, A]], AsyncGenerator[A, None]]


@dataclass(frozen=True, slots=True)
class Calls:
    """Lets calls in through `gate` into `room`; where it `tells`, each leaves a line in the log.

    New ones are refused when we shut down, unless they are let in `to_the_end`.
    """

    service: Service
    gate: Gate
    room: Admission
    tells: bool = True
    to_the_end: bool = False

    def unary(self, name: str, asked: type[Q], method: Method[Q, A]) -> Handler:
        async def run(_messages: object, context: Context[Q, A]) -> A:
            return await self._run(name, context, method)

        return grpc.stream_unary_rpc_method_handler(run, asked.FromString, _bytes_of)

    def stream(self, name: str, asked: type[Q], method: StreamMethod[Q, A]) -> Handler:
        async def work(visit: Visit[Q, A]) -> None:
            async with aclosing(method(visit)) as answers:
                async for answer in answers:
                    await visit.write(answer)

        async def run(_messages: object, context: Context[Q, A]) -> None:
            await self._run(name, context, work)

        return grpc.stream_stream_rpc_method_handler(run, asked.FromString, _bytes_of)

    async def _run(self, name: str, context: Context[Q, A], work: Callable[[Visit[Q, A]], Awaitable[T]]) -> T:
        """Where the caller goes away in the middle, or its time is over, gRPC cancels this."""
        begun, status = time.perf_counter(), grpc.StatusCode.CANCELLED
        request_id = request_id_from(_text(context, REQUEST_ID))
        facts: dict[str, Any] = {"request_id": request_id}
        try:
            await _sent(context.send_initial_metadata(((REQUEST_ID, request_id),)))
            result = await self._let_in(context, facts, work)
            status = grpc.StatusCode.OK
        except Exception as error:  # noqa: BLE001  whatever it is, the caller hears what may be heard of it
            status = status_of(error).grpc
            await self._refuse(context, error, request_id)
        finally:
            status = grpc.StatusCode.DEADLINE_EXCEEDED if _is_over(context, status) else status
            self._tell(name, status, facts, took_s=time.perf_counter() - begun)
        return result

    async def _let_in(
        self, context: Context[Q, A], facts: dict[str, Any], work: Callable[[Visit[Q, A]], Awaitable[T]]
    ) -> T:
        if not self.to_the_end:
            self.service.life.refuse_when_draining()
        caller = self.gate.caller(key_from_metadata(context.invocation_metadata() or ()))
        facts["client"] = caller.name
        traceparent = traceparent_from(_text(context, "traceparent"))
        async with self.room.room_for(1, patient=False):
            with caller.turn():
                return await work(Visit(self.service, context, caller, facts["request_id"], traceparent, facts))

    async def _refuse(self, context: Context[Q, A], error: Exception, request_id: str) -> NoReturn:
        if not isinstance(error, ServiceError):
            self.service.log.exception("bug", request_id=request_id)
        trailer = [(CODE, code_of(error)), (FAILED_ID, request_id)]
        wait_s = retry_after_s(error)
        if wait_s is not None:
            trailer.append((RETRY_AFTER, str(math.ceil(wait_s * 1e3))))
        try:
            async with asyncio.timeout(PARTING_S):
                await context.abort(status_of(error).grpc, _short(message_of(error)), tuple(trailer))
        except TimeoutError as unread:
            raise asyncio.CancelledError from unread

    def _tell(self, name: str, status: grpc.StatusCode, facts: Mapping[str, object], *, took_s: float) -> None:
        if self.tells:
            self.service.log.info("call", method=name, status=status.name, took_ms=round(took_s * 1e3, 3), **facts)


async def _sent(sending: Awaitable[None]) -> None:
    """gRPC may fail what is sent to a caller that is gone before it cancels the call."""
    try:
        await sending
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error


def _is_over(context: Context[Q, A], status: grpc.StatusCode) -> bool:
    """Whether the caller's own deadline ended the call, of which gRPC says no more than that it is gone."""
    spare_s = {grpc.StatusCode.OK: 0.0, grpc.StatusCode.CANCELLED: CLOCKS_DIFFER_S}.get(status)
    left_s: float | None = context.time_remaining()
    return spare_s is not None and left_s is not None and left_s <= spare_s


def _text(context: Context[Q, A], name: str) -> str | None:
    """What the caller's metadata says under `name`."""
    pairs = context.invocation_metadata() or ()
    return next((value for key, value in pairs if key == name and isinstance(value, str)), None)


def _short(text: str) -> str:
    """A status travels in a header, where a caller takes 8 KiB and a character may need 12 bytes."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()
