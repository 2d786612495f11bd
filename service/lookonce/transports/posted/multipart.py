"""A multipart form, taken apart as it comes in: pictures and options."""

from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from lookonce.errors import ImageTooLarge, InvalidOptions, ServiceError
from lookonce.pipeline.request import Picture
from lookonce.pipeline.stages import Bounds
from lookonce.transports.posted.envelope import Envelope

MAX_FIELDS: Final = 32
MAX_FIELD_BYTES: Final = 2**14
PICTURE_NAMES: Final = frozenset({"file", "files", "image", "images", "file[]", "files[]", "image[]", "images[]"})
"""A part called so is a picture even where it has no file name."""


@dataclass(slots=True)
class _Part:
    """One part as it grows; of a picture that grew too large only the size is known."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    name: str = ""
    is_picture: bool = False
    size: int = 0
    content: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Form:
    """What came so far. It does not know its parser: a ring of the two would keep the pictures until the next GC."""

    bounds: Bounds
    pictures: list[Picture | ServiceError] = field(default_factory=list)
    fields: dict[str, object] = field(default_factory=dict)
    ended: bool = False
    part: _Part = field(default_factory=_Part)

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self.begin_part,
                "on_header_begin": self.begin_header,
                "on_header_field": lambda data, start, end: self.part.header_name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self.part.header_value.extend(data[start:end]),
                "on_header_end": self.end_header,
                "on_headers_finished": self.judge_headers,
                "on_part_data": self.take,
                "on_part_end": self.end_part,
                "on_end": self.end,
            },
        )

    def begin_part(self) -> None:
        self.part = _Part()

    def begin_header(self) -> None:
        self.part.header_name, self.part.header_value = bytearray(), bytearray()

    def end_header(self) -> None:
        self.part.headers[bytes(self.part.header_name).lower()] = bytes(self.part.header_value)

    def judge_headers(self) -> None:
        _, said = parse_options_header(self.part.headers.get(b"content-disposition"))
        self.part.name = said.get(b"name", b"").decode("utf-8", "replace")
        self.part.is_picture = b"filename" in said or self.part.name in PICTURE_NAMES
        if self.part.is_picture:
            self._refuse_one_picture_too_many()
        else:
            self._refuse_field(self.part.name)

    def take(self, data: bytes, start: int, end: int) -> None:
        part = self.part
        part.size += end - start
        if part.size <= (self.bounds.max_bytes if part.is_picture else MAX_FIELD_BYTES):
            part.content += memoryview(data)[start:end]
            return
        if not part.is_picture:
            raise InvalidOptions(f"{part.name[:40]}: it has more than {MAX_FIELD_BYTES} bytes; no option is that long.")
        part.content = bytearray()

    def end_part(self) -> None:
        if self.part.is_picture:
            self.pictures.append(self._picture())
        else:
            self.fields[self.part.name] = self._text()

    def end(self) -> None:
        self.ended = True

    def _refuse_one_picture_too_many(self) -> None:
        if len(self.pictures) == self.bounds.max_images:
            raise ImageTooLarge(
                f"the request holds more than the {self.bounds.max_images} images that are taken; send them in parts."
            )

    def _refuse_field(self, name: str) -> None:
        if not name:
            raise InvalidOptions("a part of the form has no name; call it file, or what the option is called.")
        if name in self.fields:
            raise InvalidOptions(f"{name[:40]}: it is in the form twice; give it once.")
        if len(self.fields) == MAX_FIELDS:
            raise InvalidOptions(f"the form has more than {MAX_FIELDS} fields; send only options that there are.")

    def _picture(self) -> Picture | ServiceError:
        if self.part.size <= self.bounds.max_bytes:
            return self.part.content
        return ImageTooLarge(
            f"the image has {self.part.size} bytes and at most {self.bounds.max_bytes} are taken; send a smaller one."
        )

    def _text(self) -> str:
        try:
            return self.part.content.decode()
        except UnicodeDecodeError as error:
            raise InvalidOptions(f"{self.part.name[:40]}: it is no UTF-8 text; send it as text.") from error


class FormReader:
    """Raises InvalidOptions for a broken form and ImageTooLarge for too many pictures; one too large is its error."""

    def __init__(self, content_type: str, bounds: Bounds) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise InvalidOptions(
                "the form's Content-Type names no boundary; leave that header to your HTTP client, which knows it."
            )
        self._form = _Form(bounds)
        try:
            self._parser = self._form.parser(boundary)
        except FormParserError as error:
            raise _broken(error) from error

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken(error) from error

    def envelope(self) -> Envelope:
        if not self._form.ended:
            raise InvalidOptions("the form breaks off before its last boundary; send all of it, to its end.")
        if not self._form.pictures:
            raise InvalidOptions("the form holds no picture; send one as a part called file.")
        return Envelope(self._form.pictures, self._form.fields)


def _broken(error: FormParserError) -> InvalidOptions:
    return InvalidOptions(f"the form is broken: {error}; send it with the boundary that its Content-Type names.")
