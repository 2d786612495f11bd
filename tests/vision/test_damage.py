"""Files that are cut, damaged or have more behind them."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vision import pictures
from tests.vision.pictures import seen

from lookonce.errors import InvalidImage, ServiceError
from lookonce.vision.headers import read_header
from lookonce.vision.images import decode

KINDS = pictures.every_kind()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("keep", [0.5, 0.75, 0.9])
def test_a_truncated_file_is_refused(name: str, keep: float) -> None:
    """Of an animation, the cut goes through its first frame."""
    data = KINDS[name]
    if "animated gif" in name:
        data = KINDS["gif"]
    with pytest.raises(InvalidImage):
        seen(data[: int(len(data) * keep * (0.5 if name == "animated webp" else 1))])


@pytest.mark.parametrize("name", ["progressive jpeg", "png", "webp", "bmp", "tiff"])
@pytest.mark.parametrize("missing", [1, 2])
def test_even_one_missing_byte_is_noticed(name: str, missing: int) -> None:
    with pytest.raises(InvalidImage):
        seen(KINDS[name][:-missing])


@pytest.mark.parametrize("name", ["jpeg", "cmyk jpeg"])
def test_a_jpeg_that_lacks_nothing_but_the_mark_of_its_end_is_whole(name: str) -> None:
    for missing in (1, 2):
        assert pictures.furthest(seen(KINDS[name][:-missing]), seen(KINDS[name])) == 0
    for missing in (3, 4, 10, 100):
        with pytest.raises(InvalidImage):
            seen(KINDS[name][:-missing])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("tail", [b"\0", b"\xff" * 50, KINDS["jpeg"], b"MotionPhoto_Data" + bytes(5000)])
def test_what_phones_append_changes_nothing(name: str, tail: bytes) -> None:
    assert pictures.furthest(seen(KINDS[name] + tail), seen(KINDS[name])) == 0


@pytest.mark.parametrize("name", ["png", "palette png", "animated png"])
def test_damaged_pixels_are_refused_where_the_format_has_a_checksum(name: str) -> None:
    data = bytearray(KINDS[name])
    place = data.index(b"IDAT") + 60
    data[place] ^= 0x55
    with pytest.raises(InvalidImage):
        seen(bytes(data))


def test_a_jpeg_whose_scan_breaks_off_inside_is_refused() -> None:
    data = pictures.saved(pictures.photo(200, 150), "JPEG", quality=95)
    middle = data.index(b"\xff\xda") + (len(data) - data.index(b"\xff\xda")) // 2
    with pytest.raises(InvalidImage, match="damaged"):
        seen(data[:middle] + data[-2:])


def test_pixels_of_another_size_than_the_header_says_are_refused() -> None:
    small, large = (pictures.saved(pictures.photo(side, side), "JPEG") for side in (8, 80))
    with pytest.raises(InvalidImage, match="another size"):
        decode(large, read_header(small))


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("name", KINDS)
def test_bytes_are_decoded_from_any_wrapping_and_left_alone(name: str, wrap: Callable[[bytes], bytes]) -> None:
    data = wrap(KINDS[name])
    assert pictures.furthest(decode(data, read_header(data)), seen(KINDS[name])) == 0
    assert bytes(data) == KINDS[name]


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(max_examples=500, deadline=None)
def test_damage_raises_nothing_but_our_errors(name: str, data: st.DataObject) -> None:
    damaged = bytearray(KINDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(len(damaged) // 2, len(damaged)))]
    header = pictures.outcome(read_header, damaged)
    if isinstance(header, ServiceError) or header.width * header.height > 1_000_000:
        return
    image = pictures.outcome(decode, damaged, header)
    assert isinstance(image, ServiceError) or image.shape == (*reversed(header.size_wh), 3)
