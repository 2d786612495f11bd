"""PNG's chunks: enough to find the orientation, and to hand a decoder the one still picture and nothing else."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from lookonce.errors import InvalidImage
from lookonce.vision.reading import MOST_PARTS, Data, fields

SIGNATURE = b"\x89PNG\r\n\x1a\n"
STILL = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
MOST_CHUNKS = 200_000
COLOUR_AT = 25
ALPHA = 4


@dataclass(frozen=True, slots=True)
class Chunk:
    """`start` and `end` bound what the chunk holds; its length and name stand before, its checksum behind."""

    name: bytes
    start: int
    end: int


def chunks(data: Data, most: int = MOST_CHUNKS) -> Iterator[Chunk]:
    """Every chunk up to the end of the picture. The last one given may reach out of a file that was cut."""
    place = len(SIGNATURE)
    for _ in range(most):
        length, name = fields(">I4s", data, place)
        yield Chunk(name, place + 8, place + 8 + length)
        if name == b"IEND":
            return
        place += 12 + length
    raise InvalidImage("the PNG is made of too many parts; save it again.")


def before_pixels(data: Data) -> Iterator[Chunk]:
    """The chunks in front of the pixels, which say how they are to be read."""
    return takewhile(lambda chunk: chunk.name not in {b"IDAT", b"IEND"}, chunks(data, MOST_PARTS))


def still(data: Data) -> bytes:
    """The default picture alone: no animation, no colour profile, no text that unpacks without end, no other header."""
    view, found = memoryview(data), [chunk for chunk in chunks(data) if chunk.name in STILL]
    if sum(chunk.name == b"IHDR" for chunk in found) != 1:
        raise InvalidImage("the PNG holds more than one header; save it again.")
    if any(fields(">I", data, chunk.end) != (zlib.crc32(view[chunk.start - 4 : chunk.end]),) for chunk in found):
        raise InvalidImage("the PNG is damaged: a checksum does not fit; send it again.")
    return b"".join([SIGNATURE, *(view[chunk.start - 8 : chunk.end + 4] for chunk in found)])


def is_opaque(data: Data) -> bool:
    """Whether the PNG has neither an alpha channel nor a colour, or grey, that it declares transparent."""
    (colour,) = fields(">B", data, COLOUR_AT)
    return not colour & ALPHA and all(chunk.name != b"tRNS" for chunk in before_pixels(data))


def transparent_grey(data: Data) -> int | None:
    """The grey that a PNG without alpha declares transparent, on the decoder's scale; None where there is none."""
    depth, colour = fields(">BB", data, 24)
    key = next((chunk for chunk in before_pixels(data) if chunk.name == b"tRNS"), None)
    if colour != 0 or key is None:
        return None
    (grey,) = fields(">H", data, key.start)
    return int(grey) if depth == 16 else int(grey) * 255 // (2**depth - 1)
