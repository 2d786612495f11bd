"""The text message of a WebSocket stream: what every frame after it is asked with."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lookonce.errors import InvalidOptions
from lookonce.pipeline.request import Options
from lookonce.transports.options import options_from

MAX_CHARS: Final = 64 * 1024


class Said(BaseModel):
    """The message as it comes over the wire; all of it is optional."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: str | None = None
    model: str | None = None
    version: Annotated[int, Field(ge=1)] | None = None
    options: dict[str, object] = Field(default_factory=dict)
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    key: str | None = field(default=None, repr=False)
    model: str | None = None
    version: int | None = None
    options: Options = field(default_factory=Options)
    request_id: str | None = None


def setup_from(text: str) -> Setup:
    """Raises InvalidOptions, naming the field."""
    if len(text) > MAX_CHARS:
        raise InvalidOptions(f"a text message has at most {MAX_CHARS} characters; send images as binary messages.")
    try:
        said = Said.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:80] or "its text"
        raise InvalidOptions(
            f"the text message cannot be read: {place}: {first['msg']}; "
            f"send one JSON object, which may have {', '.join(Said.model_fields)}."
        ) from None  # it has the input in it, and so the key
    return Setup(said.key, said.model, said.version, options_from(said.options), said.request_id)
