"""JPEGs whose parts are arranged so that a decoder might read another picture, or the same one all day."""

import struct

import pytest
from PIL import Image
from tests.vision import hostile, pictures
from tests.vision.pictures import COLOUR, seen

from lookonce.errors import ImageTooLarge, InvalidImage
from lookonce.vision.headers import Header, Kind, read_header
from lookonce.vision.images import decode
from lookonce.vision.jpeg import count_scans

STEPPED_OVER = {0xDC, 0xE0, 0xFE}
PROGRESSIVE = pictures.saved(COLOUR, "JPEG", progressive=True)


@pytest.mark.parametrize("marker", sorted(set(hostile.MARKERS) - STEPPED_OVER))
def test_a_frame_hidden_where_a_decoder_may_look_is_refused(marker: int) -> None:
    """At FF 00, libjpeg reads on where we would step over a segment."""
    with pytest.raises(InvalidImage, match="before its pixels"):
        read_header(hostile.hidden_in(marker))


@pytest.mark.parametrize("marker", sorted(STEPPED_OVER))
def test_a_frame_inside_a_segment_is_stepped_over(marker: int) -> None:
    assert seen(hostile.hidden_in(marker)).shape == (hostile.SMALL, hostile.SMALL, 3)


def test_a_second_frame_is_refused() -> None:
    with pytest.raises(InvalidImage, match="two in one"):
        read_header(hostile.jpegs()["jpeg of two frames"])


def test_a_size_that_libjpeg_reads_otherwise_is_refused_before_a_pixel_is_decoded() -> None:
    judged = Header(Kind.JPEG, hostile.SMALL, hostile.SMALL)
    for marker in (0x00, 0x01):
        with pytest.raises(InvalidImage, match=r"another size|damaged"):
            decode(hostile.hidden_in(marker), judged)


@pytest.mark.parametrize("size_wh", [(39, 30), (30, 40), (1, 1)])
def test_a_jpeg_that_is_larger_or_of_another_shape_than_was_judged_is_refused(size_wh: tuple[int, int]) -> None:
    with pytest.raises(InvalidImage, match="another size"):
        decode(pictures.saved(pictures.photo(40, 30), "JPEG"), Header(Kind.JPEG, *size_wh))


@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_segment_that_is_shorter_than_its_own_length_is_stepped_over(length: int) -> None:
    data = pictures.saved(COLOUR, "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", length)
    assert pictures.furthest(seen(data[:2] + comment + data[2:]), seen(data)) == 0


@pytest.mark.parametrize("end", [b"", b"\0\0\0\0", b"\xff\xff", b"\0" * 40])
@pytest.mark.parametrize("progressive", [False, True])
def test_padding_before_the_end_is_harmless(end: bytes, progressive: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """Many webcams write some, and libjpeg complains of it, but not to whoever reads the log."""
    data = pictures.saved(COLOUR, "JPEG", progressive=progressive)
    assert pictures.furthest(seen(data[:-2] + end + data[-2:]), seen(data)) == 0
    assert capfd.readouterr().err == ""


def test_scans_are_counted_up_to_the_end_of_the_picture() -> None:
    scans = PROGRESSIVE.count(b"\xff\xda")
    video = b"\xff\xda" * 500
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(video)) + video
    last = PROGRESSIVE.rindex(b"\xff\xda")
    assert scans == 10
    assert count_scans(PROGRESSIVE, 1000) == scans
    assert count_scans(PROGRESSIVE + video, 1000) == scans
    assert count_scans(PROGRESSIVE[:last] + comment + PROGRESSIVE[last:], 1000) == scans
    assert count_scans(PROGRESSIVE[:-2] + b"\xff\xff\xff\xda" + PROGRESSIVE[-2:], 1000) == scans + 1


def test_a_progressive_picture_with_a_video_behind_it_is_decoded() -> None:
    assert pictures.furthest(seen(PROGRESSIVE + b"\xff\xda" * 500), seen(PROGRESSIVE)) == 0


@pytest.mark.parametrize("times", [100, 5000])
def test_a_jpeg_of_hundreds_of_scans_is_refused(times: int) -> None:
    """They may stand behind an end that lies in a comment."""
    last = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    with pytest.raises(InvalidImage, match="more than 100 scans"):
        seen(PROGRESSIVE[:-2] + b"\xff\xfe\0\4\xff\xd9" + last * times + PROGRESSIVE[-2:])


def test_a_jpeg_of_endless_parts_among_its_pixels_is_refused() -> None:
    with pytest.raises(InvalidImage, match="too many parts among its pixels"):
        seen(PROGRESSIVE[:-2] + b"\xff\xfe\0\2" * 1_000_000 + PROGRESSIVE[-2:])


def test_a_large_jpeg_of_many_scans_is_refused() -> None:
    """Sixty-four million pixels in ten scans are taken, in twenty they are not."""
    data = bytearray(PROGRESSIVE)
    struct.pack_into(">HH", data, data.index(b"\xff\xc2") + 5, 8000, 8000)
    scan = bytes(data[data.rindex(b"\xff\xda") : -2])
    twenty = bytes(data[:-2]) + scan * 10 + b"\xff\xd9"
    with pytest.raises(ImageTooLarge, match="20 scans of 8000×8000 pixels"):
        decode(twenty, read_header(twenty))


@pytest.mark.parametrize(
    ("mode", "subsampling", "pixel_bytes"), [("L", 0, 8), ("RGB", 2, 8), ("RGB", 0, 9), ("CMYK", 0, 15)]
)
def test_a_jpeg_in_passes_is_as_heavy_as_its_coefficients(mode: str, subsampling: int, pixel_bytes: int) -> None:
    picture = Image.fromarray(COLOUR).convert(mode)
    data = pictures.saved(picture, "JPEG", progressive=True, subsampling=subsampling)
    assert read_header(data).pixel_bytes == pixel_bytes
