"""The answer in our own shape and in those of other services and tools, so that code written for them goes on working.

One picture is answered by itself, or by its error. Several are answered in their order, a bad one by `{"error": …}` in
its place: under `results` in our own shape, in a list of what each alone would get elsewhere. COCO's list is flat and
tells the pictures apart by `image_id`, their place in the request. Boxes are in pixels, or in shares of the picture's
sides where `normalized` was asked for, in every shape alike.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeVar
from uuid import NAMESPACE_OID, uuid5

from lookonce.errors import ServiceError
from lookonce.pipeline.request import Answer, Seen, Timings
from lookonce.transports.status import problem

T = TypeVar("T")
Json: TypeAlias = dict[str, object]
Labels: TypeAlias = tuple[str, ...]
Shape: TypeAlias = Callable[[Answer, str], object]


def native(answer: Answer, request_id: str) -> Json:
    """Our own; several pictures stand under `results`."""
    card = answer.card
    model = {"name": card.name, "version": card.version, "digest": card.served_sha256}
    spent_ms = {stage: round(getattr(answer.timings_ms, stage), 3) for stage in Timings.__slots__}
    results = _each(answer, request_id, lambda _place, seen: native_one(seen, card.labels))
    found = results[0] if len(results) == 1 else {"results": results}
    return {"request_id": request_id, "model": model, **found, "timings_ms": spent_ms}


def native_one(seen: Seen, labels: Labels) -> Json:
    width, height = seen.size_wh
    detections = [
        {
            "box": {"x1": x1, "y1": y1, "x2": x2, "y2": y2},
            "confidence": score,
            "class_id": int(class_id),
            "label": labels[int(class_id)],
        }
        for x1, y1, x2, y2, score, class_id in seen.numbers
    ]
    return {"image": {"width": width, "height": height}, "detections": detections}


def coco(answer: Answer, request_id: str) -> list[Json]:
    """COCO's results file, which pycocotools reads; a category is our class, from 0."""

    def one(place: int, seen: Seen) -> list[Json]:
        return [
            {"image_id": place, "category_id": int(class_id), "bbox": _corner_and_size(*box), "score": score}
            for *box, score, class_id in seen.numbers
        ]

    each = _each(answer, request_id, one)
    listed = (found if isinstance(found, list) else [{"image_id": place} | found] for place, found in enumerate(each))
    return [row for rows in listed for row in rows]


def huggingface(answer: Answer, request_id: str) -> object:
    """The object-detection task of Hugging Face: whole pixels, unless normalized."""

    def one(_place: int, seen: Seen) -> list[Json]:
        corner = float if seen.normalized else round
        return [
            {
                "score": score,
                "label": answer.card.labels[int(class_id)],
                "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), map(corner, box), strict=True)),
            }
            for *box, score, class_id in seen.numbers
        ]

    return _alone_or_listed(_each(answer, request_id, one))


def ultralytics(answer: Answer, request_id: str) -> object:
    """What Ultralytics' `Results.to_json()` writes."""

    def one(_place: int, seen: Seen) -> list[Json]:
        return [
            {
                "name": answer.card.labels[int(class_id)],
                "class": int(class_id),
                "confidence": score,
                "box": {"x1": x1, "y1": y1, "x2": x2, "y2": y2},
            }
            for x1, y1, x2, y2, score, class_id in seen.numbers
        ]

    return _alone_or_listed(_each(answer, request_id, one))


def roboflow(answer: Answer, request_id: str) -> object:
    """Roboflow's inference server: boxes by their centre, the time in seconds."""
    time_s = round(answer.timings_ms.total / 1e3, 6)

    def one(place: int, seen: Seen) -> Json:
        width, height = seen.size_wh
        predictions = [
            {
                **_centre_and_size(*box),
                "confidence": score,
                "class": answer.card.labels[int(class_id)],
                "class_id": int(class_id),
                "detection_id": str(uuid5(NAMESPACE_OID, f"{request_id}/{place}/{row}")),
            }
            for row, (*box, score, class_id) in enumerate(seen.numbers)
        ]
        image = {"width": width, "height": height}
        return {"inference_id": request_id, "time": time_s, "image": image, "predictions": predictions}

    return _alone_or_listed(_each(answer, request_id, one))


FORMATS: Final[Mapping[str, Shape]] = {
    "json": native,
    "coco": coco,
    "huggingface": huggingface,
    "ultralytics": ultralytics,
    "roboflow": roboflow,
}
"""Every shape by what `format` calls it: an answer and its request id become what orjson can write."""


def _each(answer: Answer, request_id: str, shape: Callable[[int, Seen], T]) -> list[T | Json]:
    """Each picture in its shape, or its error in its place. Raises the error of a picture that came alone."""
    if len(answer.results) == 1:
        return [shape(0, answer.only())]
    return [
        {"error": problem(each, request_id)} if isinstance(each, ServiceError) else shape(place, each)
        for place, each in enumerate(answer.results)
    ]


def _alone_or_listed(each: list[T]) -> T | list[T]:
    return each[0] if len(each) == 1 else each


def _corner_and_size(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    return [x1, y1, round(x2 - x1, 6), round(y2 - y1, 6)]


def _centre_and_size(x1: float, y1: float, x2: float, y2: float) -> dict[str, float]:
    centre = {"x": round((x1 + x2) / 2, 6), "y": round((y1 + y2) / 2, 6)}
    return centre | {"width": round(x2 - x1, 6), "height": round(y2 - y1, 6)}
