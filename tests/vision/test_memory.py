"""What a picture may cost: no decoder makes room for a size that was not judged, and none takes more than was said."""

import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.vision import hostile, pictures

from lookonce.errors import ImageTooLarge
from lookonce.vision.headers import PLAIN_PIXEL_BYTES, Header, Kind, read_header, refuse_larger

SIDE = 2000
SLACK_BYTES = 12 << 20


def peaks(files: Mapping[str, bytes], folder: Path) -> dict[str, tuple[int, str]]:
    """For each file, what decoding it takes in bytes, and what comes of it."""
    paths = [folder / str(number) for number in range(len(files))]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    command = [sys.executable, Path(__file__).with_name("peaks.py"), *paths]
    quiet = os.environ | {"OPENCV_LOG_LEVEL": "SILENT"}
    lines = subprocess.run(command, env=quiet, check=True, capture_output=True, text=True, timeout=120).stdout
    pairs = [line.split(" ", 1) for line in lines.splitlines()]
    return {name: (int(number), words) for name, (number, words) in zip(files, pairs, strict=True)}


def test_no_file_makes_a_decoder_take_room_for_a_size_that_was_not_judged(tmp_path: Path) -> None:
    """Each says 16 by 16 pixels, and holds 20,000 by 20,000 or 8,000 by 8,000 in some corner."""
    files = hostile.every_one()
    for name, (taken_bytes, outcome) in peaks(files, tmp_path).items():
        assert taken_bytes < SLACK_BYTES, f"{name} took {taken_bytes} bytes: {outcome}"


def large_files() -> dict[str, bytes]:
    """Of each kind and depth, what is largest in memory."""
    plain = Image.new("RGB", (SIDE, SIDE), (90, 120, 150))
    clear = Image.new("RGBA", (SIDE, SIDE), (90, 120, 150, 99))
    sixteen = np.full((SIDE, SIDE, 4), 9000, np.uint16)
    return {
        "jpeg": pictures.saved(plain, "JPEG", exif=pictures.exif(7)),
        "padded jpeg": pictures.saved(plain, "JPEG")[:-2] + b"\0\0\xff\xd9",
        "progressive jpeg": pictures.saved(plain, "JPEG", progressive=True, subsampling=0),
        "cmyk jpeg": pictures.saved(plain.convert("CMYK"), "JPEG", progressive=True, subsampling=0),
        "png": pictures.saved(plain, "PNG"),
        "clear png": pictures.saved(clear, "PNG"),
        "deep png": pictures.deep_png(SIDE, SIDE, colour=2),
        "deep clear png": pictures.deep_png(SIDE, SIDE, colour=6),
        "deep clear grey png": pictures.deep_png(SIDE, SIDE, colour=4),
        "webp": pictures.saved(clear, "WEBP", lossless=True),
        "animated webp": pictures.saved(clear, "WEBP", save_all=True, append_images=[plain.convert("RGBA")]),
        "bmp": pictures.bmp(np.asarray(clear), 124, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
        "tiff": pictures.deflated_tiff(sixteen[..., :3].astype(np.uint8)),
        "clear tiff": pictures.deflated_tiff(sixteen.astype(np.uint8)),
        "deep tiff": pictures.deflated_tiff(sixteen[..., :3]),
        "deep clear tiff": pictures.deflated_tiff(sixteen),
        "gif": pictures.saved(Image.new("P", (SIDE, SIDE)), "GIF", interlace=1, transparency=0),
    }


def test_decoding_takes_no_more_memory_than_the_header_promises(tmp_path: Path) -> None:
    files = large_files()
    for name, (taken_bytes, outcome) in peaks(files, tmp_path).items():
        promised_bytes = read_header(files[name]).pixel_bytes * SIDE * SIDE + 2 * len(files[name])
        assert outcome == "decoded", f"{name}: {outcome}"
        assert taken_bytes < promised_bytes + SLACK_BYTES, name


def test_what_hides_in_a_gif_takes_no_memory(tmp_path: Path) -> None:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 31, 20, 0) + b"\2"
    bytewise = pictures.gif((31, 20), pictures.PALETTE, frame + b"\1\x24\1\x49\1\x92" * 1_500_000 + b"\0")
    ((taken_bytes, outcome),) = peaks({"gif": bytewise}, tmp_path).values()
    assert taken_bytes < SLACK_BYTES
    assert "damaged" in outcome


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (Header(Kind.PNG, 1000, 1000), None),
        (Header(Kind.PNG, 1001, 1000), r"1001×1000 pixels and at most 1000000 are taken"),
        (Header(Kind.PNG, 1000, 500, pixel_bytes=2 * PLAIN_PIXEL_BYTES), None),
        (Header(Kind.PNG, 1000, 501, pixel_bytes=2 * PLAIN_PIXEL_BYTES), "16 bytes while it is decoded"),
    ],
)
def test_a_picture_is_judged_by_its_pixels_and_by_their_memory(header: Header, words: str | None) -> None:
    if words is None:
        refuse_larger(header, 1_000_000)
        return
    with pytest.raises(ImageTooLarge, match=words):
        refuse_larger(header, 1_000_000)
