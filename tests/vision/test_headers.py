"""What a header says, and what is refused from it, before any decoder is asked."""

import gzip
import io
import struct
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.vision import pictures

from lookonce.errors import ImageTooLarge, InvalidImage, ServiceError, UnsupportedMedia
from lookonce.vision.headers import LONGEST_SIDES, Header, Kind, read_header

KINDS = pictures.every_kind()
PATIENCE_S = 10.0
UPSIDE_DOWN = b"II*\0" + struct.pack("<IHHHI4sI", 8, 1, 274, 2, 4, b"down", 0)


@pytest.mark.parametrize("name", KINDS)
def test_a_header_agrees_with_pillow(name: str) -> None:
    data = KINDS[name]
    header, image = read_header(data), pictures.opened(data)
    assert header.kind.upper() == image.format
    assert (header.width, header.height) == image.size
    assert header.orientation == image.getexif().get(274, 1)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_bytes_come_in_any_wrapping(wrap: type) -> None:
    for data in KINDS.values():
        assert read_header(wrap(data)) == read_header(data)


@pytest.mark.parametrize("form", pictures.ORIENTED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_the_one_that_is_seen(form: str, orientation: int) -> None:
    header = read_header(pictures.saved(pictures.photo(31, 20), form, exif=pictures.exif(orientation)))
    assert header.orientation == orientation
    assert header.size_wh == ((20, 31) if orientation >= 5 else (31, 20))


@pytest.mark.parametrize("form", pictures.ORIENTED)
@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_exif_does_not_know_is_upright(form: str, orientation: int) -> None:
    data = pictures.saved(pictures.photo(31, 20), form, exif=pictures.exif(orientation))
    assert read_header(data).orientation == 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block", [b"II", b"MM\0*\0\0\0\xff", b"II*\0\x08\0\0\0\xff\xff" + bytes(40), b"nonsense", UPSIDE_DOWN]
)
def test_broken_exif_is_upright(form: str, block: bytes) -> None:
    data = pictures.saved(pictures.photo(31, 20), form, exif=b"Exif\0\0" + block)
    assert read_header(data).orientation == 1


@pytest.mark.parametrize("order", "<>")
def test_exif_without_a_link_onward_still_turns_a_picture(order: str) -> None:
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IHHHIHH", 8, 1, 274, 3, 1, 6, 0)
    data = pictures.saved(pictures.photo(31, 20), "JPEG", exif=b"Exif\0\0" + block)
    assert read_header(data).orientation == 6


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("last", [False, True])
def test_a_tiff_directory_may_stand_anywhere(order: str, last: bool) -> None:
    pixels = pictures.photo(31, 20)
    data = pictures.tiff(pixels, pictures.rgb_tags(pixels) | {274: (3, (5,))}, order, directory_last=last)
    assert read_header(data) == Header(Kind.TIFF, 31, 20, 5)


@pytest.mark.parametrize("header_bytes", [12, 40, 52, 56, 64, 108, 124])
def test_every_bmp_header_is_read(header_bytes: int) -> None:
    assert read_header(pictures.bmp(pictures.photo(31, 20), header_bytes)) == Header(Kind.BMP, 31, 20)


def test_a_bmp_from_top_to_bottom_has_a_height_too() -> None:
    assert read_header(pictures.bmp(pictures.photo(31, 20), 40, from_top=True)).size_wh == (31, 20)


def test_a_thumbnail_is_not_taken_for_the_picture() -> None:
    thumbnail = pictures.saved(pictures.photo(8, 6), "JPEG")
    whole = pictures.saved(pictures.photo(31, 20), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 8 + len(thumbnail)) + b"Exif\0\0" + thumbnail
    assert read_header(whole[:2] + segment + whole[2:]).size_wh == (31, 20)


def test_fill_bytes_before_a_marker_are_stepped_over() -> None:
    whole = pictures.saved(pictures.photo(31, 20), "JPEG")
    assert read_header(whole[:2] + b"\xff" * 100 + whole[2:]).size_wh == (31, 20)


def test_a_bomb_is_measured_without_being_unpacked() -> None:
    bomb = pictures.flat_png(20_000, 20_000)
    assert len(bomb) < 2_000_000
    assert read_header(bomb).size_wh == (20_000, 20_000)
    assert read_header(bomb[:100]).size_wh == (20_000, 20_000)


def test_nothing_is_an_empty_picture() -> None:
    with pytest.raises(InvalidImage, match="empty"):
        read_header(b"")


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_longest_side(kind: Kind) -> None:
    assert LONGEST_SIDES[kind] >= 1 << 14


@pytest.mark.parametrize(
    "data",
    [
        pictures.flat_png(1_000_001, 1),
        pictures.flat_png(1, 1_000_001),
        pictures.bmp(np.zeros((1, 2**20 + 1, 3), np.uint8), 40),
        pictures.tiff(pictures.photo(5, 5), pictures.rgb_tags(pictures.photo(5, 5)) | {257: (4, (2**20 + 1,))}),
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (2**14).to_bytes(3, "little") + bytes(3),
        b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\0\5\1\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0",
    ],
)
def test_a_side_that_no_decoder_takes_is_called_too_long_and_not_damaged(data: bytes) -> None:
    with pytest.raises(ImageTooLarge, match="no side of one may be longer than"):
        read_header(data)


def test_what_a_pixel_takes_is_told_by_the_header() -> None:
    plain, deep, moving = 8, 16, 13
    deep_rgba = np.zeros((5, 5, 4), np.uint16)
    assert read_header(pictures.deep_png(5, 5, colour=6)).pixel_bytes == deep
    assert read_header(pictures.deep_png(5, 5, colour=2)).pixel_bytes == plain
    assert read_header(pictures.deflated_tiff(deep_rgba)).pixel_bytes == deep
    assert read_header(KINDS["animated webp"]).pixel_bytes == moving
    assert {read_header(KINDS[name]).pixel_bytes for name in ("jpeg", "png", "webp", "bmp", "tiff", "gif")} == {plain}


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("picture.jpg", pictures.saved(pictures.photo(31, 20), "JPEG"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "likeness"),
    [
        (zipped(), "zip archive"),
        (gzip.compress(b"picture", mtime=0), "gzip"),
        (b"%PDF-1.7\n...", "PDF"),
        (b"hello, this is no picture", "text"),
        (b"BMW is a maker of cars", "text"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "MP4"),
        (b"II+\0\x08\0\0\0", "BigTIFF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (pictures.saved(pictures.photo(31, 20), "PPM")[:2] + b"\0\1\2", "no picture that is known"),
        (bytes(100), "no picture that is known"),
    ],
)
def test_what_is_no_picture_of_ours_is_named(data: bytes, likeness: str) -> None:
    with pytest.raises(UnsupportedMedia, match=likeness) as caught:
        read_header(data)
    assert str(caught.value).endswith("send one of JPEG, PNG, WebP, BMP, TIFF, GIF.")


@pytest.mark.parametrize("name", KINDS)
def test_a_header_that_is_cut_is_refused(name: str) -> None:
    """Wherever the cut is: too short to be told, or told and short, but never misread."""
    data = KINDS[name]
    whole = read_header(data)
    for size in range(1, min(len(data), 700)):
        outcome = pictures.outcome(read_header, data[:size])
        if isinstance(outcome, Header):
            assert (outcome.width, outcome.height) == (whole.width, whole.height)
        else:
            assert isinstance(outcome, InvalidImage) or size < 18


@pytest.mark.parametrize(
    "data",
    [
        pictures.flat_png(0, 5),
        pictures.flat_png(5, 0),
        b"GIF89a\0\0\5\0\0\0\0\x3b",
        pictures.bmp(np.zeros((0, 5, 3), np.uint8), 40),
        pictures.tiff(pictures.photo(5, 5), pictures.rgb_tags(pictures.photo(5, 5)) | {256: (4, (0,))}),
        b"\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\5\1\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0",
    ],
)
def test_a_side_of_nothing_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage, match="pixels"):
        read_header(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xd8\xff\xd9", "no picture"),
        (b"\xff\xd8\xff\xda\0\x08\1\1\0\0\x3f\0", "no picture"),
        (b"\xff\xd8\xff\xe0\0\x02garbage", "damaged"),
        (b"\x89PNG\r\n\x1a\n" + pictures.png_chunk(b"IDAT", bytes(30)), "header"),
        (b"RIFF\0\0\0\0WEBPJUNK" + bytes(30), "picture"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(30), "damaged"),
        (b"RIFF\0\0\0\0WEBPVP8L" + bytes(30), "damaged"),
        (b"II*\0\xff\xff\xff\x7f\0\0\0\0", "cut short"),
        (b"II*\0\x08\0\0\0\xff\xff" + bytes(40), "damaged"),
    ],
)
def test_a_picture_without_a_frame_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidImage, match=words):
        read_header(data)


def patched_frame(place: int, value: int) -> bytes:
    data = bytearray(pictures.saved(pictures.photo(31, 20), "JPEG"))
    data[data.index(b"\xff\xc0") + place] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [(patched_frame(4, 12), "12 bits"), (patched_frame(1, 0xC9), "process 9"), (patched_frame(9, 2), "2 components")],
)
def test_a_kind_of_jpeg_that_is_not_decoded_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedMedia, match=words):
        read_header(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pictures.saved(Image.new("F", (5, 5)), "TIFF"), "32 bits"),
        (pictures.saved(Image.new("I", (5, 5)), "TIFF"), "32 bits"),
        (pictures.saved(Image.new("LA", (5, 5)), "TIFF"), "2 channels"),
        (pictures.saved(Image.new("LAB", (5, 5)), "TIFF"), "interpretation 8"),
    ],
)
def test_a_kind_of_tiff_whose_colours_are_in_doubt_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedMedia, match=words):
        read_header(data)


def test_a_tiff_with_tiles_far_larger_than_itself_is_refused() -> None:
    pixels = pictures.photo(31, 20)
    tiles = {322: (4, (16_000,)), 323: (4, (16_000,))}
    with pytest.raises(InvalidImage, match="tiles"):
        read_header(pictures.tiff(pixels, pictures.rgb_tags(pixels) | tiles))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 10_000_000,
        b"\xff\xd8" + b"\xff\xe0\0\x02" * 2_500_000,
        b"\x89PNG\r\n\x1a\n" + pictures.flat_png(5, 5)[8:33] + pictures.png_chunk(b"tEXt", b"") * 800_000,
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0\4\0\0\4\0\0" + b"ANMF\0\0\0\0" * 1_000_000,
    ],
)
def test_a_header_of_millions_of_parts_is_not_walked_through(data: bytes) -> None:
    start = time.monotonic()
    for _ in range(20):
        outcome = pictures.outcome(read_header, data)
        assert outcome == Header(Kind.WEBP, 5, 5) or "too many parts" in str(outcome)
    assert time.monotonic() - start < PATIENCE_S


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(max_examples=400, deadline=None)
def test_a_damaged_header_raises_nothing_but_our_errors(name: str, data: st.DataObject) -> None:
    damaged = bytearray(KINDS[name])
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, min(len(damaged), 400) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    header = pictures.outcome(read_header, bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    if isinstance(header, Header):
        assert min(header.size_wh) > 0
        assert 1 <= header.orientation <= 8


@given(st.sampled_from([data[:12] for data in KINDS.values()] + [b""]), st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_noise_behind_a_signature_raises_nothing_but_our_errors(signature: bytes, noise: bytes) -> None:
    outcome = pictures.outcome(read_header, signature + noise)
    assert isinstance(outcome, Header) or (isinstance(outcome, ServiceError) and str(outcome).endswith("."))
