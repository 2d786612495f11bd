"""Decoding on the way to where a picture is drawn: straight into it, which saves 5% of a request, or smaller."""

from typing import Final

import numpy as np

from lookonce.vision.headers import Header, Kind
from lookonce.vision.images import another_size, decode, jpeg_to_rgb, upright
from lookonce.vision.letterbox import ImageRGB
from lookonce.vision.reading import Data

EIGHTHS: Final = (1, 2, 4)
"""The sizes that libjpeg decodes to sooner than to the whole one; for those above half of it, it takes longer."""


def decode_for(window: ImageRGB, data: Data, header: Header, *, scaled: bool = False) -> ImageRGB:
    """The picture as `decode` gives it, or lying in `window`, [h,w,3], where it is a JPEG of just that size.

    `scaled`: a JPEG that is twice as large as the window or more may be smaller than it says, but no smaller than that.
    """
    if header.kind is not Kind.JPEG:
        return decode(data, header)
    size_wh = smaller_wh(header, window) if scaled else (header.width, header.height)
    room = room_for(size_wh, window)
    pixels = jpeg_to_rgb(data, header, room)
    if pixels.shape not in {room.shape, (header.height, header.width, 3)}:
        raise another_size(Kind.JPEG)
    return upright(pixels, header.orientation)


def smaller_wh(header: Header, window: ImageRGB) -> tuple[int, int]:
    """The least size, as stored, that still fills the window; its own where that is none of libjpeg's."""
    stored_wh = header.width, header.height
    height, width = window.shape[:2]
    least_wh = (height, width) if header.orientation >= 5 else (width, height)
    for eighths in EIGHTHS:
        if all(side * eighths >= least * 8 for side, least in zip(stored_wh, least_wh, strict=True)):
            return -(-header.width * eighths // 8), -(-header.height * eighths // 8)
    return stored_wh


def room_for(size_wh: tuple[int, int], window: ImageRGB) -> ImageRGB:
    shape = size_wh[1], size_wh[0], 3
    fits = window.shape == shape and window.flags.c_contiguous
    return window if fits else np.empty(shape, np.uint8)
