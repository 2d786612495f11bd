"""DeepStack's and CodeProject.AI's routes, which Frigate, Blue Iris and Home Assistant speak."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from lookonce.errors import UnsupportedMedia
from lookonce.pipeline.request import Answer, Options
from lookonce.transports.compat.exchange import (
    FORM,
    JSON,
    Asked,
    Desk,
    Json,
    Share,
    documented,
    form_with,
    key_outside,
    media_type_of,
    one_of,
    speaking,
    told,
    wishes_from,
)
from lookonce.transports.http.entrance import turn
from lookonce.transports.models import models_for
from lookonce.transports.posted.bodies import Reading, read_posted
from lookonce.transports.service import Service


def _absent(value: object) -> object:
    return None if value == "" else value


class Form(BaseModel):
    """The fields beside the picture; an empty one says nothing."""

    min_confidence: Annotated[Share | None, BeforeValidator(_absent)] = None
    api_key: str | None = None


def router(service: Service, reading: Reading) -> APIRouter:
    detection = Detection(Desk(service, reading))
    routes = APIRouter(route_class=speaking(wrong), prefix="/v1/vision")
    routes.add_api_route("/detection", detection.by_default, methods=["POST"], operation_id="deepstack", **DETECTING)
    routes.add_api_route("/custom/list", detection.models, methods=["POST"], operation_id="deepstack_models", **LISTING)
    routes.add_api_route(
        "/custom/{model}", detection.by_model, methods=["POST"], operation_id="deepstack_custom", **DETECTING
    )
    return routes


@dataclass(frozen=True, slots=True)
class Detection:
    desk: Desk

    async def by_default(self, request: Request) -> Response:
        """Detect objects with the default model, as DeepStack and CodeProject.AI do."""
        return await self._detect(request, None)

    async def by_model(self, request: Request, model: str) -> Response:
        """Detect objects with a model of one's own choice, as DeepStack and CodeProject.AI do."""
        return await self._detect(request, model)

    async def models(self, request: Request) -> Response:
        """The names that /v1/vision/custom/{model} takes; Blue Iris asks for them."""
        async with turn(request, self.desk.service, key_outside(request)) as caller:
            names = [model.name for model in models_for(caller, self.desk.service.detector.catalogue)]
            return Response(orjson.dumps({"success": True, "models": names}), media_type=JSON)

    async def _detect(self, request: Request, model: str | None) -> Response:
        answer = (await self.desk.answer_key_inside(request, partial(self._read, request, model))).answer
        return told(answer_to_json(answer), answer)

    async def _read(self, request: Request, model: str | None) -> Asked:
        if media_type_of(request) != FORM:
            raise UnsupportedMedia("the picture is taken as the part `image` of a multipart form; send it so.")
        posted = await read_posted(request, self.desk.reading)
        form = wishes_from(Form, posted.fields)
        return Asked(one_of(posted.pictures), Options(confidence=form.min_confidence), model, key=form.api_key)


def answer_to_json(answer: Answer) -> Json:
    """DeepStack's `success` and `predictions`, and what CodeProject.AI adds to them; times in milliseconds."""
    predictions = [
        {
            "label": answer.card.labels[int(class_id)],
            "confidence": score,
            "x_min": round(x1),
            "y_min": round(y1),
            "x_max": round(x2),
            "y_max": round(y2),
        }
        for x1, y1, x2, y2, score, class_id in answer.only().numbers
    ]
    return {
        "success": True,
        "message": f"{len(predictions)} found",
        "count": len(predictions),
        "predictions": predictions,
        "inferenceMs": round(answer.timings_ms.inference),
        "processMs": round(answer.timings_ms.total),
    }


def wrong(sentence: str) -> Json:
    return {"success": False, "error": sentence}


_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_PREDICTION: Final[Json] = {
    "type": "object",
    "required": ["label", "confidence", "x_min", "y_min", "x_max", "y_max"],
    "properties": {
        "label": {"type": "string"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        **dict.fromkeys(("x_min", "y_min", "x_max", "y_max"), _COUNT),
    },
}
_FOUND: Final[Json] = {
    "type": "object",
    "required": ["success", "message", "count", "predictions", "inferenceMs", "processMs"],
    "properties": {
        "success": {"const": True},
        "message": {"type": "string"},
        "count": _COUNT,
        "predictions": {"type": "array", "items": _PREDICTION},
        "inferenceMs": _COUNT,
        "processMs": _COUNT,
    },
}
_NAMES: Final[Json] = {
    "type": "object",
    "required": ["success", "models"],
    "properties": {"success": {"const": True}, "models": {"type": "array", "items": {"type": "string"}}},
}
_FORM: Final = form_with(
    "image", min_confidence={"type": "number", "minimum": 0, "maximum": 1}, api_key={"type": "string"}
)
DETECTING: Final = documented(_FOUND, wrong, requestBody={"required": True, "content": _FORM})
LISTING: Final = documented(_NAMES, wrong)
