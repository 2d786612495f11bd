"""What each step of a request costs by itself: CPU of this process, warm, medians of interleaved rounds."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeAlias

import cv2
import numpy as np
import orjson
from bed import GRPC, SHARED_MEMORY
from figures import Stage

from lookonce.card import Card
from lookonce.inference.port import Call, Candidates, Inference
from lookonce.inference.shared import Canvases
from lookonce.inference.spread import inference_for
from lookonce.pipeline.request import Answer, Options, Timings
from lookonce.pipeline.rule import rule_of
from lookonce.pipeline.stages import Bounds, Prepared, Preparing, finish, judged, labelled, prepare
from lookonce.transports.presets import FORMATS
from lookonce.vision.fitting import decode_for
from lookonce.vision.letterbox import ImageRGB, Placement, draw_onto, pad, place, window_of
from lookonce.vision.nms import Suppression

FEW, MANY = 40, 300
HEADER, DECODE, LETTERBOX, ENCODE = "header", "decode", "letterbox", f"JSON of {FEW}"
FINISH = {hits: f"NMS and restore of {hits}" for hits in (FEW, MANY)}
ANY = ""
"""The picture of a step to which all pictures are the same."""
BOUNDS = Bounds(max_bytes=1 << 30, max_pixels=1 << 30, max_images=1)
ROUND_S, IN_FLIGHT, TIMEOUT_S = 0.02, 8, 30.0

Step: TypeAlias = Callable[[], object]
Name: TypeAlias = tuple[str, str]


def measure(photos: Mapping[str, bytes], card: Card, quick: bool) -> list[Stage]:
    """The steps in this process, on JPEGs by what each is called, for the model whose card it is."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return _in_turn(dict(_steps(photos, card)), rounds=3 if quick else 15)
    finally:
        cv2.setNumThreads(threads)


def measure_rpc(url: str, card: Card, quick: bool) -> list[Stage]:
    """The asking side of each transport to the Triton at `url`, an image, `IN_FLIGHT` at once."""
    return asyncio.run(_rpc(url, card, rounds=3 if quick else 9, calls=40 if quick else 400))


def rpc_stage(transport: str) -> str:
    return f"inference over {transport}"


def _steps(photos: Mapping[str, bytes], card: Card) -> Iterator[tuple[Name, Step]]:
    canvas = np.empty((card.geometry.height, card.geometry.width, 3), np.uint8)
    for picture, photo in photos.items():
        header = judged(photo, BOUNDS)
        placement = place(header.size_wh, card.geometry)
        decoding = partial(decode_for, window_of(canvas, placement), photo, header)
        yield (HEADER, picture), partial(judged, photo, BOUNDS)
        yield (DECODE, picture), decoding
        yield (LETTERBOX, picture), partial(_lay, canvas, decoding(), placement, card)
    prepared = prepare(next(iter(photos.values())), canvas, Preparing(card.geometry, BOUNDS))
    rule = rule_of(Options(), card)
    for hits, name in FINISH.items():
        yield (name, ANY), partial(_finish, _candidates(hits, card), prepared, rule, card)
    rows = _candidates(FEW, card)
    seen = finish(rows, [prepared], Suppression(needed=False), normalized=False)
    answer = Answer(card, tuple(seen), Timings(1.234, 0.567, 2.345, 0.123, 4.567))
    yield (ENCODE, ANY), partial(_encode, answer)


def _lay(canvas: ImageRGB, image: ImageRGB, placement: Placement, card: Card) -> None:
    pad(canvas, placement, card.geometry.pad_value)
    draw_onto(canvas, image, placement)


def _finish(candidates: Candidates, prepared: Prepared, rule: Suppression, card: Card) -> object:
    return finish(labelled(candidates, card), [prepared], rule, normalized=False)


def _encode(answer: Answer) -> bytes:
    return orjson.dumps(FORMATS["json"](answer, "0123456789abcdef"))


def _candidates(hits: int, card: Card) -> Candidates:
    """A picture's rows, best first: so many above the model's confidence, a third of them to be suppressed."""
    rng = np.random.default_rng(hits)
    rows = np.zeros((1, card.candidates, 6), np.float32)
    rows[..., 5] = -1
    found = rows[0, :hits]
    found[:, :2] = rng.uniform(20, 500, (hits, 2))
    found[:, 2:4] = found[:, :2] + rng.uniform(30, 100, (hits, 2))
    found[:, 5] = rng.integers(0, min(7, len(card.labels)), hits)
    found[2::3] = found[1 : len(found[2::3]) * 3 : 3] + np.array([1, 1, 1, 1, 0, 0], np.float32)
    found[:, 4] = np.linspace(0.95, card.confidence + 0.01, hits)
    return rows


def _in_turn(steps: Mapping[Name, Step], rounds: int) -> list[Stage]:
    repeats = {name: _repeats(step) for name, step in steps.items()}
    found: dict[Name, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            found[name].append(_cpu_us(step, repeats[name]))
    return [Stage(*name, round(statistics.median(each), 2)) for name, each in found.items()]


def _repeats(step: Step) -> int:
    """As many as fill a round; it warms the step up as well."""
    _cpu_us(step, 3)
    return max(1, round(ROUND_S * 1e6 / _cpu_us(step, 3)))


def _cpu_us(step: Step, repeats: int) -> float:
    begun = time.process_time()
    for _ in range(repeats):
        step()
    return 1e6 * (time.process_time() - begun) / repeats


async def _rpc(url: str, card: Card, rounds: int, calls: int) -> list[Stage]:
    canvases = Canvases(IN_FLIGHT, _refuse_not_shared)
    transports = {GRPC: inference_for([url]), SHARED_MEMORY: inference_for([url], canvases)}
    found: dict[str, list[float]] = {name: [] for name in transports}
    try:
        for inference in transports.values():
            await inference.served(card.name)
        for _ in range(rounds + 1):
            for name, inference in transports.items():
                found[name].append(await _call_cpu_us(inference, card, calls))
    finally:
        for inference in transports.values():
            await inference.close()
    return [Stage(rpc_stage(name), ANY, round(statistics.median(warm), 2)) for name, (_, *warm) in found.items()]


def _refuse_not_shared(event: str, facts: Mapping[str, object]) -> None:
    if "not shared" in event:
        raise RuntimeError(f"{event}: {facts}")


async def _call_cpu_us(inference: Inference, card: Card, calls: int) -> float:
    async def keep_asking() -> None:
        for _ in range(calls // IN_FLIGHT):
            with inference.canvas(card, 1) as canvas:
                await inference.infer(Call(card, canvas, TIMEOUT_S))

    begun = time.process_time()
    await asyncio.gather(*(keep_asking() for _ in range(IN_FLIGHT)))
    return 1e6 * (time.process_time() - begun) / (calls // IN_FLIGHT * IN_FLIGHT)
