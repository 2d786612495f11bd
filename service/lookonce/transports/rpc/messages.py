"""The messages of gRPC as the pipeline has them, and back."""

from collections.abc import Iterable

from lookonce.card import Card
from lookonce.inference.port import ServedModel
from lookonce.pipeline.request import Answer, Options, Seen, Timings
from lookonce.transports.options import MOST_CLASSES, options_from
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.status import code_of, message_of


def options_of(sent: wire.Options) -> Options:
    """Raises InvalidOptions, in the same words as every other transport."""
    fields = {field.name: value for field, value in sent.ListFields()}
    return options_from(fields | ({"classes": list(sent.classes[: MOST_CLASSES + 1])} if sent.classes else {}))


def version_of(sent: wire.DetectRequest | wire.StreamSetup) -> int | None:
    return sent.version if sent.HasField("version") else None


def answer_message(answer: Answer, request_id: str) -> wire.DetectResponse:
    return wire.DetectResponse(
        request_id=request_id,
        model=model_message(answer.card),
        results=[result_message(result, answer.card) for result in answer.results],
        timings_ms=timings_message(answer.timings_ms),
    )


def result_message(result: Seen | Exception, card: Card) -> wire.Result:
    if isinstance(result, Exception):
        return error_message(result)
    width, height = result.size_wh
    message = wire.Result(image=wire.Size(width=width, height=height))
    for numbers in result.numbers:
        _fill(message.detections.add(), numbers, card)
    return message


def error_message(error: Exception) -> wire.Result:
    return wire.Result(error=wire.Error(code=code_of(error), detail=message_of(error)))


def model_message(card: Card) -> wire.ModelUsed:
    return wire.ModelUsed(name=card.name, version=card.version, digest=card.served_sha256)


def timings_message(timings: Timings) -> wire.Timings:
    return wire.Timings(**{stage: round(getattr(timings, stage), 3) for stage in timings.__slots__})


def models_message(default: str | None, models: Iterable[ServedModel]) -> wire.ListModelsResponse:
    return wire.ListModelsResponse(default=default, models=[_model(model) for model in models])


def _fill(found: wire.DetectedObject, numbers: list[float], card: Card) -> None:
    """Field by field, for that takes half as long as making a box and an object and copying both."""
    box = found.box
    box.x1, box.y1, box.x2, box.y2, found.confidence, class_id = numbers
    found.class_id = int(class_id)
    found.label = card.labels[found.class_id]


def _model(model: ServedModel) -> wire.Model:
    versions = [_version(model.cards[version]) for version in sorted(model.cards)]
    return wire.Model(name=model.name, default_version=model.default_version, versions=versions)


def _version(card: Card) -> wire.Version:
    return wire.Version(
        version=card.version,
        digest=card.served_sha256,
        size=wire.Size(width=card.geometry.width, height=card.geometry.height),
        labels=card.labels,
        thresholds=wire.Thresholds(confidence=card.confidence, iou=card.iou),
        precision=card.precision,
        max_batch=card.max_batch,
        created=card.created,
    )
