"""Files that say one size where they are looked at first and hold another where a decoder might look."""

import struct
import zlib

import numpy as np
from PIL import Image
from tests.vision import pictures

SMALL, LARGE, HUGE = 16, 8000, 20_000
MARKERS = 0x00, 0x01, 0x02, 0xBF, 0xC8, 0xD0, 0xD8, 0xDC, 0xDE, 0xE0, 0xF0, 0xFD, 0xFE


def every_one() -> dict[str, bytes]:
    return jpegs() | pngs() | webps() | bmps() | tiffs()


def jpeg_of(side: int) -> bytes:
    """A frame that says it is `side` by `side` pixels, and the scan of SMALL by SMALL ones."""
    data = bytearray(pictures.saved(Image.new("RGB", (SMALL, SMALL), (90, 90, 90)), "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, side, side)
    return bytes(data)


def hidden_in(marker: int) -> bytes:
    """A small JPEG in front of whose frame a huge one lies inside a segment of `marker`."""
    small, inner = jpeg_of(SMALL), jpeg_of(HUGE)[2:]
    return small[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(inner) + 2) + inner + small[2:]


def jpegs() -> dict[str, bytes]:
    small, huge = jpeg_of(SMALL), jpeg_of(HUGE)
    frame, scan = small.index(b"\xff\xc0"), small.index(b"\xff\xda")
    second = huge[frame : frame + 19]
    return {f"jpeg in {marker:02x}": hidden_in(marker) for marker in MARKERS} | {
        "jpeg of two frames": small[: frame + 19] + second + small[frame + 19 :],
        "jpeg of a frame after the scan": small[:-2] + second + huge[scan:],
        "jpeg of a picture in the scan": small[:-2] + huge[2:],
        "jpeg behind rubbish": small[:2] + b"\0\0" + huge[2:],
        "jpeg with a late height": small[:-2] + b"\xff\xdc\0\4\x4e\x20" + small[-2:],
    }


def pngs() -> dict[str, bytes]:
    signature, huge = b"\x89PNG\r\n\x1a\n", pictures.flat_png(HUGE, HUGE)
    small = pictures.flat_png(SMALL, SMALL)[8:33]
    long = small[8:21] + huge[8:33]
    animation = pictures.png_chunk(b"acTL", struct.pack(">II", 2, 0)) + pictures.png_chunk(
        b"fcTL", struct.pack(">IIIIIHHBB", 0, HUGE, HUGE, 0, 0, 1, 1, 0, 0)
    )
    return {
        "png of two headers": signature + small + huge[8:],
        "png of a header after the pixels": pictures.flat_png(SMALL, SMALL)[:-12] + huge[8:],
        "png of a long header": signature + pictures.png_chunk(b"IHDR", long) + huge[33:],
        "png of a header that breaks": signature + small[:-4] + bytes(4) + huge[8:],
        "png of a large frame": signature + small + animation + pictures.flat_png(SMALL, SMALL)[33:],
    }


def riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def webp_of(*chunks: bytes, flags: int | None = None) -> bytes:
    """`flags`: with a canvas of SMALL by SMALL pixels in front, and these flags."""
    side = struct.pack("<I", SMALL - 1)[:3]
    canvas = b"" if flags is None else riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + side + side)
    body = b"WEBP" + canvas + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animated(side: int, *chunks: bytes) -> bytes:
    end = struct.pack("<I", side - 1)[:3]
    frame = riff_chunk(b"ANMF", bytes(6) + end + end + bytes(4) + b"".join(chunks))
    return riff_chunk(b"ANIM", bytes(6)) + frame


def webps() -> dict[str, bytes]:
    small = pictures.saved(Image.new("RGB", (SMALL, SMALL)), "WEBP")[12:]
    files: dict[str, bytes] = {}
    for lossless in (False, True):
        large = pictures.saved(Image.new("RGB", (LARGE, LARGE)), "WEBP", quality=1, lossless=lossless, method=0)[12:]
        files |= {
            f"webp of a large frame, {lossless=}": webp_of(large, flags=0),
            f"webp of a clear large frame, {lossless=}": webp_of(riff_chunk(b"ALPH", bytes(99)), large, flags=16),
            f"webp of two frames, {lossless=}": webp_of(small, large, flags=0),
            f"webp with more behind, {lossless=}": webp_of(small) + large,
            f"webp that moves, {lossless=}": webp_of(animated(SMALL, large), flags=2),
            f"webp that moves far, {lossless=}": webp_of(animated(LARGE, large), flags=2),
            f"webp that moves twice, {lossless=}": webp_of(animated(SMALL, small, large), flags=2),
            f"webp that moves unsaid, {lossless=}": webp_of(animated(LARGE, large), flags=0),
        }
    return files


def bmps() -> dict[str, bytes]:
    """Every compression, and OS/2's short header where the long one's fields go on."""
    data = pictures.bmp(pictures.photo(SMALL, SMALL), 40)
    short = data[:14] + struct.pack("<IHHHH", 12, SMALL, SMALL, 1, 24) + struct.pack("<ii", HUGE, HUGE) + data[34:]
    return {
        f"bmp of compression {number}": data[:30] + struct.pack("<I", number) + data[34:] for number in range(8)
    } | {
        "bmp of OS/2": short,
        "bmp of a size field that lies": data[:2] + struct.pack("<I", HUGE * HUGE) + data[6:],
        "bmp of pixels that lie": data[:34] + struct.pack("<I", 0xFFFFFFFF) + data[38:],
    }


def tiffs() -> dict[str, bytes]:
    pixels = pictures.photo(SMALL, SMALL)
    tags = pictures.rgb_tags(pixels)
    large = pictures.saved(Image.new("RGB", (LARGE, LARGE)), "JPEG", quality=5)
    packed = np.frombuffer(large, np.uint8).reshape(1, -1)
    as_jpeg = {256: (4, (SMALL,)), 257: (4, (SMALL,)), 259: (3, (7,)), 262: (3, (6,)), 278: (4, (SMALL,))}
    long = np.frombuffer(zlib.compress(bytes(LARGE * LARGE), 1), np.uint8).reshape(1, -1)
    deflated = {256: (4, (SMALL,)), 257: (4, (SMALL,)), 259: (3, (8,)), 278: (4, (SMALL,))}
    tile = {322: (4, (1024,)), 323: (4, (1024,)), 324: (4, (8,)), 325: (4, (pixels.size,))}
    return {
        "tiff of two widths": with_second_entry(256),
        "tiff of two heights": with_second_entry(257),
        "tiff of a width of two": pictures.tiff(pixels, tags | {256: (4, (SMALL, HUGE))}),
        "tiff of pages inside": pictures.tiff(pixels, tags | {330: (4, (8,))}),
        "tiff of a strip that lies": pictures.tiff(pixels, tags | {279: (4, (2**31,))}),
        "tiff of tiles": pictures.tiff(pixels, tags | tile),
        "tiff of a JPEG": pictures.tiff(packed, tags | as_jpeg),
        "tiff of too much": pictures.tiff(long, tags | deflated),
    }


def with_second_entry(tag: int) -> bytes:
    """An uncompressed TIFF whose directory says `tag` once more, and something else."""
    data = pictures.tiff(np.zeros((SMALL, SMALL), np.uint8), pictures.grey_tags(8, 1))
    (count,) = struct.unpack_from("<H", data, 8)
    entries = [data[10 + 12 * number : 22 + 12 * number] for number in range(count)]
    entries = [
        struct.pack("<HHII", 273, 4, 1, 26 + 12 * count) if entry[:2] == b"\x11\1" else entry for entry in entries
    ]
    place = next(number for number, entry in enumerate(entries) if struct.unpack_from("<H", entry) == (tag,))
    entries.insert(place + 1, struct.pack("<HHII", tag, 4, 1, HUGE))
    return data[:8] + struct.pack("<H", count + 1) + b"".join(entries) + bytes(4) + data[14 + 12 * count :]
