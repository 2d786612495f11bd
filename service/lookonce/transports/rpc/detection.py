"""`lookonce.v1.Detection`: pictures in, boxes out."""

from typing import Final, TypeAlias

from lookonce.pipeline.request import Request
from lookonce.transports.models import default_model, models_for
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.rpc.calls import Calls, Handler, Visit
from lookonce.transports.rpc.frames import detect_stream
from lookonce.transports.rpc.messages import answer_message, models_message, options_of, version_of
from lookonce.transports.service import Service

NAME: Final = "lookonce.v1.Detection"
Detecting: TypeAlias = Visit[wire.DetectRequest, wire.DetectResponse]
Listing: TypeAlias = Visit[wire.ListModelsRequest, wire.ListModelsResponse]


def handlers(service: Service, *, tells: bool) -> dict[str, Handler]:
    calls = Calls(service, service.gate, service.requests, tells)
    streams = Calls(service, service.gate, service.streams, tells)
    return {
        "Detect": calls.unary("Detect", wire.DetectRequest, detect),
        "DetectStream": streams.stream("DetectStream", wire.DetectStreamRequest, detect_stream),
        "ListModels": calls.unary("ListModels", wire.ListModelsRequest, list_models),
    }


async def detect(visit: Detecting) -> wire.DetectResponse:
    """What can be refused is refused before the pictures are taken."""
    visit.service.detector.admission.refuse_when_full()
    asked = await visit.only()
    size_bytes = sum(map(len, asked.images))
    visit.facts.update(images=len(asked.images), bytes=size_bytes)
    with visit.service.scales.load() as load:
        load.add(size_bytes)
        return await _answer(visit, asked)


async def _answer(visit: Detecting, asked: wire.DetectRequest) -> wire.DetectResponse:
    request = Request(
        pictures=asked.images,
        until=visit.until(),
        model=asked.model or None,
        version=version_of(asked),
        options=options_of(asked.options),
        request_id=visit.request_id,
        traceparent=visit.traceparent,
    )
    answer = await visit.service.detect(request, visit.caller)
    visit.facts.update(model=answer.card.name, version=answer.card.version)
    if len(answer.results) == 1:
        answer.only()
    return answer_message(answer, visit.request_id)


async def list_models(visit: Listing) -> wire.ListModelsResponse:
    await visit.only()
    catalogue = visit.service.detector.catalogue
    return models_message(default_model(catalogue), models_for(visit.caller, catalogue))
