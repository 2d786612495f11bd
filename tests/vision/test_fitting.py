"""Pictures decoded on the way to their window: exactly what they would be there, or smaller where one asks for it."""

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.vision import hostile, pictures
from tests.vision.pictures import photo, saved

from lookonce.errors import InvalidImage
from lookonce.vision.fitting import decode_for
from lookonce.vision.headers import Header, Kind, read_header
from lookonce.vision.images import decode
from lookonce.vision.letterbox import Fit, Geometry, ImageRGB, draw_onto, letterbox, pad, place, window_of

SQUARE = Geometry(64, 64)


def laid(data: bytes, geometry: Geometry = SQUARE, *, scaled: bool = False, rubbish: int = 0) -> ImageRGB:
    canvas = np.full((geometry.height, geometry.width, 3), rubbish, np.uint8)
    header = read_header(data)
    placement = place(header.size_wh, geometry)
    image = decode_for(window_of(canvas, placement), data, header, scaled=scaled)
    pad(canvas, placement, geometry.pad_value)
    draw_onto(canvas, image, placement)
    return canvas


def exactly(data: bytes, geometry: Geometry = SQUARE) -> ImageRGB:
    return letterbox(decode(data, read_header(data)), geometry)[0]


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("size_wh", [(64, 64), (64, 48), (48, 64), (64, 1), (1, 64), (1, 1), (65, 64), (400, 300)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_lies_on_the_canvas_is_what_was_decoded_exactly(
    fit: Fit, size_wh: tuple[int, int], orientation: int
) -> None:
    """And nothing of what lay there before is left."""
    data = saved(photo(*size_wh), "JPEG", exif=pictures.exif(orientation))
    geometry = Geometry(64, 64, fit)
    for rubbish in (0, 201):
        np.testing.assert_array_equal(laid(data, geometry, rubbish=rubbish), exactly(data, geometry))


def test_a_jpeg_of_the_windows_size_is_decoded_straight_into_it() -> None:
    data, canvas = saved(photo(64, 48), "JPEG"), np.zeros((64, 64, 3), np.uint8)
    image = decode_for(canvas[8:56], data, read_header(data))
    assert np.shares_memory(image, canvas)
    np.testing.assert_array_equal(canvas[8:56], decode(data, read_header(data)))


@pytest.mark.parametrize("end", [b"", b"\0\0\0\0", b"\xff\xff"])
def test_what_webcams_write_is_decoded_there_too(end: bytes) -> None:
    data = saved(photo(64, 48), "JPEG")
    for odd in (data[:-2] + end + data[-2:], data[:-2]):
        np.testing.assert_array_equal(laid(odd), exactly(data))
        np.testing.assert_array_equal(
            laid(odd, Geometry(16, 16), scaled=True), laid(data, Geometry(16, 16), scaled=True)
        )


@pytest.mark.parametrize("name", pictures.every_kind())
def test_a_file_of_every_kind_is_exact_where_it_is_not_twice_as_large(name: str) -> None:
    """The smallest is 23 by 17 pixels."""
    for side in (12, 23, 64):
        geometry = Geometry(side, side)
        data = pictures.every_kind()[name]
        np.testing.assert_array_equal(laid(data, geometry, scaled=True), exactly(data, geometry))


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 1), (64, 64), (127, 90), (1, 1000), (126, 126)])
def test_a_jpeg_that_is_not_twice_as_large_is_exact_to_the_last_bit(size_wh: tuple[int, int]) -> None:
    data = saved(photo(*size_wh), "JPEG")
    np.testing.assert_array_equal(laid(data, scaled=True), exactly(data))


def test_a_stretched_jpeg_is_scaled_only_where_both_sides_are_twice_as_large() -> None:
    wide = saved(photo(400, 100), "JPEG")
    geometry = Geometry(64, 64, Fit.STRETCH)
    np.testing.assert_array_equal(laid(wide, geometry, scaled=True), exactly(wide, geometry))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(mode: str, progressive: bool, orientation: int) -> None:
    """Turned, grey, CMYK or in passes: the window of 64 by 48 is filled from 75 by 57, a quarter of 300 by 225."""
    picture = Image.fromarray(photo(300, 225)).convert(mode)
    data = saved(picture, "JPEG", quality=95, progressive=progressive, exif=pictures.exif(orientation))
    header = read_header(data)
    placement = place(header.size_wh, SQUARE)
    image = decode_for(np.empty((*reversed(placement.size_wh), 3), np.uint8), data, header, scaled=True)
    assert image.shape == ((57, 75, 3) if orientation < 5 else (75, 57, 3))
    small = cv2.resize(decode(data, header), (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(image.astype(int) - small).mean() < 2
    assert np.abs(laid(data, scaled=True).astype(int) - exactly(data)).mean() < 2


@pytest.mark.parametrize(
    ("size_wh", "decoded_wh"), [((512, 256), (64, 32)), ((128, 128), (64, 64)), ((300, 2), (150, 1))]
)
def test_libjpegs_own_sizes_are_found(size_wh: tuple[int, int], decoded_wh: tuple[int, int]) -> None:
    data = saved(photo(*size_wh), "JPEG")
    placement = place(size_wh, SQUARE)
    window = np.empty((*reversed(placement.size_wh), 3), np.uint8)
    image = decode_for(window, data, read_header(data), scaled=True)
    assert image.shape == (*reversed(decoded_wh), 3)
    assert np.shares_memory(image, window) == (decoded_wh == placement.size_wh)


@pytest.mark.parametrize("scaled", [False, True])
def test_bad_jpegs_are_refused_on_the_way_too(scaled: bool) -> None:
    whole = saved(photo(640, 480), "JPEG")
    for bad in (whole[: len(whole) // 2], whole[:600], whole[: len(whole) // 2] + b"\xff\xd9"):
        with pytest.raises(InvalidImage, match="cut short"):
            laid(bad, scaled=scaled)
    judged = Header(Kind.JPEG, hostile.SMALL, hostile.SMALL)
    with pytest.raises(InvalidImage, match=r"another size|damaged"):
        decode_for(np.empty((4, 4, 3), np.uint8), hostile.hidden_in(0), judged, scaled=scaled)


def test_a_jpeg_of_unusual_sampling_is_never_scaled() -> None:
    data = bytearray(saved(Image.new("RGB", (240, 80), (128,) * 3), "JPEG", keep_rgb=True, subsampling=0))
    data[data.index(b"\xff\xc0") + 11] = 0x31
    np.testing.assert_array_equal(laid(bytes(data), scaled=True), exactly(bytes(data)))
    with pytest.raises(InvalidImage, match="another size"):
        decode_for(np.empty((40, 120, 3), np.uint8), bytes(data), Header(Kind.JPEG, 120, 40))
