"""How a picture is laid onto a model's input, and how its boxes find the way back."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

ImageRGB: TypeAlias = NDArray[np.uint8]
Boxes: TypeAlias = NDArray[np.float32]


class Fit(StrEnum):
    """How a picture of any shape meets the model's rectangle."""

    CENTRED = "centred"
    TOP_LEFT = "top-left"
    STRETCH = "stretch"


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a model expects of its input picture."""

    width: int
    height: int
    fit: Fit = Fit.CENTRED
    pad_value: int = 114


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture of `source_wh` lies on the model's input."""

    source_wh: tuple[int, int]
    size_wh: tuple[int, int]
    left: int
    top: int


def place(source_wh: tuple[int, int], geometry: Geometry) -> Placement:
    width, height = source_wh
    if geometry.fit is Fit.STRETCH:
        return Placement(source_wh, (geometry.width, geometry.height), 0, 0)
    ratio = min(geometry.width / width, geometry.height / height)
    if geometry.fit is Fit.TOP_LEFT:
        return Placement(source_wh, (max(1, int(width * ratio)), max(1, int(height * ratio))), 0, 0)
    size_wh = max(1, round(width * ratio)), max(1, round(height * ratio))
    left = round((geometry.width - size_wh[0]) / 2 - 0.1)
    top = round((geometry.height - size_wh[1]) / 2 - 0.1)
    return Placement(source_wh, size_wh, left, top)


def letterbox(image: ImageRGB, geometry: Geometry) -> tuple[ImageRGB, Placement]:
    """The picture on the model's input, [height, width, 3], and where it lies there."""
    placement = place((image.shape[1], image.shape[0]), geometry)
    canvas = np.empty((geometry.height, geometry.width, 3), np.uint8)
    pad(canvas, placement, geometry.pad_value)
    draw_onto(canvas, image, placement)
    return canvas, placement


def draw_onto(canvas: ImageRGB, image: ImageRGB, placement: Placement) -> None:
    """A picture of the placement's source, or a smaller one of the same view; nothing where it lies there already."""
    window = window_of(canvas, placement)
    if np.may_share_memory(image, window):
        return
    if image.shape == window.shape:
        window[:] = image
        return
    cv2.resize(image, placement.size_wh, dst=window, interpolation=cv2.INTER_LINEAR)


def window_of(canvas: ImageRGB, placement: Placement) -> ImageRGB:
    """The part of the canvas on which the picture is drawn."""
    width, height = placement.size_wh
    return canvas[placement.top : placement.top + height, placement.left : placement.left + width]


def pad(canvas: ImageRGB, placement: Placement, value: int) -> None:
    """Paint what the picture leaves free."""
    right, bottom = placement.left + placement.size_wh[0], placement.top + placement.size_wh[1]
    canvas[: placement.top] = value
    canvas[bottom:] = value
    canvas[placement.top : bottom, : placement.left] = value
    canvas[placement.top : bottom, right:] = value


def restore(boxes_xyxy: Boxes, placement: Placement) -> Boxes:
    """Boxes in network-input pixels, back in the source picture's pixels and clipped to it."""
    scale, offset, limit = _way_home(placement)
    boxes: Boxes = boxes_xyxy - offset
    boxes /= scale
    np.maximum(boxes, 0, out=boxes)
    np.minimum(boxes, limit, out=boxes)
    return boxes


@lru_cache(1024)
def _way_home(placement: Placement) -> tuple[Boxes, Boxes, Boxes]:
    width, height = placement.source_wh
    scale = np.array([placement.size_wh[0] / width, placement.size_wh[1] / height] * 2, np.float32)
    offset = np.array([placement.left, placement.top] * 2, np.float32)
    return scale, offset, np.array([width, height] * 2, np.float32)
