"""Pixels on white, a band of rows at a time, so that a large picture is never held in several copies."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[Any]
BAND_PX = 1 << 18


def bands(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture, as slices of about BAND_PX pixels each."""
    rows = max(1, BAND_PX // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def on_white(pixels: Pixels, *, premultiplied: bool = False) -> Pixels:
    """Grey, BGR or BGRA of 8 or 16 bits as RGB of 8. White is what a browser's page shows behind a picture."""
    height, width = pixels.shape[:2]
    image = np.empty((height, width, 3), np.uint8)
    for band in bands(height, width):
        image[band] = band_on_white(pixels[band], premultiplied=premultiplied)
    return image


def band_on_white(pixels: Pixels, *, premultiplied: bool) -> Pixels:
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    colour = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB)
    alpha = cv2.cvtColor(cv2.extractChannel(pixels, 3), cv2.COLOR_GRAY2RGB)
    weighted = colour if premultiplied else cv2.multiply(colour, alpha, scale=1 / 255)
    return cv2.add(weighted, cv2.bitwise_not(alpha))
