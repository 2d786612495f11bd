"""Every kind of TIFF that is taken, in both byte orders."""

import numpy as np
import pytest
from PIL import Image
from tests.vision import pictures
from tests.vision.pictures import CLEAR, COLOUR, INDICES, PALETTE, SIXTEEN, seen


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [COLOUR, CLEAR, SIXTEEN], ids=["8", "8 clear", "16"])
def test_each_orientation_of_each_kind_of_tiff_is_turned_once(order: str, orientation: int, pixels: np.ndarray) -> None:
    tags = pictures.rgb_tags(pixels, extra=2) if pixels.shape[2] == 4 else pictures.rgb_tags(pixels)
    data = pictures.tiff(pixels, tags | {274: (3, (orientation,))}, order)
    stored = pictures.white_behind(pixels) if pixels.shape[2] == 4 else COLOUR
    assert pictures.furthest(seen(data), pictures.turned(stored, orientation)) <= 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("black", [0, 1])
def test_a_grey_tiff_is_right_way_round(order: str, black: int) -> None:
    grey = COLOUR[..., 0]
    wanted = (grey if black else 255 - grey)[..., None].repeat(3, 2)
    for pixels, bits in ((grey, 8), (SIXTEEN[..., 0], 16)):
        assert pictures.furthest(seen(pictures.tiff(pixels, pictures.grey_tags(bits, black), order)), wanted) <= 1


@pytest.mark.parametrize("black", [0, 1])
def test_a_tiff_of_one_bit_is_black_and_white(black: int) -> None:
    lit = COLOUR[..., 0] > 127
    width = {256: (4, (31,))}
    data = pictures.tiff(np.packbits(lit, axis=1), pictures.grey_tags(1, black) | width)
    wanted = np.where(lit == bool(black), 255, 0)[..., None].repeat(3, 2)
    assert pictures.furthest(seen(data), wanted) == 0


@pytest.mark.parametrize("bits", [4, 8])
def test_a_palette_tiff_shows_its_colours(bits: int) -> None:
    indices = INDICES >> (8 - bits)
    stored = (
        indices
        if bits == 8
        else (np.pad(indices, ((0, 0), (0, 1)))[:, ::2] << 4) | np.pad(indices, ((0, 0), (0, 1)))[:, 1::2]
    )
    colours = PALETTE[: 2**bits]
    table = tuple(int(value) * 257 for value in colours.T.ravel())
    data = pictures.tiff(stored, pictures.grey_tags(bits, 3) | {256: (4, (31,)), 320: (3, table)})
    assert pictures.furthest(seen(data), colours[indices]) == 0


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_the_fourth_channel_of_a_tiff_is_what_it_says(order: str, deep: bool, extra: int) -> None:
    stored = CLEAR.astype(int)
    if extra == 1:
        stored[..., :3] = (stored[..., :3] * stored[..., 3:] + 127) // 255
    pixels = stored.astype(np.uint16) * 257 if deep else stored.astype(np.uint8)
    data = pictures.tiff(pixels, pictures.rgb_tags(pixels, extra=extra), order)
    assert pictures.furthest(seen(data), pictures.white_behind(CLEAR) if extra else COLOUR) <= 1


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_a_tiff_is_exact_in_every_packing(compression: str | None, mode: str) -> None:
    data = pictures.saved(Image.fromarray(COLOUR).convert(mode), "TIFF", compression=compression)
    assert pictures.furthest(seen(data), pictures.as_pillow_sees(data)) == 0


def test_of_a_tiff_with_many_pages_the_first_is_shown_at_once() -> None:
    pages = [pictures.photo(31, 20, seed) for seed in range(3)]
    data = pictures.saved(pages[0], "TIFF", save_all=True, append_images=[Image.fromarray(page) for page in pages[1:]])
    assert pictures.furthest(seen(data), pages[0]) == 0


@pytest.mark.parametrize("rows", [1, 20, 65_535, 2**32 - 1])
def test_a_tiff_may_promise_more_rows_a_strip_than_it_has(rows: int) -> None:
    wide = pictures.photo(9000, 3)
    if rows == 1:
        assert pictures.furthest(seen(pictures.saved(wide, "TIFF", tiffinfo={278: 1})), wide) == 0
        return
    data = pictures.tiff(wide, pictures.rgb_tags(wide) | {278: (4, (rows,))})
    assert pictures.furthest(seen(data), wide) == 0
