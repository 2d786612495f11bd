"""DeepStack's and Hugging Face's clients get what they read."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest
from tests.transports.gateways import Fakes, Gateway, Serve
from tests.transports.strangers import (
    APIS,
    AS_FORM,
    AS_JSON,
    BASE64,
    HUGGING_FACE,
    JPEG,
    PYTHON_REQUESTS,
    body_of,
    form,
    of_deepstack,
    said,
    two,
)


@pytest.fixture(scope="module")
async def gateway(serve: Serve, fake_of: Fakes) -> AsyncIterator[Gateway]:
    async with serve(fake_of(script=two, versions=(1, 3)), apis=APIS) as running:
        yield running


def deepstack_found(answer: object) -> list[tuple[object, ...]]:
    assert isinstance(answer, dict)
    assert (answer["success"], answer["count"]) == (True, len(answer["predictions"]))
    corners = "x_min", "y_min", "x_max", "y_max"
    return [
        (each["label"], each["confidence"], *(each[corner] for corner in corners)) for each in answer["predictions"]
    ]


BOTH = [("a", 0.9, 8, 10, 21, 41), ("b", 0.3, 2, 2, 6, 6)]


@pytest.mark.parametrize("fields", [[], [("api_key", "")], [("api_key", "any"), ("min_confidence", "")]])
async def test_frigate_and_home_assistant_get_deepstacks_answer(
    gateway: Gateway, fields: list[tuple[str, str]]
) -> None:
    status, answer = await of_deepstack(gateway, *fields, picture=JPEG)
    assert status == 200
    assert deepstack_found(answer) == BOTH


@pytest.mark.parametrize(("least", "found"), [("0.5", BOTH[:1]), ("0", BOTH), ("1.0", [])])
async def test_deepstacks_own_client_gets_what_passes_its_threshold(
    gateway: Gateway, least: str, found: list[object]
) -> None:
    _, answer = await of_deepstack(gateway, ("min_confidence", least), picture=JPEG)
    assert deepstack_found(answer) == found


async def test_codeproject_takes_the_one_file_whatever_it_is_called(gateway: Gateway) -> None:
    body = form(picture=JPEG, part='name=""; filename="a.jpg"')
    status, answer = await said(gateway, "POST /v1/vision/detection", PYTHON_REQUESTS + AS_FORM, body)
    assert status == 200
    assert deepstack_found(answer) == BOTH


async def test_blue_iris_finds_the_models_and_asks_one(gateway: Gateway) -> None:
    names = await said(gateway, "POST /v1/vision/custom/list", PYTHON_REQUESTS + "Content-Length: 0\r\n")
    assert names == (200, {"success": True, "models": ["echo"]})
    _, answer = await of_deepstack(gateway, ("min_confidence", "0.4"), picture=JPEG, path="custom/echo")
    assert deepstack_found(answer) == BOTH[:1]


@pytest.mark.parametrize(
    ("fields", "path", "status", "told"),
    [
        ([("min_confidence", "40")], "detection", 422, "min_confidence: Input should be less than or equal to 1"),
        ([("min_confidence", "-1")], "detection", 422, "min_confidence"),
        ([("min_confidence", "much")], "detection", 422, "min_confidence"),
        ([], "custom/nothing", 404, "there is no model nothing here"),
    ],
)
async def test_deepstacks_clients_are_told_in_its_words(
    gateway: Gateway, fields: list[tuple[str, str]], path: str, status: int, told: str
) -> None:
    got, answer = await of_deepstack(gateway, *fields, picture=JPEG, path=path)
    assert isinstance(answer, dict)
    assert (got, answer["success"]) == (status, False)
    assert told in answer["error"]


@pytest.mark.parametrize("picture", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut off"])
async def test_what_is_no_picture_is_refused_on_every_route(gateway: Gateway, picture: bytes) -> None:
    text = b64encode(picture).decode()
    status, answer = await of_deepstack(gateway, picture=picture)
    assert (status in {415, 422}, isinstance(answer, dict) and answer["success"]) == (True, False)
    in_json = {"Content-Type": "application/json"}
    for path, body, word in (
        ("huggingface/echo", picture, "error"),
        ("huggingface/echo", json.dumps({"inputs": text}).encode(), "error"),
        ("roboflow/echo/1", text.encode(), "message"),
        ("roboflow/infer/object_detection", json.dumps(body_of(text)).encode(), "message"),
    ):
        kind = {} if body == picture else in_json
        reply = await gateway.http.post(f"/compat/{path}", content=body, headers=kind)
        assert reply.status_code in {415, 422}
        assert set(reply.json()) == {word}


async def test_a_form_with_two_pictures_or_none_and_what_is_no_form_are_refused(gateway: Gateway) -> None:
    for sent, status in (
        ({"files": [("image", JPEG), ("image", JPEG)]}, 422),
        ({"files": [("min_confidence", (None, b"0.5"))]}, 422),
        ({"content": JPEG, "headers": {"Content-Type": "image/jpeg"}}, 415),
    ):
        reply = await gateway.http.post("/v1/vision/detection", **sent)
        assert (reply.status_code, reply.json()["success"]) == (status, False)


def huggingface_found(answer: object) -> list[tuple[object, ...]]:
    assert isinstance(answer, list)
    corners = "xmin", "ymin", "xmax", "ymax"
    return [(each["label"], each["score"], *(each["box"][corner] for corner in corners)) for each in answer]


@pytest.mark.parametrize(
    "kind", ["", "content-type: image/jpeg\r\n", "content-type: application/x-www-form-urlencoded\r\n"]
)
async def test_huggingface_takes_a_picture_under_any_type_or_none(gateway: Gateway, kind: str) -> None:
    status, answer = await said(gateway, "POST /compat/huggingface/echo", HUGGING_FACE + kind, JPEG)
    assert status == 200
    assert huggingface_found(answer) == BOTH


@pytest.mark.parametrize(
    ("parameters", "found"),
    [({"threshold": 0.5}, BOTH[:1]), ({"threshold": 0.0}, BOTH), ({}, BOTH), (None, BOTH), ({"top_k": 3}, BOTH)],
)
async def test_huggingface_takes_parameters_as_json(gateway: Gateway, parameters: object, found: list[object]) -> None:
    body = json.dumps({"inputs": BASE64, "parameters": parameters}).encode()
    status, answer = await said(gateway, "POST /compat/huggingface/echo", HUGGING_FACE + AS_JSON.lower(), body)
    assert status == 200
    assert huggingface_found(answer) == found


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b'{"inputs": "not base64!"}', 422, "base64"),
        (b'{"parameters": {}}', 422, "inputs: Field required"),
        (b'{"inputs": "AAAA", "parameters": {"threshold": 2}}', 422, "parameters.threshold"),
        (b'{"inputs": "AAAA", "parameters": {"threshold": NaN}}', 422, "parameters.threshold"),
        (b"{", 422, "Invalid JSON"),
        (b"\xff\xfe", 422, "Invalid JSON"),
        (b'{"inputs": "' + b"A" * 2**21 + b'"}', 413, "at most"),
    ],
)
async def test_huggingface_is_told_in_its_words(gateway: Gateway, body: bytes, status: int, told: str) -> None:
    got, answer = await said(gateway, "POST /compat/huggingface/echo", HUGGING_FACE + AS_JSON.lower(), body)
    assert isinstance(answer, dict)
    assert (got, list(answer)) == (status, ["error"])
    assert told in answer["error"]
