"""The REST API, asked as its callers ask it."""

import base64
from collections.abc import AsyncIterator

import cv2
import numpy as np
import pytest
from tests.transports.gateways import Fakes, Gateway, Serve

from lookonce.forge.pictures import draw_picture
from lookonce.inference.port import Call, Candidates

ROWS = np.array([[4, 4, 20, 20, 0.9, 0], [8, 8, 30, 30, 0.6, 1], [5, 5, 21, 21, 0.3, 0], *[[0] * 4 + [0, -1]] * 2])


def two_kinds(call: Call) -> Candidates:
    """An `a`, a `b` and a weak `a`, on a picture of 32 × 32."""
    return np.repeat(ROWS[None].astype(np.float32), len(call.images), axis=0)


@pytest.fixture(scope="module")
def scene() -> bytes:
    """A picture in which the sample model finds something."""
    _, png = cv2.imencode(".png", draw_picture(7, (640, 480)).image_rgb[..., ::-1])
    return bytes(png)


@pytest.fixture(scope="module")
def square() -> bytes:
    """A picture as large as the fake's input, so that its boxes stay what they are."""
    return bytes(cv2.imencode(".png", np.full((32, 32, 3), 200, np.uint8))[1])


@pytest.fixture(scope="module")
async def two(serve: Serve, fake_of: Fakes) -> AsyncIterator[Gateway]:
    """A gateway whose only model, in two versions, always sees the same two things."""
    async with serve(fake_of("echo", versions=(1, 2), script=two_kinds)) as gateway:
        yield gateway


async def test_one_picture_is_answered_as_the_issue_says(shapes: Gateway, scene: bytes) -> None:
    answer = await shapes.http.post(
        "/v1/detect", content=scene, headers={"Content-Type": "image/png", "X-Request-Id": "mine"}
    )
    body = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert list(body) == ["request_id", "model", "image", "detections", "timings_ms"]
    assert body["request_id"] == "mine"
    assert body["model"].keys() == {"name", "version", "digest"}
    assert body["image"] == {"width": 640, "height": 480}
    assert len(body["detections"]) > 1
    first = body["detections"][0]
    assert list(first) == ["box", "confidence", "class_id", "label"]
    assert list(first["box"]) == ["x1", "y1", "x2", "y2"]
    assert 0 <= first["box"]["x1"] < first["box"]["x2"] <= 640
    assert first["confidence"] == max(each["confidence"] for each in body["detections"])


async def test_numbers_are_written_in_their_shortest_form(shapes: Gateway, scene: bytes) -> None:
    text = (await shapes.http.post("/v1/detect", content=scene)).text
    decimals = [len(part.split("}")[0].split(",")[0].partition(".")[2]) for part in text.split('"x1":')[1:]]
    assert decimals
    assert max(decimals) <= 2


async def test_the_stages_are_told_in_the_body_and_in_server_timing(shapes: Gateway, scene: bytes) -> None:
    answer = await shapes.http.post("/v1/detect", content=scene)
    spent = answer.json()["timings_ms"]
    assert list(spent) == ["decode", "letterbox", "inference", "nms", "total"]
    assert answer.headers["server-timing"] == ", ".join(f"{stage};dur={took:.3f}" for stage, took in spent.items())
    assert spent == {stage: round(took, 3) for stage, took in spent.items()}


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/models/echo/detect", "/v1/models/echo/versions/1/detect"])
async def test_the_default_model_is_the_same_by_each_path(path: str, two: Gateway, square: bytes) -> None:
    body = (await two.http.post(path, content=square)).json()
    assert (body["model"]["name"], body["model"]["version"]) == ("echo", 1)
    assert [each["label"] for each in body["detections"]] == ["a", "b", "a"]


async def test_another_version_is_asked_by_its_path(two: Gateway, square: bytes) -> None:
    body = (await two.http.post("/v1/models/echo/versions/2/detect", content=square)).json()
    assert body["model"]["version"] == 2


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/models/none/detect", 404, "unknown-model"),
        ("/v1/models/echo/versions/7/detect", 404, "unknown-version"),
        ("/v1/models/echo/versions/0/detect", 422, "invalid-options"),
        ("/v1/models/echo/versions/x/detect", 422, "invalid-options"),
        (f"/v1/models/echo/versions/{'9' * 5000}/detect", 422, "invalid-options"),
        (f"/v1/models/echo/versions/{'9' * 9}/detect", 404, "unknown-version"),
        (f"/v1/models/echo/versions/{'9' * 10}/detect", 422, "invalid-options"),
        ("/v1/models/echo/versions/%D9%A1/detect", 422, "invalid-options"),
        ("/v1/models/echo/versions/%C2%B9/detect", 422, "invalid-options"),
        ("/v1/models/echo/versions/%201/detect", 422, "invalid-options"),
        ("/v1/models/echo/versions/+1/detect", 422, "invalid-options"),
        ("/v1/models/echo/versions/-1/detect", 422, "invalid-options"),
        ("/v1/models/echo/versions/1.0/detect", 422, "invalid-options"),
        ("/v1/models/echo/versions//detect", 404, "not-found"),
        ("/v1/models/%2e%2e/detect", 404, "unknown-model"),
    ],
)
async def test_a_model_that_is_not_there_is_refused(path: str, status: int, code: str, two: Gateway) -> None:
    answer = await two.http.post(path, content=b"never read")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("", ["a", "b", "a"]),
        ("confidence=0.5", ["a", "b"]),
        ("confidence=1", []),
        ("classes=b", ["b"]),
        ("classes=0", ["a", "a"]),
        ("classes=b,0", ["a", "b", "a"]),
        ("max_detections=1", ["a"]),
        ("confidence=0.2&classes=a&max_detections=1&class_agnostic=true&soft=false&iou=0.5", ["a"]),
    ],
)
async def test_options_of_the_query_are_heeded(query: str, labels: list[str], two: Gateway, square: bytes) -> None:
    body = (await two.http.post(f"/v1/detect?{query}", content=square)).json()
    assert [each["label"] for each in body["detections"]] == labels


async def test_options_of_a_form_and_of_json_mean_the_same(two: Gateway, square: bytes) -> None:
    form = await two.http.post("/v1/detect", files={"file": square}, data={"classes": "b", "normalized": "true"})
    text = base64.b64encode(square).decode()
    options = {"classes": ["b"], "normalized": True}
    as_json = await two.http.post("/v1/detect", json={"images": [{"base64": text}], "options": options})
    query = await two.http.post("/v1/detect?classes=b&normalized=true", content=square)
    boxes = [answer.json()["detections"] for answer in (form, as_json, query)]
    assert boxes[0] == boxes[1] == boxes[2]
    assert boxes[0][0]["box"] == {"x1": 0.25, "y1": 0.25, "x2": 0.9375, "y2": 0.9375}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("confidence=1.5", "confidence: 1.5 is not a number from 0 to 1"),
        ("max_detections=0", "max_detections: 0 is not a whole number from 1 to 1000"),
        ("confidnce=0.5", "confidnce is no option; did you mean confidence?"),
        ("formt=image", "formt is no option; did you mean format?"),
        ("classes=a&classes=b", "classes: it is given twice; give it once, with commas between."),
        ("classes=zebra", "classes: model echo has no class zebra"),
        ("format=xml", "format: xml is none of json, coco, huggingface, ultralytics, roboflow, image"),
        ("iou=0.5&iou=0.6", "iou: it is given twice"),
    ],
)
async def test_a_wrong_option_is_refused_by_name(query: str, words: str, two: Gateway, square: bytes) -> None:
    answer = await two.http.post(f"/v1/detect?{query}", content=square)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-options")
    assert answer.json()["detail"].startswith(words)


@pytest.mark.parametrize("name", ["format", "confidence", "classes", "soft"])
async def test_an_option_of_json_that_is_nested_is_refused_by_name(name: str, two: Gateway, square: bytes) -> None:
    images = f'[{{"base64": "{base64.b64encode(square).decode()}"}}]'
    body = f'{{"images": {images}, "options": {{"{name}": {"[" * 1000}{"]" * 1000}}}}}'
    answer = await two.http.post("/v1/detect", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-options")
    assert answer.json()["detail"].startswith(f"{name}: a list is no")


async def test_an_option_in_two_places_is_refused(two: Gateway, square: bytes) -> None:
    answer = await two.http.post("/v1/detect?iou=0.5", files={"file": square}, data={"iou": "0.5"})
    assert answer.json()["detail"].startswith("iou: it is given twice")


async def test_several_pictures_are_answered_in_their_order_and_a_bad_one_in_its_place(
    two: Gateway, square: bytes
) -> None:
    files = [("file", ("1.png", square)), ("file", ("2.png", b"not a picture")), ("file", ("3.png", square[:-40]))]
    answer = await two.http.post("/v1/detect", files=[*files, ("file", ("4.png", square))])
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["request_id", "model", "results", "timings_ms"]
    first, second, third, fourth = body["results"]
    assert first == fourth
    assert len(first["detections"]) == 3
    assert second["error"]["request_id"] == body["request_id"]
    assert (second["error"]["code"], third["error"]["code"]) == ("unsupported-media", "invalid-image")


async def test_a_lone_bad_picture_is_the_answer_s_own_error(two: Gateway, square: bytes) -> None:
    answer = await two.http.post("/v1/detect", content=square[:-40], headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-image")


async def test_too_many_pictures_are_refused(two: Gateway, square: bytes) -> None:
    answer = await two.http.post("/v1/detect", files=[("file", square)] * 5)
    assert (answer.status_code, answer.json()["code"]) == (413, "image-too-large")


@pytest.mark.parametrize(
    ("accept", "media_type", "first"),
    [
        ("*/*", "image/jpeg", b"\xff\xd8"),
        ("image/png", "image/png", b"\x89P"),
        ("image/png,image/jpeg", "image/jpeg", b"\xff\xd8"),
    ],
)
async def test_the_picture_itself_comes_back_drawn_upon(
    accept: str, media_type: str, first: bytes, shapes: Gateway, scene: bytes
) -> None:
    answer = await shapes.http.post("/v1/detect?format=image", content=scene, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.content.startswith(first)
    drawn = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    sent = cv2.imdecode(np.frombuffer(scene, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == sent.shape
    assert np.abs(drawn.astype(int) - sent).max() > 60


async def test_only_one_picture_is_drawn(two: Gateway, square: bytes) -> None:
    answer = await two.http.post("/v1/detect?format=image", files=[("file", square)] * 2)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-options")


async def test_models_are_listed_with_what_they_are(two: Gateway) -> None:
    body = (await two.http.get("/v1/models")).json()
    assert body["default"] == "echo"
    (echo,) = body["models"]
    assert echo == (await two.http.get("/v1/models/echo")).json()
    assert (echo["name"], echo["default_version"], [each["version"] for each in echo["versions"]]) == (
        "echo",
        1,
        [1, 2],
    )
    assert echo["versions"][0] == {
        "version": 1,
        "digest": "0" * 64,
        "size": {"width": 32, "height": 32},
        "labels": ["a", "b"],
        "thresholds": {"confidence": 0.25, "iou": 0.7},
        "precision": "fp32",
        "max_batch": 4,
        "created": "2026-01-01T00:00:00Z",
    }


async def test_with_two_models_and_no_default_one_must_be_named(serve: Serve, fake_of: Fakes, square: bytes) -> None:
    async with serve(fake_of("a", "b")) as gateway:
        assert (await gateway.http.get("/v1/models")).json()["default"] is None
        answer = await gateway.http.post("/v1/detect", content=square)
        named = await gateway.http.post("/v1/models/b/detect", content=square)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-model")
    assert named.json()["model"]["name"] == "b"
