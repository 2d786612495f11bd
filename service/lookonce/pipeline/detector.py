"""The one path from pictures to detections."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from lookonce.card import Card
from lookonce.errors import ImageTooLarge, InvalidOptions, ServiceError
from lookonce.inference.port import Call, Candidates, Canvas, Images, Inference
from lookonce.pipeline.admission import Admission
from lookonce.pipeline.catalogue import Catalogue
from lookonce.pipeline.deadline import in_time
from lookonce.pipeline.request import Answer, Request, Seen, Timings
from lookonce.pipeline.rule import rule_of
from lookonce.pipeline.stages import Bounds, Prepared, Preparing, finish, is_short, labelled, prepared_or_refused
from lookonce.pipeline.workers import Workers
from lookonce.vision.nms import Suppression

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Detector:
    inference: Inference
    catalogue: Catalogue
    admission: Admission
    workers: Workers
    bounds: Bounds

    async def detect(self, request: Request) -> Answer:
        """Raises ServiceError for what is wrong with the whole request; a bad picture is an error in its place."""
        card = self.catalogue.model(request.model).card(request.version)
        rule = rule_of(request.options, card)
        self.refuse_too_many(len(request.pictures))
        async with (
            in_time(request.until),
            self.admission.room_for(len(request.pictures), patient=request.patient),
        ):
            return await self._look(request, card, rule)

    def refuse_too_many(self, images: int) -> None:
        if images == 0:
            raise InvalidOptions("there is no image in the request; send at least one.")
        if images > self.bounds.max_images:
            raise ImageTooLarge(
                f"the request holds more than the {self.bounds.max_images} images that are taken; send them in parts."
            )

    async def close(self) -> None:
        self.workers.close()
        await self.inference.close()

    async def _look(self, request: Request, card: Card, rule: Suppression) -> Answer:
        begun = time.perf_counter()
        async with self.workers.place() as place:
            canvas = self.inference.canvas(card, len(request.pictures))
            with canvas as images:
                prepared = await self._prepare(request, canvas, card)
                place.give_up()
                good = [each for each in prepared if isinstance(each, Prepared)]
                asked = time.perf_counter()
                candidates = labelled(await self._infer(request, card, _good_rows(images, prepared)), card)
        answered = time.perf_counter()
        to_seen = partial(finish, candidates, good, rule, normalized=request.options.normalized)
        seen = to_seen() if is_short(candidates, rule) else await self.workers.run(to_seen)
        ended = time.perf_counter()
        timings = _timings(good, answered - asked, ended - answered, ended - begun)
        return Answer(card, _in_place(prepared, seen), timings)

    async def _prepare(self, request: Request, canvas: Canvas, card: Card) -> list[Prepared | ServiceError]:
        jobs = zip(request.pictures, canvas.images, strict=True)
        how = Preparing(card.geometry, self.bounds)
        return await _together(self.workers.run(prepared_or_refused, *job, how, on=canvas) for job in jobs)

    async def _infer(self, request: Request, card: Card, tensor: Images) -> Candidates:
        """As many calls as the model's largest batch makes of it; none where no picture was good."""
        left_s = request.until - asyncio.get_running_loop().time()
        whole = Call(card, tensor, left_s, request_id=request.request_id, traceparent=request.traceparent)
        if len(tensor) <= card.max_batch and len(tensor):
            return await self.inference.infer(whole)
        firsts = range(0, len(tensor), card.max_batch)
        calls = (replace(whole, images=tensor[first : first + card.max_batch]) for first in firsts)
        parts = await _together(self.inference.infer(call) for call in calls)
        return np.concatenate([np.empty((0, card.candidates, 6), np.float32), *parts])


async def _together(work: Iterable[Awaitable[T]]) -> list[T]:
    """All of it at once; when one fails or the caller goes away, what has not begun never begins."""
    pieces = list(work)
    if len(pieces) == 1:
        return [await pieces[0]]
    tasks = [asyncio.ensure_future(each) for each in pieces]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _good_rows(canvas: Images, prepared: Sequence[Prepared | ServiceError]) -> Images:
    """Those with a picture on them, moved up to the front."""
    places = [place for place, each in enumerate(prepared) if isinstance(each, Prepared)]
    for row, place in enumerate(places):
        if row != place:
            canvas[row] = canvas[place]
    return canvas[: len(places)]


def _in_place(prepared: Sequence[Prepared | ServiceError], seen: Sequence[Seen]) -> tuple[Seen | ServiceError, ...]:
    in_turn = iter(seen)
    return tuple(each if isinstance(each, ServiceError) else next(in_turn) for each in prepared)


def _timings(prepared: Sequence[Prepared], inference_s: float, nms_s: float, total_s: float) -> Timings:
    decode_ms = max((each.decode_ms for each in prepared), default=0.0)
    letterbox_ms = max((each.letterbox_ms for each in prepared), default=0.0)
    return Timings(decode_ms, letterbox_ms, inference_s * 1e3, nms_s * 1e3, total_s * 1e3)
