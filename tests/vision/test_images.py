"""Pixels as a person sees them, against Pillow or against the numbers the file was made of."""

import struct

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image
from tests.vision import pictures
from tests.vision.pictures import CLEAR, COLOUR, SIXTEEN, seen

from lookonce.errors import InvalidImage
from lookonce.vision.headers import read_header
from lookonce.vision.images import encode_jpeg, encode_png

KINDS = pictures.every_kind()


@pytest.mark.parametrize("name", [name for name in KINDS if "clear" not in name and "palette png" not in name])
def test_a_file_of_every_kind_is_what_pillow_sees(name: str) -> None:
    upright = pictures.turned(pictures.as_pillow_sees(KINDS[name]), read_header(KINDS[name]).orientation)
    assert pictures.furthest(seen(KINDS[name]), upright) <= (1 if "jpeg" in name else 0)


@pytest.mark.parametrize("form", pictures.ORIENTED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_turned_upright_in_each_format(form: str, orientation: int) -> None:
    data = pictures.saved(COLOUR, form, exif=pictures.exif(orientation))
    stored = COLOUR if form == "TIFF" else pictures.as_pillow_sees(data)
    assert pictures.furthest(seen(data), pictures.turned(stored, orientation)) == 0


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 1000), (4000, 3), (17, 9)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_narrow_and_odd_sizes_are_decoded(form: str, size_wh: tuple[int, int]) -> None:
    data = pictures.saved(pictures.photo(*size_wh), form)
    assert pictures.furthest(seen(data), pictures.as_pillow_sees(data)) <= 1


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411"])
def test_a_jpeg_is_decoded_exactly_for_each_subsampling(subsampling: str) -> None:
    data = simplejpeg.encode_jpeg(pictures.photo(123, 77), 90, "RGB", subsampling)
    assert pictures.furthest(seen(data), pictures.as_pillow_sees(data)) == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_grey_colour_and_cmyk_jpegs_are_decoded(mode: str, progressive: bool) -> None:
    data = pictures.saved(Image.fromarray(COLOUR).convert(mode), "JPEG", progressive=progressive)
    assert pictures.furthest(seen(data), pictures.as_pillow_sees(data)) <= 1
    assert pictures.furthest(seen(data), COLOUR if mode != "L" else pictures.as_pillow_sees(data)) < 64


def test_a_frame_of_a_motion_jpeg_comes_without_tables() -> None:
    whole = pictures.saved(COLOUR, "JPEG")
    bare = whole[:2] + b"".join(part for marker, part in pictures.jpeg_parts(whole) if marker != 0xC4)
    assert len(bare) < len(whole)
    assert pictures.furthest(seen(bare), seen(whole)) == 0


def test_a_jpeg_of_unusual_sampling_goes_to_the_other_decoder() -> None:
    data = bytearray(pictures.saved(Image.new("RGB", (24, 8), (128,) * 3), "JPEG", keep_rgb=True, subsampling=0))
    data[data.index(b"\xff\xc0") + 11] = 0x31
    assert (seen(bytes(data)) == 128).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_a_png_without_transparency_is_exact(mode: str) -> None:
    grey = Image.fromarray(SIXTEEN[..., 0])
    image = grey if mode == "I;16" else Image.fromarray(COLOUR).convert(mode)
    wanted = COLOUR[..., :1].repeat(3, 2) if mode == "I;16" else pictures.as_pillow_sees(pictures.saved(image, "PNG"))
    assert pictures.furthest(seen(pictures.saved(image, "PNG")), wanted) == 0


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_are_scaled_and_not_clipped(channels: int) -> None:
    stored = SIXTEEN if channels == 3 else np.dstack([SIXTEEN, CLEAR[..., 3].astype(np.uint16) * 257])
    _, data = cv2.imencode(".png", stored[..., [2, 1, 0, 3][:channels]])
    wanted = COLOUR if channels == 3 else pictures.white_behind(CLEAR)
    assert pictures.furthest(seen(data.tobytes()), wanted) <= (1 if channels == 4 else 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_transparent_pixels_are_white_behind(form: str, mode: str) -> None:
    data = pictures.saved(Image.fromarray(CLEAR).convert(mode), form, lossless=True, exact=True)
    wanted = pictures.white_behind(np.asarray(pictures.opened(data).convert("RGBA")))
    assert pictures.furthest(seen(data), wanted) <= 1
    assert (seen(data)[:, 0] == 255).all()


@pytest.mark.parametrize(
    ("mode", "transparency"),
    [("P", 3), ("P", bytes(range(256))), ("L", int(COLOUR.mean())), ("RGB", tuple(COLOUR[3, 4])), ("1", 1)],
)
def test_a_declared_transparent_colour_is_white(mode: str, transparency: object) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    clear = tuple(map(int, transparency)) if isinstance(transparency, tuple) else transparency
    data = pictures.saved(image, "PNG", transparency=clear)
    wanted = pictures.white_behind(np.asarray(pictures.opened(data).convert("RGBA")))
    assert pictures.furthest(seen(data), wanted) <= 1


def test_a_declared_transparent_grey_of_sixteen_bits_is_white() -> None:
    grey = SIXTEEN[..., 0].copy()
    grey[2:5, 2:9] = 4660
    data = pictures.saved(Image.fromarray(grey), "PNG")
    key = pictures.png_chunk(b"tRNS", struct.pack(">H", 4660))
    image = seen(data[:33] + key + data[33:])
    assert (image[2:5, 2:9] == 255).all()
    assert pictures.furthest(image[6:], COLOUR[6:, :, :1].repeat(3, 2)) == 0


def test_a_png_with_a_checksum_that_does_not_fit_is_refused_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    """OpenCV's libpng would write a line of its own to standard error."""
    data = bytearray(pictures.saved(COLOUR, "PNG"))
    data[data.index(b"IDAT") - 6] ^= 1
    with pytest.raises(InvalidImage, match="checksum"):
        seen(bytes(data))
    assert capfd.readouterr().err == ""


def test_a_png_of_the_longest_side_is_decoded() -> None:
    assert seen(pictures.flat_png(1_000_000, 1)).shape == (1, 1_000_000, 3)


def test_a_png_of_two_headers_is_refused() -> None:
    data = pictures.flat_png(31, 20)
    with pytest.raises(InvalidImage, match="more than one header"):
        seen(data[:33] + data[8:])


def test_an_animated_png_shows_its_default_picture() -> None:
    frames = [pictures.photo(31, 20, seed) for seed in range(3)]
    rest = [Image.fromarray(frame) for frame in frames[1:]]
    for default in (False, True):
        data = pictures.saved(frames[0], "PNG", save_all=True, default_image=default, append_images=rest)
        assert pictures.furthest(seen(data), frames[0]) == 0


def test_text_that_unpacks_without_end_is_not_unpacked() -> None:
    data = pictures.saved(COLOUR, "PNG")
    bomb = pictures.flat_png(20_000, 20_000)
    text = pictures.png_chunk(b"zTXt", b"Comment\0\0" + bomb[41:-16])
    assert pictures.furthest(seen(data[:33] + text * 20 + data[33:]), COLOUR) == 0
    assert not seen(pictures.flat_png(31, 20)).any()


def test_the_smallest_webp_is_decoded() -> None:
    tiny = b"RIFF\x14\0\0\0WEBPVP8L\x08\0\0\0\x2f\0\0\0\0\x88\x88\x08"
    assert len(tiny) < 32
    assert seen(tiny).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize("header_bytes", [12, 40, 64, 108, 124])
@pytest.mark.parametrize("from_top", [False, True])
def test_a_bmp_is_read_with_every_header_from_either_end(header_bytes: int, from_top: bool) -> None:
    from_top = from_top and header_bytes > 12
    data = pictures.bmp(COLOUR[..., ::-1], header_bytes, from_top=from_top)
    assert pictures.furthest(seen(data), COLOUR) == 0


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_bmp_of_few_colours_is_exact(mode: str) -> None:
    data = pictures.saved(Image.fromarray(COLOUR).convert(mode), "BMP")
    assert pictures.furthest(seen(data), pictures.as_pillow_sees(data)) == 0


@pytest.mark.parametrize("order", [(2, 1, 0, 3), (0, 1, 2, 3)])
def test_a_bmp_that_declares_alpha_is_white_behind(order: tuple[int, ...]) -> None:
    masks = tuple(0xFF << 8 * order.index(channel) for channel in range(4))
    for header_bytes in (56, 108, 124):
        data = pictures.bmp(CLEAR[..., order], header_bytes, masks)
        assert pictures.furthest(seen(data), pictures.white_behind(CLEAR)) <= 1


def test_the_fourth_byte_of_an_old_bmp_is_padding() -> None:
    padded = CLEAR[..., [2, 1, 0, 3]]
    assert pictures.furthest(seen(pictures.bmp(padded, 40)), COLOUR) == 0
    masks = 0xFF0000, 0xFF00, 0xFF
    data = bytearray(pictures.bmp(padded, 52, masks))
    data[14] = 40
    assert pictures.furthest(seen(bytes(data)), COLOUR) == 0


def test_an_encoded_png_is_the_picture_again() -> None:
    assert pictures.furthest(pictures.as_pillow_sees(encode_png(COLOUR)), COLOUR) == 0


def test_an_encoded_jpeg_is_close_to_the_picture() -> None:
    for picture in (COLOUR, COLOUR[:, ::-1]):
        assert pictures.furthest(pictures.as_pillow_sees(encode_jpeg(picture, quality=95)), picture) < 16
