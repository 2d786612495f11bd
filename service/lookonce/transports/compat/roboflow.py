"""Roboflow's inference server: the base URL for `inference-sdk` in its v0 and v1 modes."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Final, TypeVar, cast
from uuid import NAMESPACE_URL, uuid5

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lookonce.card import Card
from lookonce.errors import ServiceError, UnknownModel
from lookonce.inference.port import ServedModel
from lookonce.pipeline.detector import Detector
from lookonce.pipeline.request import Answer, Picture
from lookonce.transports.compat.exchange import (
    FORM,
    JSON,
    Asked,
    Desk,
    Json,
    Looked,
    documented,
    form_with,
    in_json,
    key_outside,
    media_type_of,
    one_of,
    speaking,
    told,
    wishes_from,
    wishes_from_json,
)
from lookonce.transports.compat.roboflow_wishes import Addition, Body, ModelId, Query
from lookonce.transports.credentials import the_one_key
from lookonce.transports.http.annotated import JPEG, PNG, drawn
from lookonce.transports.http.documents import BINARY, ref
from lookonce.transports.http.entrance import turn
from lookonce.transports.models import models_for
from lookonce.transports.posted.bodies import MAX_JSON_BYTES, Reading, read_posted, read_whole
from lookonce.transports.posted.envelope import Link, Sent, base64_to_bytes
from lookonce.transports.posted.multipart import MAX_FIELD_BYTES
from lookonce.transports.presets import roboflow
from lookonce.transports.service import Service

T = TypeVar("T")
OWN_PATHS: Final = {"infer", "model", "workflows"}
"""What Roboflow's own server has there is no model's name."""


def router(service: Service, reading: Reading) -> APIRouter:
    desk = Desk(service, reading)
    registry, detection = Registry(service, reading), Detection(desk)
    routes = APIRouter(route_class=speaking(wrong), prefix="/compat/roboflow")
    for path, method, endpoint, name, document in (
        ("/info", "GET", registry.info, "info", INFO),
        ("/model/registry", "GET", registry.all, "registry", REGISTRY),
        ("/model/add", "POST", registry.add, "add", ADDING),
        ("/infer/object_detection", "POST", detection.by_body, "v1", DETECTING_V1),
        ("/{dataset}/{version}", "POST", detection.by_path, "v0", DETECTING_V0),
    ):
        routes.add_api_route(path, endpoint, methods=[method], operation_id=f"roboflow_{name}", **document)
    return routes


@dataclass(frozen=True, slots=True)
class Registry:
    service: Service
    reading: Reading

    async def info(self, _request: Request) -> Response:
        """Who serves, as Roboflow's inference server says it; the client shows no key here."""
        uuid = str(uuid5(NAMESPACE_URL, "lookonce"))
        return Response(
            orjson.dumps({"name": "LookOnce", "version": version("lookonce"), "uuid": uuid}), media_type=JSON
        )

    async def all(self, request: Request) -> Response:
        """Every version that is served."""
        async with turn(request, self.service, key_outside(request)) as caller:
            models = models_for(caller, self.service.detector.catalogue)
            return Response(orjson.dumps({"models": listed(models)}), media_type=JSON)

    async def add(self, request: Request) -> Response:
        """Nothing is loaded on demand here: a model is served already, or it is not there."""
        sent = wishes_from_json(Addition, await read_whole(request, MAX_FIELD_BYTES, self.reading.body_s))
        async with turn(request, self.service, the_one_key(key_outside(request), sent.api_key)) as caller:
            wanted = ModelId.read(sent.model_id)
            model = self.service.detector.catalogue.model(wanted.name)
            caller.refuse_model(model.name)
            described = description(model.card(wanted.version), sent.model_id)
            return Response(orjson.dumps({"models": [described]}), media_type=JSON)


@dataclass(frozen=True, slots=True)
class Detection:
    desk: Desk

    async def by_body(self, request: Request) -> Response:
        """Detect objects as v1 of Roboflow's inference server does."""
        looked = await self.desk.answer_key_inside(request, partial(self._read_body, request))
        results = shaped(looked.answer, request.state.request_id)
        if looked.asked.is_drawn:
            results = await self._run(visualized, results, looked)
        return told(results if looked.asked.listed else results[0], looked.answer)

    async def by_path(self, request: Request, dataset: str, version: str) -> Response:
        """Detect objects as v0 of Roboflow's inference server and its hosted service do."""
        if dataset in OWN_PATHS:
            raise UnknownModel(
                f"{request.url.path} is not offered here; object detection is, at /infer/object_detection."
            )
        query = wishes_from(Query, dict(request.query_params))
        read = partial(self._read_picture, request, query, ModelId.read(f"{dataset}/{version}"))
        looked = await self.desk.answer(request, read)
        answer = looked.answer
        if query.format == "image":
            picture, media_type = await self._run(drawn, *looked.pictures, answer.only(), answer.card.labels)
            return Response(picture, media_type=media_type)
        (result,) = shaped(answer, request.state.request_id)
        if query.format == "image_and_json":
            (result,) = await self._run(visualized, [result], looked)
        return told(result, answer)

    async def _read_body(self, request: Request) -> Asked:
        reading, one = self.desk.reading, self.desk.most_json_bytes
        most_bytes = min(one * reading.bounds.max_images, max(one, MAX_JSON_BYTES))
        body = await read_whole(request, most_bytes, reading.body_s)
        sent, pictures = await asyncio.to_thread(_parsed, body, self.desk.service.detector)
        wanted = ModelId.read(sent.model_id)
        return Asked(
            pictures,
            sent.options,
            wanted.name,
            wanted.version,
            key=sent.api_key,
            is_drawn=sent.visualize_predictions,
            listed=isinstance(sent.image, list),
        )

    async def _read_picture(self, request: Request, query: Query, wanted: ModelId) -> Asked:
        pictures = await self._posted(request) if query.image is None else [Link(query.image, "image")]
        return Asked(pictures, query.options, wanted.name, wanted.version)

    async def _posted(self, request: Request) -> Sequence[Picture | ServiceError]:
        """A form, or base64 whatever the Content-Type says: the SDK calls it JSON and curl a form."""
        reading = self.desk.reading
        if media_type_of(request) == FORM:
            return one_of((await read_posted(request, reading)).pictures)
        body = await read_whole(request, self.desk.most_json_bytes, reading.body_s)
        return [await asyncio.to_thread(base64_to_bytes, body.decode("latin-1"), reading.bounds.max_bytes)]

    async def _run(self, work: Callable[..., T], *given: object) -> T:
        return await self.desk.service.detector.workers.run(work, *given)


def _parsed(body: bytes, detector: Detector) -> tuple[Body, list[Sent]]:
    sent = wishes_from_json(Body, body)
    detector.refuse_too_many(len(sent.images))
    return sent, list(sent.pictures(detector.bounds.max_bytes))


def shaped(answer: Answer, request_id: str) -> list[Json]:
    results = roboflow(answer, request_id)
    return results if isinstance(results, list) else [cast("Json", results)]


def visualized(results: Sequence[Json], looked: Looked) -> list[Json]:
    """Each result with its picture, boxes drawn onto it, as a JPEG in base64."""
    labels = looked.answer.card.labels
    return [
        result
        if isinstance(picture, ServiceError) or isinstance(seen, ServiceError)
        else result | {"visualization": b64encode(drawn(picture, seen, labels)[0]).decode()}
        for result, picture, seen in zip(results, looked.pictures, looked.answer.results, strict=True)
    ]


def listed(models: Iterable[ServedModel]) -> list[Json]:
    cards = [card for model in models for card in model.cards.values()]
    return [description(card, f"{card.name}/{card.version}") for card in cards]


def description(card: Card, model_id: str) -> Json:
    return {
        "model_id": model_id,
        "task_type": "object-detection",
        "batch_size": card.max_batch,
        "input_width": card.geometry.width,
        "input_height": card.geometry.height,
    }


def wrong(sentence: str) -> Json:
    return {"message": sentence}


def _object(required: tuple[str, ...] = (), **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _body(schema: Json) -> Json:
    return {"required": True, "content": in_json(schema)}


def _query(name: str, **schema: object) -> Json:
    return {"name": name, "in": "query", "schema": schema}


_TEXT: Final[Json] = {"type": "string"}
_FLAG: Final[Json] = {"type": "boolean"}
_SHARE: Final[Json] = {"type": "number", "minimum": 0, "maximum": 1}
_MOST: Final[Json] = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 300}
_WORDS: Final[Json] = {"type": "string", "enum": ["best", "default"]}
_MODELS: Final = _object(("models",), models=_list(_object(("model_id", "task_type"), model_id=_TEXT, task_type=_TEXT)))
_IMAGE: Final = _object(("type", "value"), type={"type": "string", "enum": ["base64", "url"]}, value=_TEXT)
_BODY: Final = _object(
    ("model_id", "image"),
    model_id=_TEXT,
    image={"anyOf": [_IMAGE, _list(_IMAGE) | {"minItems": 1}]},
    api_key=_TEXT,
    confidence={"anyOf": [_SHARE, _WORDS]},
    iou_threshold=_SHARE,
    max_detections=_MOST,
    class_agnostic_nms=_FLAG,
    class_filter=_list(_TEXT),
    visualize_predictions=_FLAG,
)
_PERCENT: Final = {"type": "number", "minimum": 0, "maximum": 100}
_PARAMETERS: Final = [
    _query("api_key", **_TEXT),
    _query("image", **_TEXT, description="Where the picture is, instead of in the body."),
    _query("format", type="string", enum=["json", "image", "image_and_json"], default="json"),
    _query("confidence", anyOf=[_PERCENT, _WORDS], description="A percentage from 1 on, a share below."),
    _query("overlap", **_PERCENT, description="A percentage from 1 on, a share below."),
    _query("max_detections", **_MOST),
    _query("class_agnostic_nms", **_FLAG),
    _query("classes", **_TEXT, description="With commas between."),
]
_BASE64: Final[Json] = {"type": "string", "contentEncoding": "base64"}
_TEXTS: Final[Json] = {"text/plain": {"schema": _BASE64}, JSON: {"schema": _BASE64}}
_PICTURE: Final[Json] = {"required": True, "content": _TEXTS | form_with("file")}
_RESULT: Final = _object(
    ("inference_id", "time", "image", "predictions"),
    inference_id=_TEXT,
    time={"type": "number", "minimum": 0, "description": "Seconds."},
    image=ref("Size"),
    predictions=_list(ref("RoboflowRow")),
    visualization=_BASE64 | {"description": "The picture with its boxes drawn onto it, where that was asked for."},
)
INFO: Final = documented(_object(("name", "version", "uuid"), name=_TEXT, version=_TEXT, uuid=_TEXT), wrong)
REGISTRY: Final = documented(_MODELS, wrong, parameters=[_query("api_key", **_TEXT)])
ADDING: Final = documented(_MODELS, wrong, requestBody=_body(_object(("model_id",), model_id=_TEXT, api_key=_TEXT)))
DETECTING_V1: Final = documented(
    {"anyOf": [_RESULT, _list({"anyOf": [_RESULT, ref("Failed")]})]}, wrong, requestBody=_body(_BODY)
)
DETECTING_V0: Final = documented(_RESULT, wrong, parameters=_PARAMETERS, requestBody=_PICTURE)
DETECTING_V0["responses"][200]["content"] |= {JPEG: {"schema": BINARY}, PNG: {"schema": BINARY}}
