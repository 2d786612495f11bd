"""The first frame of a GIF, and no more work than that."""

import struct
import time

import numpy as np
import pytest
from PIL import Image
from tests.vision import pictures
from tests.vision.pictures import INDICES, PALETTE, seen

from lookonce.errors import ImageTooLarge, InvalidImage
from lookonce.vision.headers import read_header
from lookonce.vision.images import decode

PATIENCE_S = 20.0


def test_a_gif_shows_its_palette_colours() -> None:
    data = pictures.gif((31, 20), PALETTE, pictures.gif_frame(INDICES))
    assert pictures.furthest(seen(data), PALETTE[INDICES]) == 0
    assert pictures.furthest(seen(data), pictures.as_pillow_sees(data)) == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_gif_of_any_depth_is_unpacked_as_pillow_does(seed: int) -> None:
    """Noise fills the table of codes, smooth pictures use codes that are only being made."""
    colours = 2 ** (seed + 2)
    noise = np.random.default_rng(seed).integers(0, colours, (150, 200), dtype=np.uint8)
    smooth = Image.fromarray(pictures.photo(200, 150, seed)).quantize(colours)
    for image in (Image.fromarray(noise).convert("P"), smooth, Image.new("P", (700, 500))):
        data = pictures.saved(image, "GIF", interlace=seed % 2)
        assert pictures.furthest(seen(data), pictures.as_pillow_sees(data)) == 0


def test_a_gif_whose_table_of_codes_stays_full_is_unpacked() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 90), dtype=np.uint8)
    frame = pictures.gif_frame(noise)[:10] + pictures.packed_without_forgetting(noise.tobytes())
    data = pictures.gif((90, 100), PALETTE, frame)
    assert pictures.furthest(pictures.as_pillow_sees(data), PALETTE[noise]) == 0
    assert pictures.furthest(seen(data), PALETTE[noise]) == 0


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 9, 20])
def test_an_interlaced_gif_is_put_in_order(height: int) -> None:
    data = pictures.gif((31, height), PALETTE, pictures.gif_frame(INDICES[:height], interlaced=True))
    assert pictures.furthest(seen(data), PALETTE[INDICES[:height]]) == 0


def test_a_frame_smaller_than_its_canvas_lies_on_white() -> None:
    own = PALETTE[::-1].copy()
    data = pictures.gif((50, 40), PALETTE, pictures.gif_frame(INDICES, (7, 9), palette=own, transparent=200))
    wanted = np.full((40, 50, 3), 255, np.uint8)
    wanted[9:29, 7:38] = np.where((INDICES == 200)[..., None], 255, own[INDICES])
    assert pictures.furthest(seen(data), wanted) == 0


def test_of_a_gif_of_ten_thousand_frames_only_the_first_is_unpacked() -> None:
    frame = pictures.gif_frame(INDICES)
    late = pictures.gif_frame(INDICES)[:-60] + bytes(60)
    data = pictures.gif((31, 20), PALETTE, frame, *[frame] * 10_000, late)
    start = time.monotonic()
    for _ in range(20):
        assert pictures.furthest(seen(data), PALETTE[INDICES]) == 0
    assert time.monotonic() - start < PATIENCE_S


def hostile_frame(width: int, height: int, packed: bytes) -> bytes:
    return b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + pictures.blocks(packed, bits=2)


FORGETTING = b"\x24\x49\x92"
FORGETTING_FRAME = hostile_frame(31, 20, FORGETTING * 4_000_000)


@pytest.mark.parametrize(
    ("size_wh", "frame", "words"),
    [
        ((31, 20), FORGETTING_FRAME, "damaged"),
        ((8000, 7000), hostile_frame(8000, 7000, FORGETTING * 4_000_000), "more than 4194304 codes"),
        ((31, 20), b"\x21\xfe\0" * 4_000_000 + pictures.gif_frame(INDICES), "too many parts"),
        ((31, 20), b"\x21\xfe" + b"\1x" * 4_000_000 + b"\0" + pictures.gif_frame(INDICES), "too many parts"),
        (
            (8000, 7000),
            FORGETTING_FRAME[:1] + bytes(4) + b"\x40\x1f\x58\x1b\0\2" + b"\1x" * 4_000_000,
            "too many parts",
        ),
    ],
    ids=["forgetting", "forgetting at large", "empty extensions", "a long extension", "blocks of a byte"],
)
def test_a_gif_that_keeps_a_decoder_busy_is_refused_at_once(size_wh: tuple[int, int], frame: bytes, words: str) -> None:
    """Ten times, so that seconds for one of them would be noticed."""
    data = pictures.gif(size_wh, PALETTE, frame)
    start = time.monotonic()
    for _ in range(10):
        with pytest.raises((InvalidImage, ImageTooLarge), match=words):
            decode(data, read_header(data))
    assert time.monotonic() - start < PATIENCE_S


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pictures.gif((31, 20), PALETTE), "no frame"),
        (pictures.gif((31, 20), None, pictures.gif_frame(INDICES)), "no colours"),
        (pictures.gif((30, 20), PALETTE, pictures.gif_frame(INDICES)), "canvas"),
        (pictures.gif((31, 20), PALETTE, pictures.gif_frame(INDICES, (0, 1))), "canvas"),
        (pictures.gif((31, 20), PALETTE, pictures.gif_frame(INDICES)[:10] + b"\x0c\0"), "damaged"),
    ],
)
def test_a_gif_without_a_first_frame_that_fits_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidImage, match=words):
        seen(data)
