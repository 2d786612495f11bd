"""Real files for the tests: made by Pillow where it can, byte by byte where it cannot."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lookonce.errors import ServiceError
from lookonce.vision.headers import read_header
from lookonce.vision.images import decode
from lookonce.vision.letterbox import ImageRGB

Array = NDArray[Any]
ORIENTED = "JPEG", "PNG", "WEBP", "TIFF"
# What EXIF says of orientations 1 to 8: at which side of the seen picture the stored row 0 and column 0 lie.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def photo(width: int, height: int, seed: int = 0) -> Array:
    """A smooth colourful picture [H,W,3], in which no two corners are alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def saved(picture: Image.Image | Array, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, form, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def as_pillow_sees(data: bytes) -> Array:
    return np.asarray(opened(data).convert("RGB"))


def white_behind(rgba: Array) -> Array:
    """RGBA [H,W,4] over white, in floats, rounded once."""
    colour, share = rgba[..., :3].astype(float), rgba[..., 3:].astype(float) / 255
    return np.rint(colour * share + 255 * (1 - share)).astype(np.uint8)


def furthest(first: Array, second: Array) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[274] = orientation
    return tags


def turned(pixels: Array, orientation: int) -> Array:
    """The seen picture, one pixel at a time, from where EXIF says that row 0 and column 0 lie."""
    height, width = pixels.shape[:2]
    sides = SIDES[orientation]
    seen = np.zeros((width, height, 3) if sides[0] in {"left", "right"} else pixels.shape, np.uint8)
    for row in range(height):
        for column in range(width):
            place = {}
            for side, index, length in ((sides[0], row, height), (sides[1], column, width)):
                axis = "x" if side in {"left", "right"} else "y"
                place[axis] = index if side in {"left", "top"} else length - 1 - index
            seen[place["y"], place["x"]] = pixels[row, column]
    return seen


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def flat_png(width: int, height: int) -> bytes:
    """A black 8-bit grey picture, whose pixels never lie in memory as a whole: one packed row is repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    row = packer.compress(bytes(1 + width)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">I", (1 + width) * height % 65521 << 16 | 1)
    pixels = b"\x78\xda" + row * height + packer.flush() + checksum
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def deep_png(width: int, height: int, colour: int) -> bytes:
    """One flat colour of 16 bits a channel; `colour` 2: RGB; 4: grey and alpha; 6: RGB and alpha."""
    rows = zlib.compress((b"\0" + b"\x80\x10" * ({2: 3, 4: 2, 6: 4}[colour] * width)) * height, 1)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


Tag = tuple[int, tuple[int, ...]]


def tiff(pixels: Array, tags: Mapping[int, Tag], order: str = "<", *, directory_last: bool = False) -> bytes:
    """An uncompressed TIFF of one strip; `tags` (type, values) add to those that say its size and place, or replace."""
    strip = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    height, width = pixels.shape[:2]
    start = 8 + len(strip) if directory_last else 8
    count = len({256, 257, 259, 273, 278, 279} | tags.keys())
    strip_at = 8 if directory_last else start + 2 + 12 * count + 4
    words_at = start + 2 + 12 * count + 4 + (0 if directory_last else len(strip))
    own = {256: (4, (width,)), 257: (4, (height,)), 259: (3, (1,)), 273: (4, (strip_at,)), 278: (4, (height,))}
    entries, words = b"", b""
    for tag, (kind, values) in sorted((own | {279: (4, (len(strip),))} | dict(tags)).items()):
        packed = struct.pack(f"{order}{len(values)}{'..BsHI'[kind + 1]}", *values)
        if len(packed) > 4:
            packed, words = struct.pack(order + "I", words_at + len(words)), words + packed
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    directory = struct.pack(order + "H", count) + entries + bytes(4)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + (strip + directory + words if directory_last else directory + strip + words)


def deflated_tiff(pixels: Array) -> bytes:
    """RGB, or RGBA with alpha, packed as one strip."""
    height, width, channels = pixels.shape
    strip = np.frombuffer(zlib.compress(pixels.tobytes(), 1), np.uint8)[None]
    size = {256: (4, (width,)), 257: (4, (height,)), 278: (4, (height,)), 259: (3, (8,)), 279: (4, (strip.size,))}
    return tiff(strip, (rgb_tags(pixels, extra=2) if channels == 4 else rgb_tags(pixels)) | size)


def rgb_tags(pixels: Array, **more: int) -> dict[int, Tag]:
    """The tags of an RGB or, with `extra` saying what its fourth channel is, an RGBA TIFF."""
    channels, bits = pixels.shape[2], pixels.dtype.itemsize * 8
    tags = {258: (3, (bits,) * channels), 262: (3, (2,)), 277: (3, (channels,)), 284: (3, (1,))}
    return tags | ({338: (3, (more["extra"],))} if "extra" in more else {})


def grey_tags(bits: int, black: int) -> dict[int, Tag]:
    """`black` 1: zero is black; 0: zero is white; 3: the numbers are a palette's."""
    return {258: (3, (bits,)), 262: (3, (black,)), 277: (3, (1,))}


def bmp(pixels: Array, header_bytes: int, masks: tuple[int, ...] = (), *, from_top: bool = False) -> bytes:
    """`pixels` [H,W,C] as they shall lie in the file: BGR, or 32 bits that `masks` take apart."""
    height, width, channels = pixels.shape
    rows = [row.tobytes().ljust(-(-width * channels // 4) * 4, b"\0") for row in pixels]
    body = b"".join(rows if from_top else reversed(rows))
    signed = -height if from_top else height
    if header_bytes == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, channels * 8)
    else:
        compression = 3 if masks else 0
        head = struct.pack("<IiiHHIIiiII", header_bytes, width, signed, 1, channels * 8, compression, *[0] * 5)
        head = (head + struct.pack(f"<{len(masks)}I", *masks)).ljust(header_bytes, b"\0")
    at = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", at + len(body), 0, 0, at) + head + body


def gif_frame(
    indices: Array,
    left_top: tuple[int, int] = (0, 0),
    *,
    palette: Array | None = None,
    transparent: int | None = None,
    interlaced: bool = False,
) -> bytes:
    """One frame, with a `palette` [2**n,3] of its own or the file's."""
    height, width = indices.shape
    control = b"" if transparent is None else b"\x21\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    flags = (0x40 if interlaced else 0) | (0 if palette is None else 0x80 | colour_bits(palette) - 1)
    order = list(range(height))
    if interlaced:
        order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
    head = b"\x2c" + struct.pack("<HHHHB", *left_top, width, height, flags)
    return control + head + (b"" if palette is None else palette.tobytes()) + packed_plainly(indices[order].tobytes())


def packed_plainly(pixels: bytes) -> bytes:
    """LZW of nine bits a code that never learns, for it forgets all after every hundred pixels."""
    codes = [code for start in range(0, len(pixels), 100) for code in (256, *pixels[start : start + 100])] + [257]
    number = sum(code << (9 * place) for place, code in enumerate(codes))
    return blocks(number.to_bytes(-(-9 * len(codes) // 8), "little"))


def packed_without_forgetting(pixels: bytes) -> bytes:
    """LZW that says every pixel by itself and goes on so when the table of codes is full."""
    number, place = 256, 9
    for count, code in enumerate([*pixels, 257]):
        number |= code << place
        place += min(12, max(9, (count + 257).bit_length()))
    return blocks(number.to_bytes(-(-place // 8), "little"))


def blocks(packed: bytes, bits: int = 8) -> bytes:
    parts = [packed[start : start + 255] for start in range(0, len(packed), 255)]
    return bytes([bits]) + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def gif(size_wh: tuple[int, int], palette: Array | None, *frames: bytes) -> bytes:
    flags = 0 if palette is None else 0x80 | colour_bits(palette) - 1
    head = b"GIF89a" + struct.pack("<HHBBB", *size_wh, flags, 0, 0)
    return head + (b"" if palette is None else palette.tobytes()) + b"".join(frames) + b"\x3b"


def colour_bits(palette: Array) -> int:
    return (len(palette) - 1).bit_length()


def jpeg_parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments before the first scan, marker and bytes, and then that scan with everything behind it."""
    place = 2
    while data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        yield data[place + 1], data[place:end]
        place = end
    yield 0xDA, data[place:]


def outcome(call: Callable[..., object], *arguments: object) -> object:
    """What comes back, or which of our errors does; any other error goes through."""
    try:
        return call(*arguments)
    except ServiceError as refusal:
        return refusal


def every_kind() -> dict[str, bytes]:
    """One ordinary file of each format and of each way of packing it that its own code serves."""
    colour = photo(23, 17)
    flat = Image.fromarray(colour)
    clear = Image.fromarray(np.dstack([colour, photo(23, 17, 1)[..., 0]]))
    return {
        "jpeg": saved(flat, "JPEG", exif=exif(6)),
        "progressive jpeg": saved(flat, "JPEG", progressive=True),
        "cmyk jpeg": saved(flat.convert("CMYK"), "JPEG"),
        "png": saved(flat, "PNG", exif=exif(3)),
        "palette png": saved(flat.convert("P"), "PNG", transparency=3),
        "animated png": saved(flat, "PNG", save_all=True, append_images=[flat.rotate(180)]),
        "webp": saved(flat, "WEBP"),
        "clear webp": saved(clear, "WEBP", lossless=True, exif=exif(8)),
        "animated webp": saved(flat, "WEBP", save_all=True, append_images=[flat.rotate(180)]),
        "bmp": saved(flat, "BMP"),
        "palette bmp": saved(flat.convert("P"), "BMP"),
        "tiff": saved(flat, "TIFF"),
        "clear tiff": saved(clear, "TIFF", compression="tiff_lzw"),
        "deflated tiff": saved(flat, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg tiff": saved(flat, "TIFF", compression="jpeg"),
        "fax tiff": saved(flat.convert("1"), "TIFF", compression="group4"),
        "gif": saved(flat, "GIF"),
        "animated gif": saved(flat, "GIF", save_all=True, append_images=[flat.rotate(180)]),
    }


COLOUR = photo(31, 20)
CLEAR = np.dstack([COLOUR, np.linspace(0, 255, 31).round().astype(np.uint8)[None].repeat(20, 0)])
SIXTEEN = COLOUR.astype(np.uint16) * 257
PALETTE = np.random.default_rng(7).integers(0, 256, (256, 3), dtype=np.uint8)
INDICES = COLOUR[..., 0]


def seen(data: bytes) -> ImageRGB:
    image = decode(data, read_header(data))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.shape == (*reversed(read_header(data).size_wh), 3)
    return image
