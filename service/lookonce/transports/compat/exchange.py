"""One request on another service's route: its key, its body, its answer, and its error in that service's words."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias, TypeVar

import orjson
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from lookonce.access.gate import Caller
from lookonce.errors import InvalidOptions, ServiceError
from lookonce.pipeline import request as pipeline
from lookonce.pipeline.request import Answer, Options, Picture
from lookonce.transports.credentials import key_from_headers, key_from_query, the_one_key
from lookonce.transports.http.bare import Bare
from lookonce.transports.http.documents import ALWAYS, BINARY, REFUSALS, RETRY, SECURITY, refusals
from lookonce.transports.http.entrance import turn
from lookonce.transports.http.gone import unless_gone
from lookonce.transports.http.problems import headers_of
from lookonce.transports.http.rest import note, server_timing
from lookonce.transports.posted.bodies import FRAME_BYTES, Posted, Reading, with_fetched
from lookonce.transports.posted.envelope import Sent, refuse_tangled
from lookonce.transports.posted.multipart import MAX_FIELDS
from lookonce.transports.service import Service
from lookonce.transports.status import code_of, message_of, status_of

JSON, FORM = "application/json", "multipart/form-data"
Json: TypeAlias = dict[str, Any]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Wishes = TypeVar("Wishes", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request turned out to want. `key` is one that stood in its body; `listed`: a list, even of one."""

    pictures: Sequence[Sent]
    options: Options = field(default_factory=Options)
    model: str | None = None
    version: int | None = None
    key: str | None = field(default=None, repr=False)
    is_drawn: bool = False
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """What was asked, the pictures that were looked at, and what was found."""

    asked: Asked
    pictures: Sequence[Picture | ServiceError]
    answer: Answer


Read: TypeAlias = Callable[[], Awaitable[Asked]]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the routes of every service are answered."""

    service: Service
    reading: Reading

    async def answer(self, request: Request, read: Read) -> Looked:
        """Who asks is known before the body is read."""
        key = key_outside(request)
        async with turn(request, self.service, key) as caller:
            self.service.detector.admission.refuse_when_full()
            asked = await read()
            the_one_key(key, asked.key)
            return await self._detect(request, asked, caller)

    async def answer_key_inside(self, request: Request, read: Read) -> Looked:
        """Whoever shows no key outside may have one in the body, which is read first."""
        if key_outside(request) is not None:
            return await self.answer(request, read)
        self.service.life.refuse_when_draining()
        self.service.detector.admission.refuse_when_full()
        async with self.service.requests.room_for(1, patient=False):
            asked = await read()
        async with turn(request, self.service, asked.key) as caller:
            return await self._detect(request, asked, caller)

    async def _detect(self, request: Request, asked: Asked, caller: Caller) -> Looked:
        """What is only named is fetched now, when it is known who asks."""
        pictures = await with_fetched(request, asked.pictures, self.reading.fetcher)
        note(request, Posted(pictures))
        wanted = pipeline.Request(
            pictures=pictures,
            until=self.service.until(None),
            model=asked.model,
            version=asked.version,
            options=asked.options,
            request_id=request.state.request_id,
            traceparent=request.state.traceparent,
        )
        answer = await unless_gone(request, self.service.detect(wanted, caller))
        request.state.facts.update(model=answer.card.name, version=answer.card.version)
        return Looked(asked, pictures, answer)

    @property
    def most_json_bytes(self) -> int:
        """Of one picture as base64, with line breaks, and what stands around it."""
        return self.reading.bounds.max_bytes * 3 // 2 + FRAME_BYTES


def key_outside(request: Request) -> str | None:
    return the_one_key(key_from_headers(request.headers), key_from_query(request.query_params))


def media_type_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def one_of(pictures: Sequence[Picture | ServiceError]) -> Sequence[Picture | ServiceError]:
    """The pictures of a form, on a route that looks at one."""
    if len(pictures) > 1:
        raise InvalidOptions("the form holds several pictures and one is looked at here; send them one by one.")
    return pictures


def told(body: object, answer: Answer) -> Response:
    return Response(orjson.dumps(body), headers={"Server-Timing": server_timing(answer.timings_ms)}, media_type=JSON)


def wishes_from(kind: type[Wishes], given: Mapping[str, object]) -> Wishes:
    """The fields of a form or of a query; what is not known is left alone, as these services do."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _refused(error) from error


def wishes_from_json(kind: type[Wishes], body: bytes) -> Wishes:
    refuse_tangled(body)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refused(error) from error


def _refused(error: ValidationError) -> InvalidOptions:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the body"
    return InvalidOptions(f"{place[:80]}: {first['msg']}; correct it.")


Shape: TypeAlias = Callable[[str], Json]
"""A sentence about what was wrong as a service's clients read it."""


def speaking(shape: Shape) -> type[Bare]:
    """Routes whose errors have that shape, with our status and headers."""

    class Speaking(Bare):
        async def answer(self, request: Request) -> Response:
            try:
                return await super().answer(request)
            except ServiceError as error:
                request.state.facts["code"] = code_of(error)
                body = orjson.dumps(shape(message_of(error)))
                return Response(body, status_of(error).http, headers_of(error), JSON)

    return Speaking


def documented(found: Json, shape: Shape, **extra: object) -> Json:
    """What the OpenAPI document says of a route that answers with `found`, a schema."""
    told_as = {name: {"type": "boolean" if value is False else "string"} for name, value in shape("").items()}
    wrong = in_json({"type": "object", "required": list(told_as), "properties": told_as})
    responses: dict[int | str, Json] = {
        status: {"description": why, "headers": ALWAYS | (RETRY if status in {429, 503} else {}), "content": wrong}
        for status, why in REFUSALS.items()
    }
    good = {"description": "What was found.", "headers": ALWAYS, "content": in_json(found)}
    more = {"security": SECURITY} | extra
    return {"tags": ["compatible"], "responses": {200: good} | responses | refusals(500), "openapi_extra": more}


def in_json(schema: Json) -> Json:
    return {JSON: {"schema": schema}}


def form_with(picture: str, **fields: Json) -> Json:
    """A form with a picture; fields that are not known do no harm there."""
    known = {picture: BINARY} | fields
    named = {"maxProperties": MAX_FIELDS, "propertyNames": {"minLength": 1}}
    return {FORM: {"schema": {"type": "object", "required": [picture], "properties": known} | named}}
