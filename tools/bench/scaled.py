"""What it does to boxes, and to CPU, that a large JPEG is decoded at a part of its size: exact against scaled."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import shelf
import simplejpeg
from numpy.typing import NDArray
from photos import QUALITY, SIZES_WH
from stages import BOUNDS, TIMEOUT_S

from lookonce.card import Card
from lookonce.forge.pictures import draw_picture
from lookonce.inference.embedded import Embedded
from lookonce.inference.port import Call
from lookonce.pipeline.request import Options
from lookonce.pipeline.rule import rule_of
from lookonce.pipeline.stages import Preparing, finish, prepare
from lookonce.vision.boxes import iou_matrix
from lookonce.vision.letterbox import Boxes

LARGE = "1080p", "4K"
FIRST_SEED = 30_000_000
SAME_IOU = 0.5
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """One picture looked at both ways: rows `x1 y1 x2 y2 score class_id` in its own pixels, and CPU until the model."""

    exact: Boxes
    scaled: Boxes
    exact_cpu_ms: float
    scaled_cpu_ms: float


def measure(quick: bool) -> list[Mapping[str, object]]:
    """The sample model on drawn shapes, each size by itself."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return [asyncio.run(_size(name, pictures=2 if quick else 16)) for name in LARGE]
    finally:
        cv2.setNumThreads(threads)


async def _size(name: str, pictures: int) -> Mapping[str, object]:
    model = Embedded(shelf.SAMPLES)
    try:
        card = (await model.served(shelf.SAMPLE)).card()
        return _told(name, [await _pair(model, card, jpeg) for jpeg in _jpegs(SIZES_WH[name], pictures)])
    finally:
        await model.close()


def _jpegs(size_wh: tuple[int, int], pictures: int) -> Iterator[bytes]:
    for seed in range(FIRST_SEED, FIRST_SEED + pictures):
        image = draw_picture(seed, size_wh).image_rgb
        yield simplejpeg.encode_jpeg(image, quality=QUALITY, colorsubsampling="420")


async def _pair(model: Embedded, card: Card, jpeg: bytes) -> Pair:
    both = [Preparing(card.geometry, bounds) for bounds in (BOUNDS, replace(BOUNDS, scaled=True))]
    exact, scaled = [await _looked(model, card, jpeg, how) for how in both]
    rounds = [[_cpu_ms(card, jpeg, how) for how in both] for _ in range(ROUNDS)]
    exact_cpu_ms, scaled_cpu_ms = map(float, np.median(rounds, axis=0))
    return Pair(exact, scaled, exact_cpu_ms, scaled_cpu_ms)


async def _looked(model: Embedded, card: Card, jpeg: bytes, how: Preparing) -> Boxes:
    with model.canvas(card, 1) as canvas:
        prepared = prepare(jpeg, canvas[0], how)
        candidates = await model.infer(Call(card, canvas, TIMEOUT_S))
    (seen,) = finish(candidates, [prepared], rule_of(Options(), card), normalized=False)
    return seen.rows


def _cpu_ms(card: Card, jpeg: bytes, how: Preparing) -> float:
    canvas = np.empty((card.geometry.height, card.geometry.width, 3), np.uint8)
    begun = time.process_time()
    prepare(jpeg, canvas, how)
    return 1e3 * (time.process_time() - begun)


def _told(name: str, pairs: list[Pair]) -> Mapping[str, object]:
    same = [_same(pair) for pair in pairs]
    ious = np.concatenate([overlap for _, overlap in same])
    shifts_px = np.concatenate([shift for shift, _ in same])
    either = sum(len(pair.exact) + len(pair.scaled) for pair in pairs) - len(ious)
    exact_cpu_ms, scaled_cpu_ms = (
        sum(getattr(pair, f"{how}_cpu_ms") for pair in pairs) / len(pairs) for how in ("exact", "scaled")
    )
    return {
        "picture": name,
        "pictures": len(pairs),
        "detections": sum(len(pair.exact) for pair in pairs),
        "matched": len(ious) / max(1, either),
        "mean_shift_px": float(shifts_px.mean()),
        "worst_shift_px": float(shifts_px.max(initial=0)),
        "mean_iou": float(ious.mean()),
        "worst_iou": float(ious.min(initial=1)),
        "exact_cpu_ms": exact_cpu_ms,
        "scaled_cpu_ms": scaled_cpu_ms,
        "cpu_ratio": scaled_cpu_ms / exact_cpu_ms,
    }


def _same(pair: Pair) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of rows of one class that are each other's best: how far the farthest edge moved, and their overlap."""
    overlap = iou_matrix(pair.exact[:, :4], pair.scaled[:, :4])
    overlap[pair.exact[:, None, 5] != pair.scaled[None, :, 5]] = 0
    rows, columns = _best(overlap)
    shifts_px = np.abs(pair.exact[rows, :4] - pair.scaled[columns, :4]).max(axis=1, initial=0)
    return shifts_px, overlap[rows, columns]


def _best(overlap: NDArray[np.float32]) -> tuple[NDArray[np.intp], ...]:
    """Where a number is the largest of its row and of its column, and enough."""
    of_row, of_column = overlap.max(axis=1, initial=0, keepdims=True), overlap.max(axis=0, initial=0)
    return np.nonzero((overlap >= SAME_IOU) & (overlap == of_row) & (overlap == of_column))
