"""What a picture says of itself in its first bytes. No decoder is asked, so a bomb stays packed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from lookonce.errors import ImageTooLarge, InvalidImage, UnsupportedMedia
from lookonce.vision.jpeg import read_jpeg
from lookonce.vision.png import before_pixels, is_opaque
from lookonce.vision.reading import MOST_PARTS, Data, fields
from lookonce.vision.tiff import exif_orientation, read_tiff


class Kind(StrEnum):
    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    BMP = "BMP"
    TIFF = "TIFF"
    GIF = "GIF"


# What a decoder, its caller's copy and the turning of it take for a pixel, unless more is known of the picture.
PLAIN_PIXEL_BYTES = 8
# Of an animation, two canvases are kept beside the picture.
MOVING, MOVING_PIXEL_BYTES = 2, 13
# The sides that the decoders, or the formats themselves, end at.
LONGEST_SIDES: Mapping[Kind, int] = {
    Kind.JPEG: 65_500,
    Kind.PNG: 1_000_000,
    Kind.WEBP: 1 << 14,
    Kind.BMP: 1 << 20,
    Kind.TIFF: 1 << 20,
    Kind.GIF: (1 << 16) - 1,
}


@dataclass(frozen=True, slots=True)
class Header:
    """`width` and `height` as stored; `orientation` is EXIF's, 1 to 8; `many_scans`: a JPEG that comes in passes.

    `has_ink`: a JPEG of four colours, which is decoded to those first.
    `pixel_bytes`: the memory that a pixel takes while it is decoded, beside that of the file.
    """

    kind: Kind
    width: int
    height: int
    orientation: int = 1
    many_scans: bool = False
    has_ink: bool = False
    pixel_bytes: int = PLAIN_PIXEL_BYTES

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
    if max(header.size_wh) > LONGEST_SIDES[header.kind]:
        raise ImageTooLarge(
            f"the {header.kind} is {header.width}×{header.height} pixels and no side of one may be longer than "
            f"{LONGEST_SIDES[header.kind]}; send a smaller one."
        )
    return header


def refuse_larger(header: Header, max_pixels: int) -> None:
    """Raises ImageTooLarge where the picture has more pixels, or takes the memory of more plain ones."""
    pixels = header.width * header.height
    if pixels > max_pixels:
        raise ImageTooLarge(
            f"the image has {header.width}×{header.height} pixels and at most {max_pixels} are taken; "
            "send a smaller one."
        )
    if pixels * header.pixel_bytes > max_pixels * PLAIN_PIXEL_BYTES:
        raise ImageTooLarge(
            f"the image has {header.width}×{header.height} pixels of {header.pixel_bytes} bytes while it is decoded, "
            f"and at most {max_pixels * PLAIN_PIXEL_BYTES} bytes are taken; send a smaller or a plainer one."
        )


def jpeg(data: Data) -> Header:
    """Of one in passes all coefficients are kept; CMYK is decoded as such first."""
    facts = read_jpeg(data)
    has_ink = facts.components == 4
    pixel_bytes = 3 + facts.coefficient_bytes + (4 if has_ink else 0)
    return Header(
        Kind.JPEG,
        facts.width,
        facts.height,
        facts.orientation,
        facts.many_scans,
        has_ink,
        max(PLAIN_PIXEL_BYTES, pixel_bytes),
    )


def png(data: Data) -> Header:
    name, width, height, depth = fields(">12x4sIIB", data, 0)
    if name != b"IHDR":
        raise InvalidImage("the PNG does not begin with its header; save it again.")
    found = list(before_pixels(data))
    block = next((chunk for chunk in found if chunk.name == b"eXIf"), None)
    orientation = exif_orientation(memoryview(data)[block.start : block.end]) if block else 1
    pixel_bytes = PLAIN_PIXEL_BYTES if depth < 16 or is_opaque(data) else 2 * PLAIN_PIXEL_BYTES
    return Header(Kind.PNG, width, height, orientation, pixel_bytes=pixel_bytes)


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
    flags, width, high_width, height, high_height = fields("<B3xHBHB", data, 20)
    size_wh = (width | high_width << 16) + 1, (height | high_height << 16) + 1
    pixel_bytes = MOVING_PIXEL_BYTES if flags & MOVING else PLAIN_PIXEL_BYTES
    return Header(Kind.WEBP, *size_wh, webp_orientation(data), pixel_bytes=pixel_bytes)


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
    pixel_bytes = max(PLAIN_PIXEL_BYTES, 2 * facts.channels * facts.bits // 8)
    return Header(Kind.TIFF, facts.width, facts.height, facts.orientation, pixel_bytes=pixel_bytes)


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
