"""A JSON body: `{"images": [{"base64": …} or {"url": …}, …], "options": {…}}`."""

import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import orjson

from lookonce.errors import ImageTooLarge, InvalidImage, InvalidOptions, ServiceError
from lookonce.pipeline.request import Picture
from lookonce.pipeline.stages import Bounds

MOST_MARKS: Final = 10_000
"""A thousand pictures and a thousand classes need fewer. JSON is read in one go, in which nothing else goes on: it is
marks that make that long, and not the length of a text."""
_MARKS: Final = b"[", b"{", b",", b":"
_LOOK_BYTES: Final = 2**16
_PIECE_CHARACTERS: Final = 4 * 2**18
_WHITESPACE: Final = b" \t\r\n"
_NO_BASE64: Final = "this is no valid base64; encode the picture's bytes in the standard alphabet, with its padding."


@dataclass(frozen=True, slots=True)
class Link:
    """A picture that is only named; `place` is where."""

    url: str
    place: str


Sent: TypeAlias = Picture | ServiceError | Link


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a body holds, in its order."""

    images: Sequence[Sent]
    fields: dict[str, object] = field(default_factory=dict)


def read_envelope(body: bytes, bounds: Bounds) -> Envelope:
    """Raises InvalidOptions for JSON that is not ours; a picture that cannot be had stands as its error."""
    refuse_tangled(body)
    try:
        letter = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidOptions(f"the body is no valid JSON: {error}; mend it there.") from error
    members = _members(letter, ("images", "options"), "the body")
    images = members.get("images")
    if not isinstance(images, list):
        raise InvalidOptions('images: a list is needed; send {"images": [{"base64": "…"}]}.')
    if len(images) > bounds.max_images:
        raise ImageTooLarge(
            f"the request holds {len(images)} images and at most {bounds.max_images} are taken; send them in parts."
        )
    return Envelope(
        [_sent(image, f"images[{index}]", bounds) for index, image in enumerate(images)],
        _object(members.get("options", {}), "options"),
    )


def refuse_tangled(body: bytes) -> None:
    """Raises InvalidOptions for JSON in which there is more to take apart than pictures and options need."""
    found = 0
    for start in range(0, len(body), _LOOK_BYTES):
        found += sum(body.count(mark, start, start + _LOOK_BYTES) for mark in _MARKS)
        if found > MOST_MARKS:
            raise InvalidOptions(
                f"the JSON has more than {MOST_MARKS} brackets, braces, commas and colons; send nothing in it but "
                "pictures and options."
            )


def base64_to_bytes(text: str, max_bytes: int) -> bytes:
    """Strict base64, in which there may be line breaks; a `data:` URL too. Raises InvalidImage and ImageTooLarge."""
    if text[:5].lower() == "data:":
        text = _payload(text)
    try:
        written = text.encode("ascii").translate(None, _WHITESPACE)
        if len(written) // 4 * 3 > max_bytes + 2:
            raise ImageTooLarge(f"the image has more than the {max_bytes} bytes that are taken; send a smaller one.")
        content = b"".join(_decoded(written))
    except ValueError as error:
        raise InvalidImage(_NO_BASE64) from error
    if len(content) != len(written) // 4 * 3 - written.count(b"=", -4) or len(written) % 4:
        raise InvalidImage(_NO_BASE64)
    return content


def _decoded(written: bytes) -> Iterator[bytes]:
    """In pieces, between which the event loop has its turn."""
    for start in range(0, len(written), _PIECE_CHARACTERS):
        yield binascii.a2b_base64(written[start : start + _PIECE_CHARACTERS], strict_mode=True)


def _payload(data_url: str) -> str:
    head, comma, payload = data_url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InvalidImage("a data: URL is taken as data:image/…;base64,… and in no other form; write it so.")
    return payload


def _sent(image: object, place: str, bounds: Bounds) -> Sent:
    members = _members(image, ("base64", "url"), place)
    if len(members) != 1:
        raise InvalidOptions(f"{place}: either base64 or url is needed, and not both; give one of them.")
    ((kind, value),) = members.items()
    if not isinstance(value, str):
        raise InvalidOptions(f"{place}.{kind}: a text is needed; write it in quotes.")
    if kind == "url":
        return Link(value, f"{place}.url")
    try:
        return base64_to_bytes(value, bounds.max_bytes)
    except ServiceError as error:
        return type(error)(f"{place}.base64: {error}")


def _object(value: object, place: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidOptions(f"{place}: an object is needed; write it in braces.")
    return value


def _members(value: object, known: tuple[str, ...], place: str) -> dict[str, object]:
    members = _object(value, place)
    unknown = [name for name in members if name not in known]
    if unknown:
        raise InvalidOptions(f"{place}: nothing is called {unknown[0][:40]!r} here; known are {' and '.join(known)}.")
    return members
