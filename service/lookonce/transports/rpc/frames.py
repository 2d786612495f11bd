"""`DetectStream`: frames in, one answer a frame out, in their order."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from lookonce.errors import Forbidden, InvalidOptions, ServiceError, Unauthenticated
from lookonce.pipeline.request import Request
from lookonce.pipeline.rule import rule_of
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.rpc.calls import Visit
from lookonce.transports.rpc.messages import (
    error_message,
    model_message,
    options_of,
    result_message,
    timings_message,
    version_of,
)

Streaming: TypeAlias = Visit[wire.DetectStreamRequest, wire.DetectStreamResponse]
Answered: TypeAlias = asyncio.Task[wire.DetectStreamResponse]

READ_AHEAD: Final = 4
"""Frames of one stream that are under way at once: some are decoded while the model looks at others."""


async def detect_stream(visit: Streaming) -> AsyncGenerator[wire.DetectStreamResponse, None]:
    """Nothing is read while as many frames as may be are under way: gRPC then holds the caller back."""
    room, line = asyncio.Semaphore(READ_AHEAD), asyncio.Queue[Answered | None]()
    reading = asyncio.create_task(Frames(visit).read_into(line, room))
    try:
        while (answer := await line.get()) is not None:
            yield await answer
            room.release()
        await reading
    finally:
        left = [reading, *_all_of(line)]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one stream, from the first message to the last."""

    visit: Streaming

    async def read_into(self, line: asyncio.Queue[Answered | None], room: asyncio.Semaphore) -> None:
        """A None in the line is its end. Raises what ends the stream before the caller does."""
        self.visit.facts["frames"] = 0
        try:
            message = await self.visit.next()
            wanted = self._wanted(message.setup if message is not None else wire.StreamSetup())
            if message is not None and not message.HasField("frame"):
                message = _without_setup(await self.visit.next())
            while message is not None:
                await room.acquire()
                line.put_nowait(asyncio.create_task(self._answer(message.frame, wanted)))
                self.visit.facts["frames"] += 1
                message = _without_setup(await self.visit.next())
        finally:
            line.put_nowait(None)

    def _wanted(self, setup: wire.StreamSetup) -> Request:
        """What every frame is asked with. Raises what is wrong with it before the first frame is looked at."""
        visit = self.visit
        model = visit.service.detector.catalogue.model(setup.model or None)
        visit.caller.refuse_model(model.name)
        visit.facts["model"] = model.name
        options, version = options_of(setup.options), version_of(setup)
        rule_of(options, model.card(version))
        return Request(
            pictures=(),
            until=0,
            model=model.name,
            version=version,
            options=options,
            request_id=visit.request_id,
            traceparent=visit.traceparent,
            patient=True,
        )

    async def _answer(self, frame: wire.Frame, wanted: Request) -> wire.DetectStreamResponse:
        """What is wrong with a frame, a bug among it, is its answer. Raises what is wrong with the caller by now."""
        service = self.visit.service
        answered = wire.DetectStreamResponse(id=frame.id)
        if frame.HasField("captured_at"):
            answered.captured_at.CopyFrom(frame.captured_at)
        try:
            until = min(self.visit.until(), service.until(None))
            answer = await service.detect(replace(wanted, pictures=(frame.image,), until=until), self.visit.caller)
            answered.result.CopyFrom(result_message(answer.only(), answer.card))
        except (Unauthenticated, Forbidden):
            raise
        except Exception as error:
            if not isinstance(error, ServiceError):
                service.log.exception("bug", request_id=wanted.request_id)
            answered.result.CopyFrom(error_message(error))
        else:
            answered.model.CopyFrom(model_message(answer.card))
            answered.timings_ms.CopyFrom(timings_message(answer.timings_ms))
        return answered


def _all_of(line: asyncio.Queue[Answered | None]) -> list[Answered]:
    waiting = [line.get_nowait() for _ in range(line.qsize())]
    return [answer for answer in waiting if answer is not None]


def _without_setup(message: wire.DetectStreamRequest | None) -> wire.DetectStreamRequest | None:
    if message is not None and message.HasField("setup"):
        raise InvalidOptions("setup: only a stream's first message may carry it; open a new stream to change it.")
    return message
