"""JSON that holds pictures: how much there may be to take apart, and base64 read piece by piece."""

import base64
import json
from dataclasses import replace

import pytest
from tests.transports.posting import BOUNDS

from lookonce.errors import InvalidImage, InvalidOptions
from lookonce.transports.options import MOST_CLASSES
from lookonce.transports.posted.envelope import MOST_MARKS, base64_to_bytes, read_envelope, refuse_tangled


@pytest.mark.parametrize("mark", [b"[", b"{", b",", b":", b"xy,", b"," + b" " * 100])
def test_marks_are_counted_wherever_they_stand(mark: bytes) -> None:
    refuse_tangled(mark * MOST_MARKS)
    with pytest.raises(InvalidOptions, match="more than 10000 brackets, braces, commas and colons"):
        refuse_tangled(mark * (MOST_MARKS + 1))


def test_json_may_hold_as_many_marks_as_the_most_pictures_and_classes_need() -> None:
    pictures = [{"base64": "data:image/jpeg;base64,QUJD"}] * 1000
    classes = [f"class {number}" for number in range(MOST_CLASSES)]
    body = json.dumps({"images": pictures, "options": {"classes": classes}}).encode()
    envelope = read_envelope(body, replace(BOUNDS, max_images=1000))
    assert (envelope.images, envelope.fields["classes"]) == ([b"ABC"] * 1000, classes)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 3 * 2**18 - 1, 3 * 2**18, 3 * 2**18 + 1, 2**21 + 1])
def test_base64_of_any_length_is_read_as_one_text(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    text = base64.b64encode(content[:size]).decode()
    assert base64_to_bytes(text, 2**22) == content[:size]
    assert base64_to_bytes("\r\n" + text, 2**22) == content[:size]


@pytest.mark.parametrize("size", [3 * 2**18 - 1, 3 * 2**18 - 2, 5])
def test_base64_that_ends_before_its_end_is_none(size: int) -> None:
    with pytest.raises(InvalidImage):
        base64_to_bytes(base64.b64encode(bytes(size)).decode() + "QUJD", 2**22)
