"""A JPEG's segments, walked as libjpeg walks them: what it would read otherwise than we do is refused."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lookonce.errors import InvalidImage, UnsupportedMedia
from lookonce.vision.reading import MOST_PARTS, Data, fields
from lookonce.vision.tiff import EXIF, exif_orientation

FILL = 0xFF
APP1, START_OF_SCAN, END_OF_IMAGE = 0xE1, 0xDA, 0xD9
BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS = range(0xC0, 0xC4)
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
BARE = frozenset({0x01, *range(0xD0, 0xD8)})
# Tables, frames and scans, applications' own, comments. At 0x00 libjpeg takes what we would take for a length as no
# such thing, and reads a frame out of the segment that we step over; it stops at the others.
SEGMENTS = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xDE), *range(0xE0, 0xF0), 0xFE}) - {0xC8}
MARKER_AMONG_PIXELS = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
COEFFICIENT_BYTES = 2


class Segment(NamedTuple):
    marker: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Jpeg:
    """What must be known of a JPEG before its pixels are read; `width` and `height` as stored.

    `many_scans`: it comes in passes, of which a decoder keeps the coefficients, so many bytes of them for a pixel.
    """

    width: int
    height: int
    orientation: int
    components: int
    many_scans: bool
    coefficient_bytes: int


def read_jpeg(data: Data) -> Jpeg:
    """The frame is the one before the first scan: a thumbnail's stands inside a segment that is stepped over."""
    found = list(segments(data))
    frames = [segment for segment in found if segment.marker in FRAMES]
    if len(frames) != 1:
        raise InvalidImage("the JPEG holds no picture, or two in one; save it again.")
    (frame,) = frames
    precision, height, width, components = fields(">BHHB", data, frame.start)
    if frame.marker > LOSSLESS or precision != 8 or components not in {1, 3, 4}:
        raise UnsupportedMedia(
            f"this kind of JPEG is not taken: process {frame.marker - BASELINE}, {precision} bits, "
            f"{components} components; save it as a baseline or progressive JPEG of 8 bits."
        )
    (in_first_scan,) = fields(">B", data, found[-1].start)
    many_scans = frame.marker == PROGRESSIVE or in_first_scan < components
    kept = coefficient_bytes(fields(">" + "xBx" * components, data, frame.start + 6)) if many_scans else 0
    return Jpeg(width, height, orientation_of(data, found), components, many_scans, kept)


def coefficient_bytes(samplings: Sequence[int]) -> int:
    """For a pixel, of components whose `samplings` say how many times across (high half) and down (low half)."""
    sides = [(max(1, sampling >> 4), max(1, sampling & 15)) for sampling in samplings]
    densest = max(across for across, _ in sides) * max(down for _, down in sides)
    return -(-COEFFICIENT_BYTES * sum(across * down for across, down in sides) // densest)


def segments(data: Data) -> Iterator[Segment]:
    """The JPEG's segments, the first scan's the last of them."""
    place = 2
    for _ in range(MOST_PARTS):
        lead, marker = fields(">BB", data, place)
        if lead == FILL and (marker == FILL or marker in BARE):
            place += 1 if marker == FILL else 2
            continue
        if lead == FILL and marker == END_OF_IMAGE:
            raise InvalidImage("the JPEG holds no picture; save it again.")
        if lead != FILL or marker not in SEGMENTS:
            raise InvalidImage("the JPEG is damaged before its pixels; save it again.")
        (length,) = fields(">H", data, place + 2)
        yield Segment(marker, place + 4, place + 2 + length)
        if marker == START_OF_SCAN:
            return
        place += 2 + max(2, length)
    raise InvalidImage("the JPEG has too many parts before its pixels; save it again.")


def orientation_of(data: Data, found: Iterable[Segment]) -> int:
    blocks = (memoryview(data)[segment.start : segment.end] for segment in found if segment.marker == APP1)
    return next((exif_orientation(block) for block in blocks if bytes(block[: len(EXIF)]) == EXIF), 1)


def count_scans(data: Data, most: int) -> int:
    """How many passes libjpeg would make, up to `most`: those before the end, not in what a phone put behind it."""
    *_, first = segments(data)
    scans, place = 1, first.end
    for _ in range(MOST_PARTS):
        found = MARKER_AMONG_PIXELS.search(data, place)
        if scans >= most or found is None or data[found.start() + 1] == END_OF_IMAGE:
            return scans
        marker, place = data[found.start() + 1], found.end()
        scans += marker == START_OF_SCAN
        if marker in SEGMENTS and place + 2 <= len(data):
            place += max(2, *fields(">H", data, place))
    raise InvalidImage("the JPEG has too many parts among its pixels; save it again.")
