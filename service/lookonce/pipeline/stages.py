"""The work on one picture before the model and after it: pure, and run on a thread."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lookonce.card import Card
from lookonce.errors import BackendContractBroken, ImageTooLarge, ServiceError
from lookonce.inference.port import Candidates
from lookonce.pipeline.request import Picture, Seen, rounded
from lookonce.vision.fitting import decode_for
from lookonce.vision.headers import Header, read_header, refuse_larger
from lookonce.vision.letterbox import Boxes, Geometry, ImageRGB, Placement, draw_onto, pad, place, restore, window_of
from lookonce.vision.nms import Suppression, suppress

FEW_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest request and the largest picture that are looked at.

    `scaled`: large JPEGs are decoded to a size nearer to the model's, and not exactly.
    """

    max_bytes: int
    max_pixels: int
    max_images: int
    scaled: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that lies on the model's input."""

    placement: Placement
    decode_ms: float
    letterbox_ms: float


def judged(picture: Picture, bounds: Bounds) -> Header:
    """The picture's header, before a pixel of it is decoded."""
    if len(picture) > bounds.max_bytes:
        raise ImageTooLarge(
            f"the image has {len(picture)} bytes and at most {bounds.max_bytes} are taken; send a smaller one."
        )
    header = read_header(picture)
    refuse_larger(header, bounds.max_pixels)
    return header


@dataclass(frozen=True, slots=True)
class Preparing:
    """How a request's pictures are prepared."""

    geometry: Geometry
    bounds: Bounds


def prepare(picture: Picture, canvas: ImageRGB, how: Preparing) -> Prepared:
    """Decode the picture and lay it onto `canvas`, [height, width, 3] of the model's input."""
    begun = time.perf_counter()
    header = judged(picture, how.bounds)
    placement = place(header.size_wh, how.geometry)
    image = decode_for(window_of(canvas, placement), picture, header, scaled=how.bounds.scaled)
    decoded = time.perf_counter()
    pad(canvas, placement, how.geometry.pad_value)
    draw_onto(canvas, image, placement)
    laid = time.perf_counter()
    return Prepared(placement, (decoded - begun) * 1e3, (laid - decoded) * 1e3)


def prepared_or_refused(picture: Picture | ServiceError, canvas: ImageRGB, how: Preparing) -> Prepared | ServiceError:
    if isinstance(picture, ServiceError):
        return picture
    try:
        return prepare(picture, canvas, how)
    except ServiceError as error:
        return _alone(error)


def _alone(error: ServiceError) -> ServiceError:
    """Without what led to it, which would hold on to the picture after its refusal."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def labelled(candidates: Candidates, card: Card) -> Candidates:
    """The candidates [..., 6] themselves, once every class among them is known to have a label."""
    if (candidates[..., 5] >= len(card.labels)).any():
        raise BackendContractBroken(
            f"model {card.name} version {card.version} found a class that its card has no label for; import it again."
        )
    return candidates


def is_short(candidates: Candidates, rule: Suppression) -> bool:
    """Whether to finish them takes less than to hand them to a thread."""
    return not rule.soft and int(np.count_nonzero(candidates[..., 4] >= rule.confidence)) <= FEW_ROWS


def finish(candidates: Candidates, prepared: Sequence[Prepared], rule: Suppression, *, normalized: bool) -> list[Seen]:
    """Suppress each picture's candidates and bring the boxes home."""
    pairs = zip(candidates, prepared, strict=True)
    return [_seen(suppress(rows, rule), picture, normalized=normalized) for rows, picture in pairs]


def _seen(kept: Boxes, picture: Prepared, *, normalized: bool) -> Seen:
    size_wh = picture.placement.source_wh
    kept[:, :4] = restore(kept[:, :4], picture.placement)
    if normalized:
        kept[:, :4] /= np.array(size_wh * 2, np.float32)
    return Seen(size_wh, rounded(kept, normalized=normalized).astype(np.float32), normalized)
