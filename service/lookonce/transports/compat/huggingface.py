"""Hugging Face's object detection task: the whole of a model's URL for its `InferenceClient`."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from lookonce.errors import InvalidImage
from lookonce.pipeline.request import Options
from lookonce.transports.compat.exchange import (
    JSON,
    Asked,
    Desk,
    Json,
    Share,
    documented,
    in_json,
    media_type_of,
    speaking,
    told,
    wishes_from_json,
)
from lookonce.transports.http.documents import BINARY, ref
from lookonce.transports.posted.bodies import Reading, read_whole
from lookonce.transports.posted.envelope import base64_to_bytes
from lookonce.transports.presets import huggingface
from lookonce.transports.service import Service


class Parameters(BaseModel):
    threshold: Share | None = None


class Body(BaseModel):
    inputs: str
    parameters: Parameters | None = None


def router(service: Service, reading: Reading) -> APIRouter:
    detection = Detection(Desk(service, reading))
    routes = APIRouter(route_class=speaking(wrong))
    path = "/compat/huggingface/{model}"
    routes.add_api_route(path, detection.by_model, methods=["POST"], operation_id="huggingface", **DETECTING)
    return routes


@dataclass(frozen=True, slots=True)
class Detection:
    desk: Desk

    async def by_model(self, request: Request, model: str) -> Response:
        """Detect objects as Hugging Face's inference endpoints do."""
        answer = (await self.desk.answer(request, partial(self._read, request, model))).answer
        return told(huggingface(answer, request.state.request_id), answer)

    async def _read(self, request: Request, model: str) -> Asked:
        """The client sends bytes under no media type, a file under its own, and either with parameters as JSON."""
        bounds, body_s = self.desk.reading.bounds, self.desk.reading.body_s
        if media_type_of(request) == JSON:
            body = await read_whole(request, self.desk.most_json_bytes, body_s)
            return await asyncio.to_thread(_asked, body, model, bounds.max_bytes)
        picture = await read_whole(request, bounds.max_bytes, body_s)
        if not picture:
            raise InvalidImage("the body is empty; send the picture's bytes in it.")
        return Asked([picture], model=model)


def _asked(body: bytes, model: str, max_bytes: int) -> Asked:
    sent = wishes_from_json(Body, body)
    threshold = sent.parameters.threshold if sent.parameters else None
    return Asked([base64_to_bytes(sent.inputs, max_bytes)], Options(confidence=threshold), model)


def wrong(sentence: str) -> Json:
    return {"error": sentence}


_PARAMETERS: Final[Json] = {
    "type": "object",
    "properties": {"threshold": {"type": "number", "minimum": 0, "maximum": 1}},
}
_JSON: Final[Json] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "inputs": {"type": "string", "contentEncoding": "base64", "description": "The picture's bytes."},
        "parameters": _PARAMETERS,
    },
}
_BODY: Final[Json] = {
    "required": True,
    "content": {"image/*": {"schema": BINARY}} | in_json(_JSON),
}
DETECTING: Final = documented({"type": "array", "items": ref("HuggingFaceRow")}, wrong, requestBody=_BODY)
