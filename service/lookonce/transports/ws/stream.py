"""WebSocket: an image a binary message in, a JSON text a frame out, and of the frames that wait only the newest counts.

A text message says what is wanted of the frames after it and is answered by `{"ready": …}`. What is wrong with a frame
is answered in its place; what is wrong with the stream itself is answered by `{"error": …}` and ends it.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import orjson
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from lookonce.access.gate import Caller
from lookonce.errors import Draining, ServiceError, TryLater, Unauthenticated
from lookonce.pipeline.request import Picture, Request
from lookonce.pipeline.rule import rule_of
from lookonce.transports.credentials import key_from_headers, the_one_key
from lookonce.transports.presets import native
from lookonce.transports.service import Service, request_id_from
from lookonce.transports.status import problem
from lookonce.transports.ws.mailbox import Mailbox
from lookonce.transports.ws.setup import Setup, setup_from

PATH: Final = "/v1/stream"
PARTING_S: Final = 1.0
STRANGER_S: Final = 3.0
"""Until whoever has no key in a header has said one."""

LEFT: Final = "the client left"
CLOSE_CODES: Final[Mapping[type[BaseException], int]] = {Draining: 1001, TryLater: 1013, ServiceError: 1008}
"""RFC 6455: going away, try again later, policy violation. The nearest kind decides."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """How a stream ends; `ours`: we are the ones who say so."""

    code: int
    reason: str
    error: ServiceError | None = None
    answers_newest: bool = False
    ours: bool = True


IDLE: Final = Farewell(1000, "idle", answers_newest=True)
DRAINING: Final = Farewell(1001, "draining", answers_newest=True)
UNREAD: Final = Farewell(1008, "answers are not read")


ENDS: Final = ServiceError, WebSocketDisconnect, TimeoutError


def farewell_for(error: BaseException) -> Farewell:
    """How each of the ends is told: ours, the client's, and silence."""
    if isinstance(error, WebSocketDisconnect):
        return Farewell(int(error.code), LEFT, ours=False)
    if not isinstance(error, ServiceError):
        return IDLE
    code = next(CLOSE_CODES[kind] for kind in type(error).__mro__ if kind in CLOSE_CODES)
    return Farewell(code, error.code, error)


@dataclass(frozen=True, slots=True)
class Frame:
    """The `number`-th picture that came, and who asks what of it."""

    number: int
    request: Request
    caller: Caller


def routes(service: Service, *, tells: bool = True) -> list[WebSocketRoute]:
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        one = Stream(socket, service, socket.state.request_id)
        farewell = await one.run()
        if tells:
            one.tell(farewell)

    return [WebSocketRoute(PATH, stream, name="stream")]


@dataclass(slots=True)
class Stream:
    """One open WebSocket, which hears and answers side by side."""

    socket: WebSocket
    service: Service
    request_id: str
    client: str | None = None
    key: str | None = field(default=None, repr=False)
    heard: int = 0
    answered: int = 0
    begun: float = field(default_factory=time.perf_counter)
    mailbox: Mailbox[Frame] = field(default_factory=Mailbox)
    farewell: asyncio.Future[Farewell] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def run(self) -> Farewell:
        """How it ended, when it has."""
        try:
            self.service.life.refuse_when_draining()
            caller, first = await self._meet()
            self.client = caller.name
            self.service.life.refuse_when_draining()
            async with self.service.streams.room_for(1, patient=False):
                with caller.turn():
                    farewell = await self._talk(caller, first)
                    await self._part(farewell)
        except ENDS as error:
            farewell = farewell_for(error)
            await self._part(farewell)
        return farewell

    async def _meet(self) -> tuple[Caller, str | bytes | None]:
        """Who it is, and the first message where that had to be heard to know: until then it takes no stream's room."""
        gate, self.key = self.service.gate, key_from_headers(self.socket.headers)
        try:
            return gate.caller(self.key), None
        except Unauthenticated:
            if self.key:
                raise
        async with self.service.strangers.room_for(1, patient=False):
            first = await self._message(within_s=min(STRANGER_S, self.service.patience.body_s))
        self.key = setup_from(first).key if isinstance(first, str) else None
        return gate.caller(self.key), first

    async def _talk(self, caller: Caller, first: str | bytes | None) -> Farewell:
        """Until the client leaves, falls silent, does not read or says something wrong, or until we shut down."""
        async with asyncio.TaskGroup() as group:
            listening = [group.create_task(self._hear(caller, first)), group.create_task(self._see_draining())]
            answering = group.create_task(self._answer())
            farewell = await self.farewell
            for task in listening:
                task.cancel()
            self.mailbox.close()
            if not farewell.answers_newest:
                answering.cancel()
        return farewell

    def _end(self, farewell: Farewell) -> None:
        """The first reason to end is the one that counts."""
        if not self.farewell.done():
            self.farewell.set_result(farewell)

    async def _see_draining(self) -> None:
        await self.service.life.draining.wait()
        self._end(DRAINING)

    async def _hear(self, caller: Caller, first: str | bytes | None) -> None:
        try:
            message = await self._message(within_s=self.service.patience.body_s) if first is None else first
            await self._listen(message, caller)
        except ENDS as error:
            self._end(farewell_for(error))

    async def _listen(self, message: str | bytes, caller: Caller) -> None:
        setup = Setup()
        while True:
            if isinstance(message, str):
                setup = setup_from(message)
                self.key = the_one_key(self.key, setup.key)
                await self._say({"ready": self._ready(setup, caller)})
            else:
                self._keep(message, setup, caller)
            message = await self._message(within_s=self.service.patience.idle_s)

    async def _message(self, *, within_s: float) -> str | bytes:
        async with asyncio.timeout(within_s):
            message = await self.socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        heard: str | bytes = message["bytes"] if message.get("text") is None else message["text"]
        return heard

    def _ready(self, setup: Setup, caller: Caller) -> dict[str, object]:
        """What holds from now on, once it is known that it can."""
        model = self.service.detector.catalogue.model(setup.model)
        caller.refuse_model(model.name)
        card = model.card(setup.version)
        rule = rule_of(setup.options, card)
        if setup.request_id:
            self.request_id = request_id_from(setup.request_id)
        return {
            "request_id": self.request_id,
            "model": {"name": card.name, "version": card.version, "digest": card.served_sha256},
            "labels": card.labels,
            "thresholds": {"confidence": rule.confidence, "iou": rule.iou},
        }

    def _keep(self, picture: Picture, setup: Setup, caller: Caller) -> None:
        self.heard += 1
        request = Request(
            pictures=[picture],
            until=self.service.until(None),
            model=setup.model,
            version=setup.version,
            options=setup.options,
            request_id=f"{self.request_id}-{self.heard}",
            traceparent=self.socket.state.traceparent,
            patient=True,
        )
        self.mailbox.put(Frame(self.heard, request, caller))

    async def _answer(self) -> None:
        try:
            async for frame in self.mailbox:
                place = {"frame": frame.number, "dropped": self.mailbox.dropped}
                await self._say(place | await self._result(frame))
                self.answered += 1
        except Unauthenticated as error:  # the key was revoked
            self._end(farewell_for(error))
        except WebSocketDisconnect:
            self._end(Farewell(1006, LEFT, ours=False))
        except TimeoutError:
            self._end(UNREAD)

    async def _result(self, frame: Frame) -> dict[str, object]:
        try:
            answer = await self.service.detect(frame.request, frame.caller)
            return native(answer, frame.request.request_id)
        except Unauthenticated:
            raise
        except ServiceError as error:
            return {"error": problem(error, frame.request.request_id)}
        except Exception as error:
            self.service.log.exception("bug", request_id=frame.request.request_id)
            return {"error": problem(error, frame.request.request_id)}

    async def _say(self, words: Mapping[str, object]) -> None:
        """Raises TimeoutError where they are not read, and WebSocketDisconnect where nobody is left to read them."""
        try:
            async with asyncio.timeout(self.service.patience.idle_s):
                await self.socket.send_text(orjson.dumps(words).decode())
        except RuntimeError as error:  # uvicorn's word for a socket that it has closed itself
            raise WebSocketDisconnect(1006) from error

    async def _part(self, farewell: Farewell) -> None:
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(PARTING_S):
                if farewell.error:
                    await self._say({"error": problem(farewell.error, self.request_id)})
                if farewell.ours:
                    await self.socket.close(farewell.code, farewell.reason)

    def tell(self, farewell: Farewell) -> None:
        """The stream's one line in the log."""
        self.service.log.info(
            "stream",
            client=self.client,
            request_id=self.request_id,
            code=farewell.code,
            reason=farewell.reason,
            frames=self.heard,
            answered=self.answered,
            dropped=self.mailbox.dropped,
            took_ms=round((time.perf_counter() - self.begun) * 1e3, 1),
        )
