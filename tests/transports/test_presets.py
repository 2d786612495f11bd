"""Every shape of an answer, to the letter."""

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from pycocotools.coco import COCO

from lookonce.card import Card
from lookonce.errors import InvalidImage
from lookonce.pipeline.request import Answer, Seen, Timings, rounded
from lookonce.transports.presets import FORMATS

ROWS = [[1.237, 2, 123.45999, 50.5, 0.98765, 1], [0, 0, 10, 20, 0.5, 0]]
SHARES = [[0.1, 0.2, 0.333333, 1, 0.98765, 1]]
TIMINGS = Timings(1.23456, 0.5, 20.0, 0.25, 22.5)
BAD = InvalidImage("the PNG is damaged or cut short; send the whole file, or save it again.")
PROBLEM = {
    "type": "urn:lookonce:invalid-image",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": str(BAD),
    "code": "invalid-image",
    "request_id": "r1",
}
Shaped = Callable[..., Any]


def seen(rows: list[list[float]], *, normalized: bool = False) -> Seen:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Seen((640, 480), rounded(table, normalized=normalized).astype(np.float32), normalized)


@pytest.fixture
def shaped(card_of: Callable[..., Card]) -> Shaped:
    """What is written for these results, read back."""

    def shape(name: str, *results: Seen | InvalidImage) -> Any:  # noqa: ANN401
        answer = Answer(card_of(labels=("Straße", "dog")), results, TIMINGS)
        return orjson.loads(orjson.dumps(FORMATS[name](answer, "r1")))

    return shape


def box(x1: float, y1: float, x2: float, y2: float) -> dict[str, float]:
    return {"x1": x1, "y1": y1, "x2": x2, "y2": y2}


HEAD = {"request_id": "r1", "model": {"name": "echo", "version": 1, "digest": "0" * 64}}
SPENT = {"timings_ms": {"decode": 1.235, "letterbox": 0.5, "inference": 20.0, "nms": 0.25, "total": 22.5}}
DOG = {"box": box(1.24, 2, 123.46, 50.5), "confidence": 0.9876, "class_id": 1, "label": "dog"}
STREET = {"box": box(0, 0, 10, 20), "confidence": 0.5, "class_id": 0, "label": "Straße"}
IMAGE = {"image": {"width": 640, "height": 480}}


def test_our_own_shape_is_flat_for_one_picture(shaped: Shaped) -> None:
    found = shaped("json", seen(ROWS))
    assert found == HEAD | IMAGE | {"detections": [DOG, STREET]} | SPENT
    assert list(found) == ["request_id", "model", "image", "detections", "timings_ms"]
    assert list(found["detections"][0]) == ["box", "confidence", "class_id", "label"]


def test_our_own_shape_lists_several_and_a_bad_one_in_its_place(shaped: Shaped) -> None:
    results = [IMAGE | {"detections": []}, {"error": PROBLEM}, IMAGE | {"detections": [DOG, STREET]}]
    assert shaped("json", seen([]), BAD, seen(ROWS)) == HEAD | {"results": results} | SPENT


def test_numbers_are_written_as_short_as_they_are_meant(card_of: Callable[..., Card]) -> None:
    rows = np.random.default_rng(0).uniform(0, 4000, (300, 6)).astype(np.float32)
    rows[:, 4:] = 0.1, 1
    written = orjson.dumps(FORMATS["json"](Answer(card_of(), (seen(rows.tolist()),), TIMINGS), "r1"))
    coordinates = [part.split(b":")[1] for part in written.split(b'"detections"')[1].split(b",") if b'"y' in part]
    assert len(coordinates) == 600
    assert max(len(text.strip(b"}").split(b".")[1]) for text in coordinates) <= 2


def test_coco_is_one_flat_list(shaped: Shaped) -> None:
    dog = {"category_id": 1, "bbox": [1.24, 2.0, 122.22, 48.5], "score": 0.9876}
    street = {"category_id": 0, "bbox": [0.0, 0.0, 10.0, 20.0], "score": 0.5}
    assert shaped("coco", seen(ROWS)) == [{"image_id": 0} | dog, {"image_id": 0} | street]
    several = shaped("coco", seen([]), BAD, seen(ROWS))
    assert several == [{"image_id": 1, "error": PROBLEM}, {"image_id": 2} | dog, {"image_id": 2} | street]
    assert shaped("coco", seen([])) == []


def test_pycocotools_reads_coco(shaped: Shaped) -> None:
    truth = COCO()
    truth.dataset = {"images": [{"id": 0}, {"id": 1}], "categories": [{"id": 0}, {"id": 1}], "annotations": []}
    truth.createIndex()
    read = truth.loadRes(shaped("coco", seen(ROWS), seen(ROWS[:1])))
    assert [each["image_id"] for each in read.loadAnns(read.getAnnIds(catIds=[1]))] == [0, 1]
    assert read.loadAnns(read.getAnnIds(imgIds=[0], catIds=[0]))[0]["area"] == 200


def test_hugging_face_has_whole_pixels(shaped: Shaped) -> None:
    dog = {"score": 0.9876, "label": "dog", "box": {"xmin": 1, "ymin": 2, "xmax": 123, "ymax": 50}}
    street = {"score": 0.5, "label": "Straße", "box": {"xmin": 0, "ymin": 0, "xmax": 10, "ymax": 20}}
    assert shaped("huggingface", seen(ROWS)) == [dog, street]
    assert shaped("huggingface", seen([]), BAD, seen(ROWS)) == [[], {"error": PROBLEM}, [dog, street]]
    assert all(isinstance(side, int) for side in shaped("huggingface", seen(ROWS))[0]["box"].values())


def test_ultralytics_is_what_its_results_write(shaped: Shaped) -> None:
    dog = {"name": "dog", "class": 1, "confidence": 0.9876, "box": box(1.24, 2, 123.46, 50.5)}
    street = {"name": "Straße", "class": 0, "confidence": 0.5, "box": box(0, 0, 10, 20)}
    assert shaped("ultralytics", seen(ROWS)) == [dog, street]
    assert list(shaped("ultralytics", seen(ROWS))[0]) == ["name", "class", "confidence", "box"]
    assert shaped("ultralytics", seen(ROWS), BAD) == [[dog, street], {"error": PROBLEM}]


def test_roboflow_tells_centres_and_sizes(shaped: Shaped) -> None:
    one = shaped("roboflow", seen(ROWS))
    ids = [row.pop("detection_id") for row in one["predictions"]]
    street = {"x": 5, "y": 10, "width": 10, "height": 20, "confidence": 0.5, "class": "Straße", "class_id": 0}
    dog = {"x": 62.35, "y": 26.25, "width": 122.22, "height": 48.5, "confidence": 0.9876, "class": "dog", "class_id": 1}
    assert one == {"inference_id": "r1", "time": 0.0225, "predictions": [dog, street]} | IMAGE
    several = shaped("roboflow", seen([]), BAD, seen(ROWS))
    assert [sorted(each) for each in several[:2]] == [["image", "inference_id", "predictions", "time"], ["error"]]
    ids += [row["detection_id"] for row in several[2]["predictions"]]
    assert len(set(ids)) == 4
    assert all(len(each) == 36 for each in ids)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("json", [box(0.1, 0.2, 0.333333, 1)]),
        ("coco", [[0.1, 0.2, 0.233333, 0.8]]),
        ("huggingface", [{"xmin": 0.1, "ymin": 0.2, "xmax": 0.333333, "ymax": 1.0}]),
        ("ultralytics", [box(0.1, 0.2, 0.333333, 1)]),
        ("roboflow", [{"x": 0.216666, "y": 0.6, "width": 0.233333, "height": 0.8}]),
    ],
)
def test_shares_stay_shares_in_every_shape(name: str, found: list[object], shaped: Shaped) -> None:
    body = shaped(name, seen(SHARES, normalized=True))
    rows = body.get("detections", body.get("predictions")) if isinstance(body, dict) else body
    corners = [row.get("box") or row.get("bbox") or {side: row[side] for side in found[0]} for row in rows]
    assert corners == found


@pytest.mark.parametrize("name", FORMATS)
def test_a_picture_that_came_alone_and_is_bad_is_raised(name: str, shaped: Shaped) -> None:
    with pytest.raises(InvalidImage):
        shaped(name, BAD)


@pytest.mark.parametrize("name", FORMATS)
def test_pictures_with_nothing_on_them_have_empty_lists(name: str, shaped: Shaped) -> None:
    body = shaped(name, seen([]))
    assert body == [] or body.get("detections", body.get("predictions")) == []


def test_shares_are_brought_back_to_pixels() -> None:
    np.testing.assert_allclose(seen(SHARES, normalized=True).rows_px[0], [64, 96, 213.33, 480, 0.9877, 1], atol=0.01)
    np.testing.assert_array_equal(seen(ROWS).rows_px, seen(ROWS).rows)
