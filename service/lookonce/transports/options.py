"""What a caller may ask of the detections: one table for every transport and for the documents that describe them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Protocol

from lookonce.errors import InvalidOptions
from lookonce.pipeline.request import Options
from lookonce.transports.posted.multipart import MAX_FIELD_BYTES

MOST_CLASSES: Final = 1000
LONGEST_NAME: Final = 64
"""So much of a name is compared with those there are."""
_NUMBER: Final = re.compile(r"-?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_FLAGS: Final = {"true": True, "false": False}


class Kind(Protocol):
    """What values an option takes. `read` takes them as text and as JSON has them, and raises ValueError."""

    @property
    def range(self) -> str: ...

    @property
    def schema(self) -> dict[str, object]:
        """The same as JSON Schema."""

    def read(self, value: object) -> object: ...


@dataclass(frozen=True, slots=True)
class Number:
    least: float
    most: float

    @property
    def range(self) -> str:
        return f"a number from {self.least:g} to {self.most:g}"

    @property
    def schema(self) -> dict[str, object]:
        return {"type": "number", "minimum": self.least, "maximum": self.most}

    def read(self, value: object) -> float:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.least <= value <= self.most:
            raise ValueError
        return float(value)


@dataclass(frozen=True, slots=True)
class Whole:
    least: int
    most: int

    @property
    def range(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    @property
    def schema(self) -> dict[str, object]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def read(self, value: object) -> int:
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise ValueError
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    range: str = "true or false"

    @property
    def schema(self) -> dict[str, object]:
        return {"type": "boolean"}

    def read(self, value: object) -> bool:
        if isinstance(value, str) and value.lower() in _FLAGS:
            return _FLAGS[value.lower()]
        if value is True or value is False:
            return value
        raise ValueError


@dataclass(frozen=True, slots=True)
class Classes:
    """Ids and labels; in text, where all are strings, a number is an id unless it is a label."""

    range: str = f"a list of at most {MOST_CLASSES} class ids or labels, with commas between"

    @property
    def schema(self) -> dict[str, object]:
        one = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}]}
        return {"type": "array", "items": one, "maxItems": MOST_CLASSES}

    def read(self, value: object) -> tuple[int | str, ...]:
        if value == "":
            return ()
        wanted = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        if not isinstance(wanted, list | tuple) or len(wanted) > MOST_CLASSES or not all(map(_names_class, wanted)):
            raise ValueError
        return tuple(wanted)


def _names_class(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and value != ""


@dataclass(frozen=True, slots=True)
class Option:
    name: str
    kind: Kind
    description: str

    @property
    def default(self) -> Any:  # noqa: ANN401  as many types as there are options
        """What stands where the option is not given; None leaves it to the model."""
        return getattr(Options(), self.name)

    @property
    def schema(self) -> dict[str, object]:
        default = list(self.default) if isinstance(self.default, tuple) else self.default
        return self.kind.schema | ({} if default is None else {"default": default})

    def read(self, value: object) -> object:
        if isinstance(value, str) and len(value) > MAX_FIELD_BYTES:
            raise InvalidOptions(f"{self.name}: it has more than {MAX_FIELD_BYTES} characters; no option is that long.")
        try:
            return self.kind.read(value)
        except ValueError as error:
            raise InvalidOptions(f"{self.name}: {short(value)} is not {self.kind.range}; correct it.") from error


OPTIONS: Final = (
    Option("confidence", Number(0, 1), "Leave out what scores less; when not given, the model's own threshold."),
    Option("iou", Number(0, 1), "Boxes that overlap by more than this are one; when not given, the model's own."),
    Option("classes", Classes(), "Only these classes, by id or label; none given: all."),
    Option("max_detections", Whole(1, 1000), "At most so many of an image, the best first."),
    Option("class_agnostic", Flag(), "Boxes of different classes suppress each other too."),
    Option("soft", Flag(), "Lower the scores of boxes that overlap instead of dropping them (soft-NMS)."),
    Option("normalized", Flag(), "Boxes as shares of the image's width and height instead of pixels."),
)
_BY_NAME: Final = {option.name: option for option in OPTIONS}


def options_from(fields: Mapping[str, object]) -> Options:
    """Strings, as a query or a form has them, and JSON values are both read. Raises InvalidOptions."""
    for name in fields:
        if name not in _BY_NAME:
            raise unknown_option(name, _BY_NAME)
    return Options(**{name: _BY_NAME[name].read(value) for name, value in fields.items()})  # type: ignore[arg-type]


def unknown_option(name: str, known: Mapping[str, object]) -> InvalidOptions:
    near = get_close_matches(name[:LONGEST_NAME], known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
    return InvalidOptions(f"{short(name)} is no option; {hint}")


def short(value: object) -> str:
    """As it is said back. Of what holds other things only that: it may be of any size, and nested."""
    if isinstance(value, list | tuple | dict):
        return "an object" if isinstance(value, dict) else "a list"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 50 else f"{text[:49]}…"
