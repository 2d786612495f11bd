"""A GIF's first frame, unpacked here: a decoder that clears its table at 5 µs a code can be kept busy for minutes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookonce.errors import ImageTooLarge, InvalidImage
from lookonce.vision.blending import bands
from lookonce.vision.letterbox import ImageRGB
from lookonce.vision.reading import Data, fields

Palette: TypeAlias = NDArray[np.uint8]
EXTENSION, FRAME, GRAPHIC_CONTROL = 0x21, 0x2C, 0xF9
PALETTE_FOLLOWS, INTERLACED = 0x80, 0x40
PASSES = (0, 8), (4, 8), (2, 4), (1, 2)
MOST_CODES = 1 << 12
# Beside its own code of 12 bits, a pixel may have one that clears the table.
MOST_BYTES_A_PIXEL = 3
# So that a frame is unpacked in about two seconds at the worst, and walked to in a few milliseconds.
MOST_CODES_A_FRAME, MOST_BLOCKS = 1 << 22, 1 << 17
WHITE = 255


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the first frame lies on the canvas, and its packed pixels in the file.

    `palette` [256,3] has the transparent colour as white.
    """

    left: int
    top: int
    width: int
    height: int
    interlaced: bool
    palette: Palette
    pixels_at: int


def first_frame(data: Data) -> ImageRGB:
    """The canvas [H,W,3] after the first frame, white where the frame leaves it empty, as a browser's page is."""
    width, height = fields("<HH", data, 6)
    frame = find_frame(data)
    if frame.left + frame.width > width or frame.top + frame.height > height:
        raise InvalidImage("the GIF's first frame does not lie on its canvas; save it again.")
    indices = frame_indices(data, frame)
    window = np.s_[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    canvas = np.full((height, width, 3), WHITE, np.uint8)
    for band in bands(*indices.shape):
        canvas[window][band] = frame.palette[indices[band]]
    return canvas


def find_frame(data: Data) -> Frame:
    (flags,) = fields("<B", data, 10)
    palette, place = read_palette(data, flags, 13)
    transparent, steps = None, iter(range(MOST_BLOCKS))
    while (mark := fields("<B", data, place)[0]) == EXTENSION:
        (label,) = fields("<B", data, place + 1)
        if label == GRAPHIC_CONTROL:
            packed, _delay, index = fields("<BHB", data, place + 3)
            transparent = index if packed & 1 else None
        for block in blocks(data, place + 2, steps):
            place = block.stop
    if mark != FRAME:
        raise InvalidImage("the GIF holds no frame; save it again.")
    left, top, width, height, flags = fields("<HHHHB", data, place + 1)
    local, place = read_palette(data, flags, place + 10)
    colours = local if len(local) else palette
    if not len(colours):
        raise InvalidImage("the GIF's first frame has no colours; save it again.")
    full = np.zeros((256, 3), np.uint8)
    full[: len(colours)] = colours
    if transparent is not None:
        full[transparent] = WHITE
    return Frame(left, top, width, height, bool(flags & INTERLACED), full, place)


def read_palette(data: Data, flags: int, place: int) -> tuple[Palette, int]:
    """The palette [N,3] that `flags` announces at `place`, empty where they announce none, and where it ends."""
    size = 3 * (2 << (flags & 7)) if flags & PALETTE_FOLLOWS else 0
    (raw,) = fields(f"{size}s", data, place)
    return np.frombuffer(raw, np.uint8).reshape(-1, 3), place + size


def blocks(data: Data, place: int, steps: Iterator[int]) -> Iterator[slice]:
    """Where each block of the chain at `place` lies, one of the `steps` taken for it; the last one is empty."""
    for _ in steps:
        (length,) = fields("<B", data, place)
        place += 1 + length
        yield slice(place - length, place)
        if not length:
            return
    raise InvalidImage("the GIF is made of too many parts; save it again.")


def packed_pixels(data: Data, place: int, most: int) -> bytearray:
    """What the chain of blocks at `place` holds, or its beginning of `most` bytes or a few more."""
    view, packed = memoryview(data), bytearray()
    for block in blocks(data, place, iter(range(MOST_BLOCKS))):
        packed += view[block]
        if len(packed) >= most:
            break
    return packed


def frame_indices(data: Data, frame: Frame) -> NDArray[np.uint8]:
    """Palette indices [H,W] of the frame."""
    (bits,) = fields("<B", data, frame.pixels_at)
    if not 1 <= bits <= 8:
        raise InvalidImage("the GIF's pixels are damaged; save it again.")
    wanted = frame.width * frame.height
    packed = packed_pixels(data, frame.pixels_at + 1, wanted * MOST_BYTES_A_PIXEL + MOST_CODES)
    if len(packed) * 8 > MOST_CODES_A_FRAME * (bits + 1):
        raise ImageTooLarge(
            f"the GIF's first frame is packed in {len(packed)} bytes, which may hold more than {MOST_CODES_A_FRAME} "
            "codes; save it as a PNG."
        )
    flat = np.frombuffer(unpack(packed, bits, wanted), np.uint8)
    if len(flat) < wanted:
        raise InvalidImage("the GIF's pixels are cut short or damaged; send the whole file.")
    rows = flat[:wanted].reshape(frame.height, frame.width)
    if not frame.interlaced:
        return rows
    order = [row for first, step in PASSES for row in range(first, frame.height, step)]
    indices = np.empty_like(rows)
    indices[order] = rows
    return indices


def unpack(packed: bytes | bytearray, bits: int, most: int) -> bytearray:
    """LZW, until `most` bytes are there or the codes make no sense.

    A code of the table is the run that an earlier code wrote and the pixel behind it, so the output is the table:
    `bounds` says where each code since the last clearing began to write, and where the next one will.
    """
    clear, end, first = 1 << bits, (1 << bits) + 1, (1 << bits) + 2
    pixels, bounds, here = bytearray(), [0], 0
    held = held_bits = 0
    width, codes = bits + 1, 2 << bits
    for byte in packed:
        held |= byte << held_bits
        held_bits += 8
        while held_bits >= width:
            code = held % codes
            held >>= width
            held_bits -= width
            if code == clear:
                bounds, width, codes = [here], bits + 1, 2 << bits
                continue
            if code == end or code - end >= len(bounds):
                return pixels
            if code < clear:
                pixels.append(code)
            else:
                start, stop = bounds[code - first], bounds[code - end] + 1
                pixels += pixels[start:stop]
                if stop > here:
                    pixels.append(pixels[start])
            here = len(pixels)
            if here >= most:
                return pixels
            if len(bounds) + end <= MOST_CODES:
                bounds.append(here)
            if len(bounds) + end > codes and codes < MOST_CODES:
                width, codes = width + 1, codes * 2
    return pixels
