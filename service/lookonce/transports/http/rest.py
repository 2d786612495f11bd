"""Our own REST API: pictures in, detections out, and what is served."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Path
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response

from lookonce.access.gate import Caller
from lookonce.errors import InvalidOptions
from lookonce.pipeline import request as pipeline
from lookonce.pipeline.deadline import in_time
from lookonce.pipeline.request import Answer, Options, Timings
from lookonce.transports.credentials import key_from_headers
from lookonce.transports.http.annotated import IMAGE, STYLES, drawn
from lookonce.transports.http.bare import Bare
from lookonce.transports.http.documents import MODEL, MODELS, detecting
from lookonce.transports.http.entrance import turn
from lookonce.transports.http.gone import unless_gone
from lookonce.transports.models import default_model, facts_of, models_for
from lookonce.transports.options import OPTIONS, Number, options_from, short, unknown_option
from lookonce.transports.posted.bodies import Posted, Reading, read_posted
from lookonce.transports.presets import FORMATS
from lookonce.transports.service import Service

JSON: Final = "application/json"
FIELDS: Final = dict.fromkeys([*(option.name for option in OPTIONS), "format"])
SHORT_ROWS: Final = 300
"""Written in less than a millisecond or two."""
TIMEOUT: Final = "X-Request-Timeout-Ms"
NUMBER: Final[JsonDict] = {"type": "integer", "minimum": 1}
LONGEST_NUMBER: Final = 9
ModelName = Annotated[str, Path(description="A name that GET /v1/models tells.", examples=["shapes"])]
Version = Annotated[str, Path(description="One of the model's versions.", json_schema_extra=NUMBER, examples=[1])]


def router(service: Service, reading: Reading) -> APIRouter:
    routes, detection, listing = APIRouter(route_class=Bare), Detection(service, reading), Listing(service)
    longest_ms, most = service.patience.max_request_s * 1e3, reading.bounds.max_images
    said = detecting(max_request_ms=longest_ms, max_images=most)
    for path, name, detect in (
        ("/v1/detect", "detect", detection.by_default),
        ("/v1/models/{model}/detect", "detect_with_model", detection.by_model),
        ("/v1/models/{model}/versions/{version}/detect", "detect_with_version", detection.by_version),
    ):
        routes.add_api_route(path, detect, methods=["POST"], operation_id=name, name=name, **said)
    routes.add_api_route("/v1/models", listing.all, operation_id="models", name="models", **MODELS)
    routes.add_api_route("/v1/models/{model}", listing.one, operation_id="model", name="model", **MODEL)
    return routes


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked beside the pictures."""

    options: Options = field(default_factory=Options)
    style: str = "json"


@dataclass(frozen=True, slots=True)
class Detection:
    service: Service
    reading: Reading

    async def by_default(self, request: Request) -> Response:
        """Detect objects with the default model."""
        return await self._detect(request)

    async def by_model(self, request: Request, model: ModelName) -> Response:
        """Detect objects with a model's default version."""
        return await self._detect(request, model)

    async def by_version(self, request: Request, model: ModelName, version: Version) -> Response:
        """Detect objects with one version of a model."""
        return await self._detect(request, model, version_from(version))

    async def _detect(self, request: Request, model: str | None = None, version: int | None = None) -> Response:
        """What can be refused is refused before the body is read."""
        async with turn(request, self.service, key_from_headers(request.headers)) as caller:
            self._refuse_early(caller, model, version)
            asked = fields_of(request)
            wish = wish_from(asked)
            until = self._until(request)
            async with in_time(until):
                posted = await read_posted(request, self.reading)
            note(request, posted)
            if posted.fields:
                wish = wish_from(joined(asked, posted.fields))
            wanted = pipeline.Request(
                pictures=posted.pictures,
                until=self.service.until(None) if until is None else until,
                model=model,
                version=version,
                options=wish.options,
                request_id=request.state.request_id,
                traceparent=request.state.traceparent,
            )
            return await unless_gone(request, self._answer(request, wanted, wish.style, caller))

    def _refuse_early(self, caller: Caller, model: str | None, version: int | None) -> None:
        self.service.detector.admission.refuse_when_full()
        served = self.service.detector.catalogue.model(model)
        served.card(version)
        caller.refuse_model(served.name)

    async def _answer(self, request: Request, wanted: pipeline.Request, style: str, caller: Caller) -> Response:
        if style == IMAGE and len(wanted.pictures) > 1:
            raise InvalidOptions("format: image draws one picture; send one, or ask for json.")
        answer = await self.service.detect(wanted, caller)
        request.state.facts.update(model=answer.card.name, version=answer.card.version)
        body, media_type = await self._written(answer, style, wanted, request.headers.get("accept", ""))
        return Response(body, headers={"Server-Timing": server_timing(answer.timings_ms)}, media_type=media_type)

    async def _written(self, answer: Answer, style: str, wanted: pipeline.Request, accepted: str) -> tuple[bytes, str]:
        """A short answer is written at once; a long one, or a picture, on a thread."""
        if style != IMAGE and answer.rows <= SHORT_ROWS:
            return written(answer, style, wanted.request_id), JSON
        run = self.service.detector.workers.run
        async with in_time(wanted.until):
            if style == IMAGE:
                return await run(drawn, *wanted.pictures, answer.only(), answer.card.labels, accepted)
            return await run(written, answer, style, wanted.request_id), JSON

    def _until(self, request: Request) -> float | None:
        """A time that the caller names counts from its arrival; the one of the settings from when its body has come."""
        named = request.headers.get(TIMEOUT)
        if named is None:
            return None
        try:
            timeout_ms = Number(0, 1e9).read(named)
        except ValueError as error:
            raise InvalidOptions(f"{TIMEOUT}: {named[:50]} is no number of milliseconds; correct it.") from error
        return self.service.until(timeout_ms / 1e3)


@dataclass(frozen=True, slots=True)
class Listing:
    service: Service

    async def all(self, request: Request) -> Response:
        """The models that are served."""
        async with turn(request, self.service, key_from_headers(request.headers)) as caller:
            catalogue = self.service.detector.catalogue
            models = [facts_of(model) for model in models_for(caller, catalogue)]
            return Response(orjson.dumps({"default": default_model(catalogue), "models": models}), media_type=JSON)

    async def one(self, request: Request, model: ModelName) -> Response:
        """One model: its versions, labels, size and thresholds."""
        async with turn(request, self.service, key_from_headers(request.headers)) as caller:
            served = self.service.detector.catalogue.model(model)
            caller.refuse_model(served.name)
            return Response(orjson.dumps(facts_of(served)), media_type=JSON)


def version_from(said: str) -> int:
    if not said.isascii() or not said.isdecimal() or len(said) > LONGEST_NUMBER or not int(said):
        raise InvalidOptions(f"version: {short(said)} is no whole number above 0; correct it.")
    return int(said)


def fields_of(request: Request) -> dict[str, object]:
    """The query, in which each name may stand once."""
    if not request.scope["query_string"]:
        return {}
    fields: dict[str, object] = {}
    for name, value in request.query_params.multi_items():
        if name in fields:
            raise twice(name)
        fields[name] = value
    return fields


def joined(query: Mapping[str, object], posted: Mapping[str, object]) -> dict[str, object]:
    for name in sorted(query.keys() & posted.keys()):
        raise twice(name)
    return {**query, **posted}


def twice(name: str) -> InvalidOptions:
    how = ", with commas between" if name == "classes" else ""
    return InvalidOptions(f"{name[:50]}: it is given twice; give it once{how}.")


def wish_from(fields: Mapping[str, object]) -> Wish:
    for name in fields:
        if name not in FIELDS:
            raise unknown_option(name, FIELDS)
    style = fields.get("format", "json")
    if style not in STYLES:
        raise InvalidOptions(f"format: {short(style)} is none of {', '.join(STYLES)}; choose one of them.")
    return Wish(options_from({name: value for name, value in fields.items() if name != "format"}), str(style))


def note(request: Request, posted: Posted) -> None:
    """For the line in the log."""
    sizes = [len(picture) for picture in posted.pictures if not isinstance(picture, Exception)]
    request.state.facts.update(images=len(posted.pictures), bytes=sum(sizes))


def written(answer: Answer, style: str, request_id: str) -> bytes:
    return orjson.dumps(FORMATS[style](answer, request_id))


def server_timing(timings_ms: Timings) -> str:
    return ", ".join(f"{stage};dur={getattr(timings_ms, stage):.3f}" for stage in Timings.__slots__)
