"""What a picture says of itself in its first bytes. No decoder is asked, so a bomb stays packed."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from lookonce.errors import InvalidImage, UnsupportedMedia
from lookonce.vision.png import chunks
from lookonce.vision.reading import MOST_PARTS, Data, fields
from lookonce.vision.tiff import EXIF, exif_orientation, read_tiff


class Kind(StrEnum):
    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    BMP = "BMP"
    TIFF = "TIFF"
    GIF = "GIF"


@dataclass(frozen=True, slots=True)
class Header:
    """`width` and `height` as stored; `orientation` is EXIF's, 1 to 8; `many_scans`: a JPEG that comes in passes."""

    kind: Kind
    width: int
    height: int
    orientation: int = 1
    many_scans: bool = False

    @property
    def size_wh(self) -> tuple[int, int]:
        """The size of the picture as it is seen, its orientation applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(data: Data) -> Header:
    """Raises UnsupportedMedia where it is no picture of ours, InvalidImage where it is one that cannot be read."""
    if not len(data):
        raise InvalidImage("the picture is empty; send the file's bytes.")
    start = bytes(data[:64])
    read = next((read for pattern, read in READERS if pattern.match(start)), None)
    if read is None:
        raise UnsupportedMedia(f"the data {likeness(start)}; send one of {', '.join(Kind)}.")
    header = read(data)
    if header.width < 1 or header.height < 1:
        raise InvalidImage(f"the {header.kind} says it is {header.width} by {header.height} pixels; save it again.")
    return header


class Segment(NamedTuple):
    marker: int
    start: int
    end: int


APP1, START_OF_SCAN, END_OF_IMAGE = 0xE1, 0xDA, 0xD9
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS = range(0xC0, 0xC4)
BARE = frozenset({0x01, *range(0xD0, 0xD8)})
FILL = 0xFF


def jpeg(data: Data) -> Header:
    """The frame is the one before the first scan: a thumbnail's stands inside a segment that is stepped over."""
    found = list(segments(data))
    frame = next((segment for segment in found if segment.marker in FRAMES), None)
    if frame is None or found[-1].marker != START_OF_SCAN:
        raise InvalidImage("the JPEG holds no picture; save it again.")
    precision, height, width, components = fields(">BHHB", data, frame.start)
    if frame.marker > LOSSLESS or precision != 8 or components not in {1, 3, 4}:
        raise UnsupportedMedia(
            f"this kind of JPEG is not taken: process {frame.marker - BASELINE}, {precision} bits, "
            f"{components} components; save it as a baseline or progressive JPEG of 8 bits."
        )
    (in_first_scan,) = fields(">B", data, found[-1].start)
    many_scans = frame.marker == PROGRESSIVE or in_first_scan < components
    return Header(Kind.JPEG, width, height, jpeg_orientation(data, found), many_scans)


def segments(data: Data) -> Iterator[Segment]:
    """The JPEG's segments, the first scan's the last of them."""
    place = 2
    for _ in range(MOST_PARTS):
        lead, marker = fields(">BB", data, place)
        if lead != FILL:
            raise InvalidImage("the JPEG is damaged before its pixels; save it again.")
        if marker == FILL or marker in BARE:
            place += 1 if marker == FILL else 2
            continue
        if marker == END_OF_IMAGE:
            return
        (length,) = fields(">H", data, place + 2)
        yield Segment(marker, place + 4, place + 2 + length)
        if marker == START_OF_SCAN:
            return
        place += 2 + max(2, length)
    raise InvalidImage("the JPEG has too many parts before its pixels; save it again.")


def jpeg_orientation(data: Data, found: Iterable[Segment]) -> int:
    blocks = (memoryview(data)[segment.start : segment.end] for segment in found if segment.marker == APP1)
    return next((exif_orientation(block) for block in blocks if bytes(block[: len(EXIF)]) == EXIF), 1)


def png(data: Data) -> Header:
    name, width, height = fields(">12x4sII", data, 0)
    if name != b"IHDR":
        raise InvalidImage("the PNG does not begin with its header; save it again.")
    orientation = 1
    for chunk in chunks(data, MOST_PARTS):
        if chunk.name == b"eXIf":
            orientation = exif_orientation(memoryview(data)[chunk.start : chunk.end])
        if chunk.name in {b"IDAT", b"IEND"}:
            break
    return Header(Kind.PNG, width, height, orientation)


def webp(data: Data) -> Header:
    (form,) = fields("4s", data, 12)
    read = {b"VP8 ": webp_lossy, b"VP8L": webp_lossless, b"VP8X": webp_extended}.get(form)
    if read is None:
        raise InvalidImage("the WebP does not begin with a picture; save it again.")
    return read(data)


def webp_lossy(data: Data) -> Header:
    code, width, height = fields("<3sHH", data, 23)
    if code != b"\x9d\x01\x2a":
        raise InvalidImage("the WebP's frame is damaged; save it again.")
    return Header(Kind.WEBP, width & 0x3FFF, height & 0x3FFF)


def webp_lossless(data: Data) -> Header:
    code, packed = fields("<BI", data, 20)
    if code != 0x2F:
        raise InvalidImage("the WebP's frame is damaged; save it again.")
    return Header(Kind.WEBP, (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)


def webp_extended(data: Data) -> Header:
    width, high_width, height, high_height = fields("<HBHB", data, 24)
    size_wh = (width | high_width << 16) + 1, (height | high_height << 16) + 1
    return Header(Kind.WEBP, *size_wh, webp_orientation(data))


def webp_orientation(data: Data) -> int:
    place, size = 12, len(data)
    for _ in range(MOST_PARTS):
        if place + 8 > size:
            return 1
        name, length = fields("<4sI", data, place)
        if name == b"EXIF":
            return exif_orientation(memoryview(data)[place + 8 : place + 8 + length])
        place += 8 + length + length % 2
    return 1


def bmp(data: Data) -> Header:
    (header_bytes,) = fields("<I", data, 14)
    width, height = fields("<HH" if header_bytes == 12 else "<ii", data, 18)
    return Header(Kind.BMP, width, abs(height))


def tiff(data: Data) -> Header:
    facts = read_tiff(data)
    return Header(Kind.TIFF, facts.width, facts.height, facts.orientation)


def gif(data: Data) -> Header:
    width, height = fields("<HH", data, 6)
    return Header(Kind.GIF, width, height)


READERS: tuple[tuple[re.Pattern[bytes], Callable[[Data], Header]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), webp),
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), bmp),
    (re.compile(rb"II\*\0|MM\0\*"), tiff),
    (re.compile(rb"GIF8[79]a"), gif),
)
LIKENESSES = (
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "looks like AVIF"),
    (re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL), "looks like HEIC"),
    (re.compile(rb"....ftyp", re.DOTALL), "looks like an MP4 video"),
    (re.compile(rb"PK[\x03\x05\x07]"), "looks like a zip archive"),
    (re.compile(rb"%PDF-"), "looks like a PDF"),
    (re.compile(rb"\x1f\x8b"), "looks like gzip"),
    (re.compile(rb"II\+\0|MM\0\+"), "looks like a BigTIFF"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "looks like JPEG XL"),
    (re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP"), "looks like JPEG 2000"),
    (re.compile(rb"8BPS"), "looks like a Photoshop file"),
    (re.compile(rb"\x1aE\xdf\xa3"), "looks like a Matroska or WebM video"),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?<svg", re.IGNORECASE), "looks like SVG"),
    (re.compile(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE), "looks like HTML"),
    (re.compile(rb"(\xef\xbb\xbf)?[\t\n\r -~]+\Z"), "looks like text"),
)


def likeness(start: bytes) -> str:
    return next((words for pattern, words in LIKENESSES if pattern.match(start)), "is no picture that is known here")
