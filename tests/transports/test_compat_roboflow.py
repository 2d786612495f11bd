"""Roboflow's clients get what they read, from the v0 route and from the v1 routes."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator

import cv2
import numpy as np
import pytest
from tests.transports.gateways import Fakes, Gateway, Serve
from tests.transports.strangers import (
    APIS,
    AS_FORM,
    AS_JSON,
    BASE64,
    JPEG,
    PYTHON_REQUESTS,
    body_of,
    form,
    of_roboflow,
    of_roboflow_v0,
    said,
    two,
)


@pytest.fixture(scope="module")
async def gateway(serve: Serve, fake_of: Fakes) -> AsyncIterator[Gateway]:
    async with serve(fake_of(script=two, versions=(1, 3)), apis=APIS) as running:
        yield running


def roboflow_found(answer: object) -> list[tuple[object, ...]]:
    assert isinstance(answer, dict)
    assert answer["image"] == {"width": 64, "height": 64}
    assert answer["time"] > 0
    centre = "x", "y", "width", "height"
    return [(each["class"], each["confidence"], *(each[side] for side in centre)) for each in answer["predictions"]]


CENTRED = [("a", 0.9, 14.3, 25.5, 12.6, 31.0), ("b", 0.3, 4.0, 4.0, 4.0, 4.0)]


async def test_roboflow_v1_looks_up_the_model_and_then_asks_it(gateway: Gateway) -> None:
    status, models = await said(gateway, "GET /compat/roboflow/model/registry?api_key=None", PYTHON_REQUESTS)
    known = {"task_type": "object-detection", "batch_size": 4, "input_width": 32, "input_height": 32}
    assert (status, models) == (200, {"models": [{"model_id": f"echo/{n}"} | known for n in (1, 3)]})
    status, answer = await of_roboflow(gateway, body_of(BASE64, api_key=None))
    assert status == 200
    assert roboflow_found(answer) == CENTRED


@pytest.mark.parametrize(
    ("model_id", "status"), [("echo/3", 200), ("echo", 200), ("echo/7", 404), ("no/1", 404), ("", 404)]
)
async def test_roboflow_v1_is_told_of_a_model_by_the_name_it_asked_for(
    gateway: Gateway, model_id: str, status: int
) -> None:
    body = json.dumps({"model_id": model_id, "api_key": "k"}).encode()
    got, answer = await said(gateway, "POST /compat/roboflow/model/add", PYTHON_REQUESTS + AS_JSON, body)
    assert isinstance(answer, dict)
    assert got == status
    assert [each["model_id"] for each in answer.get("models", [])] == ([model_id] if status == 200 else [])


async def test_roboflow_v1_takes_several_pictures_and_a_bad_one_costs_itself_alone(gateway: Gateway) -> None:
    status, answers = await of_roboflow(gateway, body_of(BASE64, "bad", BASE64))
    assert isinstance(answers, list)
    assert (status, len(answers)) == (200, 3)
    assert roboflow_found(answers[0]) == roboflow_found(answers[2]) == CENTRED
    assert "image.1.value" in answers[1]["error"]["detail"]
    _, alone = await of_roboflow(gateway, body_of(image=[{"type": "base64", "value": BASE64}]))
    assert isinstance(alone, list)
    assert roboflow_found(alone[0]) == CENTRED


WISHES = [
    ({"confidence": 0.5}, "&confidence=0.5", CENTRED[:1]),
    ({"confidence": 0.5}, "&confidence=50", CENTRED[:1]),
    ({"confidence": "best"}, "&confidence=best", CENTRED),
    ({"max_detections": 1}, "&max_detections=1", CENTRED[:1]),
    ({"class_filter": ["b"]}, "&classes=b", CENTRED[1:]),
    ({"iou_threshold": 0.5, "class_agnostic_nms": True}, "&overlap=30&class_agnostic_nms=True", CENTRED),
    ({"max_candidates": 100, "source": "tests"}, "&source=tests&stroke=3&labels=on", CENTRED),
]


@pytest.mark.parametrize(("in_body", "in_query", "found"), WISHES)
async def test_roboflow_takes_its_options(
    gateway: Gateway, in_body: dict[str, object], in_query: str, found: list[object]
) -> None:
    assert roboflow_found((await of_roboflow(gateway, body_of(BASE64, **in_body)))[1]) == found
    assert roboflow_found((await of_roboflow_v0(gateway, BASE64, in_query))[1]) == found


REFUSED = [
    ({"confidence": 1.5}, "&confidence=101", 422, "confidence"),
    ({"iou_threshold": -1}, "&overlap=-1", 422, ""),
    ({"max_detections": 0}, "&max_detections=0", 422, "max_detections"),
    ({"class_filter": ["c"]}, "&classes=c", 422, "no class c"),
    ({"image": {"type": "url", "value": "http://127.0.0.1/"}}, "&image=http://127.0.0.1/", 422, "URL"),
    ({"model_id": "echo/1e9"}, None, 404, "whole number"),
    ({"image": {"type": "numpy", "value": "gASVCg=="}}, None, 422, "image"),
    ({"image": []}, None, 422, "no image"),
    ({"image": [{"type": "base64", "value": "AAAA"}] * 5}, None, 413, "more than the 4 images"),
    ({}, "&format=video", 422, "format"),
]


@pytest.mark.parametrize(("in_body", "in_query", "status", "told"), REFUSED)
async def test_roboflow_is_told_in_its_words(
    gateway: Gateway, in_body: dict[str, object], in_query: str | None, status: int, told: str
) -> None:
    replies = [await of_roboflow(gateway, body_of(BASE64, **in_body))] if in_body else []
    replies += [await of_roboflow_v0(gateway, BASE64, in_query)] if in_query else []
    for got, answer in replies:
        assert isinstance(answer, dict)
        assert (got, list(answer)) == (status, ["message"])
        assert told in answer["message"]


async def test_roboflow_is_told_when_there_is_too_much_to_take_apart(gateway: Gateway) -> None:
    body = b'{"model_id": "echo/1", "image": [' + b"{}," * 10_000 + b"{}]}"
    status, answer = await said(
        gateway, "POST /compat/roboflow/infer/object_detection", PYTHON_REQUESTS + AS_JSON, body
    )
    assert (status, "more than 10000 brackets" in str(answer)) == (422, True)


async def test_roboflow_v0_takes_wrapped_base64_data_urls_and_forms(gateway: Gateway) -> None:
    wrapped = "\n".join(BASE64[start : start + 76] for start in range(0, len(BASE64), 76))
    for text in (wrapped, f"data:image/jpeg;base64,{BASE64}"):
        assert roboflow_found((await of_roboflow_v0(gateway, text))[1]) == CENTRED
    body = form(picture=JPEG, part='name="file"; filename="YOUR_IMAGE.jpg"')
    status, answer = await said(gateway, "POST /compat/roboflow/echo/1?api_key=k", PYTHON_REQUESTS + AS_FORM, body)
    assert status == 200
    assert roboflow_found(answer) == CENTRED


@pytest.mark.parametrize(("version", "status"), [("echo/3", 200), ("echo/2", 404), ("echo/one", 404), ("no/1", 404)])
async def test_roboflow_v0_names_model_and_version_in_its_path(gateway: Gateway, version: str, status: int) -> None:
    assert (await of_roboflow_v0(gateway, BASE64, version=version))[0] == status


async def test_roboflow_shows_its_detections_where_that_is_wanted(gateway: Gateway) -> None:
    picture = (await gateway.http.post("/compat/roboflow/echo/1?format=image", content=BASE64)).content
    _, with_both = await of_roboflow_v0(gateway, BASE64, "&format=image_and_json")
    _, with_one = await of_roboflow(gateway, body_of(BASE64, visualize_predictions=True))
    _, with_some = await of_roboflow(gateway, body_of(BASE64, "bad", visualize_predictions=True))
    assert isinstance(with_both, dict)
    assert isinstance(with_one, dict)
    assert isinstance(with_some, list)
    assert "visualization" not in with_some[1]
    shown = [picture, *(b64decode(each["visualization"]) for each in (with_both, with_one, with_some[0]))]
    plain = cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR)
    for each in shown:
        pixels = cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR)
        assert pixels.shape == plain.shape
        assert (pixels != plain).any()


async def test_roboflow_says_who_serves(gateway: Gateway) -> None:
    _, answer = await said(gateway, "GET /compat/roboflow/info", PYTHON_REQUESTS)
    assert isinstance(answer, dict)
    assert (answer["name"], set(answer)) == ("LookOnce", {"name", "version", "uuid"})


@pytest.mark.parametrize("path", ["/infer/instance_segmentation", "/model/clear", "/workflows/run"])
async def test_what_only_roboflows_own_server_has_is_said_to_be_absent(gateway: Gateway, path: str) -> None:
    answer = await gateway.http.post(f"/compat/roboflow{path}", json={})
    assert answer.status_code == 404
    assert answer.json()["message"].startswith(f"/compat/roboflow{path} is not offered here")
