"""The OpenAPI document is compared with what the gateway answers, and the page for people with the document."""

import html.parser
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from tests.transports.gateways import Fakes, Gateway, Serve

from lookonce.inference.port import Call, Candidates
from lookonce.transports.http import schemas
from lookonce.transports.http.documents import EXAMPLE, PICTURES, REFUSALS, SQUARE
from lookonce.transports.options import OPTIONS
from lookonce.transports.presets import FORMATS

DETECTING = ("/v1/detect", "/v1/models/{model}/detect", "/v1/models/{model}/versions/{version}/detect")
SHAPES = {
    "json": (schemas.One, schemas.Several),
    "coco": (schemas.Coco, schemas.Coco),
    "huggingface": (list[schemas.HuggingFaceRow], list[list[schemas.HuggingFaceRow] | schemas.Failed]),
    "ultralytics": (list[schemas.UltralyticsRow], list[list[schemas.UltralyticsRow] | schemas.Failed]),
    "roboflow": (schemas.RoboflowResult, list[schemas.RoboflowResult | schemas.Failed]),
}


@pytest.fixture(scope="module")
async def document(shapes: Gateway) -> dict[str, Any]:
    return (await shapes.http.get("/openapi.json")).json()


def seen(call: Call) -> Candidates:
    rows = np.array([[1, 2, 20, 30, 0.9, 0], [8, 8, 30, 30, 0.6, 1], *[[0] * 4 + [0, -1]] * 3], np.float32)
    return np.repeat(rows[None], len(call.images), axis=0)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def within(value: object) -> Iterator[dict[str, Any]]:
    """Every object of a document."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict):
        yield value
    for member in members:
        yield from within(member)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = {each["$ref"] for each in within(document) if isinstance(each.get("$ref"), str)}
    schemas_there = document["components"]["schemas"]
    assert references == {f"#/components/schemas/{name}" for name in schemas_there}


def test_every_route_that_detects_documents_every_status(document: dict[str, Any]) -> None:
    for path in DETECTING:
        responses = document["paths"][path]["post"]["responses"]
        assert set(responses) == {"200", *map(str, REFUSALS)}
        for status, response in responses.items():
            assert status == "200" or set(response["content"]) == {"application/problem+json"}
            assert ("Retry-After" in response["headers"]) == (status in {"429", "503"})


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert {"detect", "detect_with_model", "detect_with_version", "models", "model", "healthz", "readyz"} <= set(names)


def test_the_options_stand_in_the_query_the_form_and_the_json_with_their_ranges(document: dict[str, Any]) -> None:
    for path in DETECTING:
        operation = document["paths"][path]["post"]
        query = {each["name"]: each["schema"] for each in operation["parameters"] if each["in"] == "query"}
        body = operation["requestBody"]["content"]
        form = body["multipart/form-data"]["schema"]["properties"]
        options = body["application/json"]["schema"]["properties"]["options"]["properties"]
        assert query.keys() == options.keys() == form.keys() - {"file"} == {*(each.name for each in OPTIONS), "format"}
        for option in OPTIONS:
            assert query[option.name] == option.schema
            assert options[option.name].items() >= option.schema.items()
            assert form[option.name] == options[option.name]
        assert query["format"]["enum"] == [*FORMATS, "image"]


def test_every_kind_of_body_is_documented(document: dict[str, Any]) -> None:
    for path in DETECTING:
        body = document["paths"][path]["post"]["requestBody"]
        assert body["required"]
        assert set(body["content"]) == {*PICTURES, "multipart/form-data", "application/json"}


@pytest.mark.parametrize("media_type", PICTURES)
async def test_every_media_type_of_the_document_is_taken(media_type: str, shapes: Gateway, png: bytes) -> None:
    assert (await shapes.http.post("/v1/detect", content=png, headers={"Content-Type": media_type})).status_code == 200


@pytest.mark.parametrize("style", SHAPES)
async def test_answers_in_each_format_are_as_documented(style: str, serve: Serve, fake_of: Fakes, png: bytes) -> None:
    alone, listed = (schemas.RootModel[shape] for shape in SHAPES[style])
    async with serve(fake_of(script=seen)) as gateway:
        for query in ("", "&normalized=true", "&confidence=1"):
            path = f"/v1/detect?format={style}{query}"
            one = await gateway.http.post(path, content=png)
            several = await gateway.http.post(path, files=[("file", png), ("file", png[:-60]), ("file", png)])
            assert [one.status_code, several.status_code] == [200, 200]
            assert alone.model_validate_json(one.content, strict=True)
            assert listed.model_validate_json(several.content, strict=True)
            assert schemas.Detections.model_validate_json(one.content)
            assert schemas.Detections.model_validate_json(several.content)


def test_no_format_is_without_a_schema() -> None:
    assert SHAPES.keys() == FORMATS.keys()


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/models", schemas.Models),
        ("/v1/models/shapes", schemas.Model),
        ("/v1/models/none", schemas.Problem),
        ("/nothing", schemas.Problem),
        ("/healthz", schemas.Live),
        ("/readyz", schemas.Ready),
    ],
)
async def test_other_answers_are_as_documented(path: str, shape: type[BaseModel], shapes: Gateway) -> None:
    assert shape.model_validate_json((await shapes.http.get(path)).content, strict=True)


def test_the_examples_are_as_documented(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/detect"]["post"]["responses"]["200"]["content"]["application/json"]
    assert schemas.One.model_validate_json(json.dumps(EXAMPLE), strict=True)
    assert schemas.Several.model_validate_json(json.dumps(content["examples"]["several"]["value"]), strict=True)
    problem = document["paths"]["/v1/detect"]["post"]["responses"]["422"]["content"]["application/problem+json"]
    assert schemas.Problem.model_validate_json(json.dumps(problem["examples"]["problem"]["value"]), strict=True)


async def test_the_example_of_a_body_is_answered_by_the_example_of_an_answer(
    shapes: Gateway, document: dict[str, Any]
) -> None:
    route = document["paths"]["/v1/detect"]["post"]
    sent = route["requestBody"]["content"]["application/json"]["examples"]["base64"]["value"]
    shown = route["responses"]["200"]["content"]["application/json"]["examples"]
    same_id = {"X-Request-Id": EXAMPLE["request_id"]}
    one = await shapes.http.post("/v1/detect", json=sent, headers=same_id)
    assert without_times(one.json()) == without_times(shown["one"]["value"])
    cut_short = {"base64": b64encode(b64decode(SQUARE)[:60]).decode()}
    two = await shapes.http.post("/v1/detect", json=sent | {"images": [*sent["images"], cut_short]}, headers=same_id)
    assert without_times(two.json()) == without_times(shown["several"]["value"])


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["timings_ms"].keys() == EXAMPLE["timings_ms"].keys()
    return {name: value for name, value in answer.items() if name != "timings_ms"}


class Page(html.parser.HTMLParser):
    """What a page asks for, its style, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.open: list[str] = []
        self.style, self.text = "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asked += [str(value) for name, value in attrs if name in {"src", "href", "action", "style", "onclick"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.style += data if self.open[-1] == "style" else ""
        self.text += data


async def test_the_page_for_people_tells_the_same_and_needs_nothing_from_elsewhere(
    shapes: Gateway, document: dict[str, Any]
) -> None:
    answer, page = await shapes.http.get("/docs"), Page()
    page.feed(answer.text)
    assert page.open == []
    assert all(re.match(r"#\w+$|openapi\.json$", asked) for asked in page.asked)
    digest = b64encode(sha256(page.style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    for path, operation in operations(document):
        assert path in page.text
        assert all(parameter["name"] in page.text for parameter in operation.get("parameters", ()))
    assert "`" not in page.text
    assert str(EXAMPLE["detections"][0]["box"]["x1"]) in page.text
