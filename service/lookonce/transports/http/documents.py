"""What the OpenAPI document says of each route, beside what FastAPI reads from its function."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.applications import Starlette
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from lookonce.transports.http.annotated import JPEG, PNG, STYLES
from lookonce.transports.http.schemas import PUBLISHED
from lookonce.transports.options import OPTIONS

Json = dict[str, Any]
REF: Final = "#/components/schemas/{model}"
PICTURES: Final = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif")
SQUARE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAIAAAABgAQMAAADvtOgKAAAABlBMVEXmtCgeHigS93EKAAAAKElEQVR42mP8z4AKmBhGBUYFUAUeMjIyCoyGx6gAEQKMowXK"
    "qAACAADVrAOx1kwHewAAAABJRU5ErkJggg=="
)
"""A PNG file: a yellow square on a dark ground."""
BINARY: Final[Json] = {"type": "string", "contentMediaType": "application/octet-stream"}
DESCRIPTION: Final = (
    "YOLO object detection. Send a picture to `/v1/detect` as the body itself, several as a form or as JSON:\n\n"
    "    curl --data-binary @picture.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8080/v1/detect\n\n"
    "Every error is an RFC 9457 problem with a stable `code` and the `request_id` that the log knows."
)
REFUSALS: Final = {
    401: "No key, or a wrong one.",
    403: "The key is not for this model, or the page that asks is not allowed to.",
    404: "There is no such model or version.",
    408: "The body came too slowly.",
    413: "The body or an image is too large, or there are too many.",
    415: "The body is of no kind that is taken.",
    422: "An image that cannot be read, or an option that is unknown or out of range.",
    429: "Too much at once, or more than the key allows. Try again after `Retry-After` seconds.",
    500: "A bug on our side.",
    502: "The model does not answer as it should.",
    503: "The model cannot be reached, or this gateway is shutting down. Try again after `Retry-After` seconds.",
    504: "The request's time was over before it was answered.",
}
EXAMPLE: Final[Json] = {
    "request_id": "8c211c2c68322612",
    "model": {
        "name": "shapes",
        "version": 1,
        "digest": "6ff277fd557e3e2eff319eb19aa4268924476f93c88e4707df98b4bc6edc8d77",
    },
    "image": {"width": 128, "height": 96},
    "detections": [
        {
            "box": {"x1": 34.38, "y1": 32.08, "x2": 68.18, "y2": 65.63},
            "confidence": 0.9745,
            "class_id": 1,
            "label": "square",
        }
    ],
    "timings_ms": {"decode": 0.235, "letterbox": 0.479, "inference": 59.759, "nms": 0.54, "total": 61.234},
}
"""What the sample model says of the square."""
PROBLEM_EXAMPLE: Final[Json] = {
    "type": "urn:lookonce:invalid-options",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "confidence: 2 is not a number from 0 to 1; correct it.",
    "code": "invalid-options",
    "request_id": "34de521288a5ea27",
}


def ref(name: str) -> Json:
    return {"$ref": REF.format(model=name)}


def header(description: str, **schema: object) -> Json:
    return {"description": description, "schema": schema}


ALWAYS: Final = {"X-Request-Id": header("The caller's own, or a new one.", type="string")}
RETRY: Final = {"Retry-After": header("Seconds.", type="integer", minimum=0)}


def refusals(*statuses: int) -> dict[int | str, Json]:
    """The errors of a route."""
    return {
        status: {
            "description": REFUSALS[status],
            "headers": ALWAYS | (RETRY if status in {429, 503} else {}),
            "content": {"application/problem+json": {"schema": ref("Problem")} | _example_of(status)},
        }
        for status in statuses
    }


def _example_of(status: int) -> Json:
    same = PROBLEM_EXAMPLE["status"] == status
    return {"examples": {"problem": {"summary": "An option out of range", "value": PROBLEM_EXAMPLE}}} if same else {}


def answers(description: str, name: str) -> Json:
    return {"description": description, "headers": ALWAYS, "content": {"application/json": {"schema": ref(name)}}}


def _style_schema() -> Json:
    return {"type": "string", "enum": list(STYLES), "default": "json"}


def _option_schemas() -> Json:
    """The options as members of a form or of JSON."""
    schemas: Json = {option.name: option.schema | {"description": option.description} for option in OPTIONS}
    return schemas | {"format": _style_schema() | {"description": STYLE}}


STYLE: Final = (
    "The shape of the answer: ours; the picture with its detections drawn onto it (PNG where Accept asks for that "
    "alone); or another service's."
)


def _parameters(max_request_ms: float) -> list[Json]:
    options = [(option.name, option.schema, option.description) for option in OPTIONS]
    query = [
        {"name": name, "in": "query", "schema": schema, "description": description}
        | ({"style": "form", "explode": False} if schema["type"] == "array" else {})
        for name, schema, description in [*options, ("format", _style_schema(), STYLE)]
    ]
    timeout: Json = {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": max_request_ms, "examples": [2000]},
        "description": "How long the request may take. When not given, the gateway's own limit.",
    }
    request_id = {
        "name": "X-Request-Id",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Given back, and logged, if it is 1 to 128 of A-Z a-z 0-9 _ . : -; else there is a new one.",
    }
    trace = {"name": "traceparent", "in": "header", "schema": {"type": "string"}, "description": "W3C trace context."}
    return [*query, timeout, request_id, trace]


def _json_body(max_images: int) -> Json:
    def one(name: str, description: str) -> Json:
        member = {"type": "string", "minLength": 1, "description": description}
        return {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: member}}

    by_content = one("base64", "An image file; a data: URL is taken too.")
    by_url = one("url", "Where the image file lies; fetched if the gateway's settings allow that host.")
    images = {"type": "array", "minItems": 1, "maxItems": max_images, "items": {"oneOf": [by_content, by_url]}}
    options = {"type": "object", "additionalProperties": False, "properties": _option_schemas()}
    return {
        "type": "object",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {"images": images, "options": options},
    }


def _body(max_images: int) -> Json:
    files = {"type": "array", "minItems": 1, "maxItems": max_images, "items": BINARY, "description": "One part each."}
    form = {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {"file": files} | _option_schemas(),
    }
    example = {"images": [{"base64": SQUARE}], "options": {"confidence": 0.4, "classes": ["square"]}}
    pictures: Json = {media_type: {"schema": BINARY} for media_type in PICTURES}
    return {
        "required": True,
        "content": pictures
        | {"multipart/form-data": {"schema": form}}
        | {"application/json": {"schema": _json_body(max_images), "examples": {"base64": {"value": example}}}},
    }


def _several(example: Json) -> Json:
    """The example as one of two pictures, of which the other could not be read."""
    shared = {name: example[name] for name in ("request_id", "model", "timings_ms")}
    one = {name: example[name] for name in ("image", "detections")}
    problem = PROBLEM_EXAMPLE | {
        "type": "urn:lookonce:invalid-image",
        "detail": "the picture is cut short; send the whole file.",
        "code": "invalid-image",
        "request_id": example["request_id"],
    }
    return shared | {"results": [one, {"error": problem}]}


def _found() -> Json:
    timing = header("Milliseconds of each stage.", type="string", examples=["decode;dur=1.204, total;dur=11.731"])
    examples = {
        "one": {"summary": "One image", "value": EXAMPLE},
        "several": {"summary": "Two images, of which one is bad", "value": _several(EXAMPLE)},
    }
    in_json = {"schema": ref("Detections"), "examples": examples}
    return {
        "description": "What was found. Of several images a bad one is an error in its place.",
        "headers": ALWAYS | {"Server-Timing": timing},
        "content": {"application/json": in_json, JPEG: {"schema": BINARY}, PNG: {"schema": BINARY}},
    }


SECURITY: Final[list[Json]] = [{}, {"bearer": []}, {"apiKey": []}]


def detecting(*, max_request_ms: float, max_images: int) -> Json:
    """What a route that detects says of itself."""
    asks = {"parameters": _parameters(max_request_ms), "requestBody": _body(max_images), "security": SECURITY}
    return {"tags": ["detection"], "responses": {200: _found()} | refusals(*REFUSALS), "openapi_extra": asks}


LISTING_REFUSALS: Final = (401, 429, 500, 503)
MODELS: Final[Json] = {
    "tags": ["models"],
    "responses": {200: answers("The models.", "Models")} | refusals(*LISTING_REFUSALS),
    "openapi_extra": {"security": SECURITY},
}
MODEL: Final[Json] = {
    "tags": ["models"],
    "responses": {200: answers("The model.", "Model")} | refusals(403, 404, *LISTING_REFUSALS),
    "openapi_extra": {"security": SECURITY},
}
LIVE: Final[Json] = {"tags": ["probes"], "responses": {200: answers("The process is alive.", "Live")}}
READY: Final[Json] = {
    "tags": ["probes"],
    "responses": {200: answers("Requests may be sent.", "Ready"), 503: answers("Not now, and why.", "Ready")},
}


class Documented(FastAPI):
    """FastAPI, whose document also holds the bodies that no route function declares, and whose rim is ours."""

    def build_middleware_stack(self) -> ASGIApp:
        """Ours alone: of limits, error pages and what is injected into functions FastAPI brings more than we use."""
        app: ASGIApp = Router(self.routes, redirect_slashes=False)
        for layer, args, options in reversed(self.user_middleware):
            app = layer(app, *args, **options)
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Starlette.__call__(self, scope, receive, send)

    def openapi(self) -> Json:
        if self.openapi_schema is None:
            self.openapi_schema = document(self)
        return self.openapi_schema


def document(app: FastAPI) -> Json:
    drawn = get_openapi(title="LookOnce", version=version("lookonce"), description=DESCRIPTION, routes=app.routes)
    _, ours = models_json_schema([(model, "validation") for model in PUBLISHED], ref_template=REF)
    components = drawn.setdefault("components", {})
    components["schemas"] = _without_validation_errors(drawn) | ours["$defs"]
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    return drawn


def _without_validation_errors(drawn: Json) -> Json:
    """The schemas, less those of answers that FastAPI adds by itself and that ours never give."""
    for operation in (operation for methods in drawn["paths"].values() for operation in methods.values()):
        added = operation["responses"].get("422", {}).get("content", {}).get("application/json", {}).get("schema")
        if added == ref("HTTPValidationError"):
            del operation["responses"]["422"]
    schemas: Json = drawn["components"].get("schemas", {})
    return {name: schema for name, schema in schemas.items() if name not in {"HTTPValidationError", "ValidationError"}}
