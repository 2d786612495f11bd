"""Clients of other services find through our compatible routes what our own route finds."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import pytest
import requests
from deepstack_sdk import Detection, ServerConfig
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from inference_sdk import InferenceConfiguration, InferenceHTTPClient
from inference_sdk.http.entities import HTTPClientMode, VisualisationResponseFormat
from inference_sdk.http.errors import HTTPCallErrorError

Found: TypeAlias = tuple[str, float, tuple[float, float, float, float]]
Same: TypeAlias = Callable[..., None]


def from_huggingface(elements: list[Any]) -> list[Found]:
    boxes = [(each.label, each.score, each.box) for each in elements]
    return [(label, score, (box.xmin, box.ymin, box.xmax, box.ymax)) for label, score, box in boxes]


def from_roboflow(answer: dict[str, Any]) -> list[Found]:
    return [
        (
            each["class"],
            each["confidence"],
            (
                each["x"] - each["width"] / 2,
                each["y"] - each["height"] / 2,
                each["x"] + each["width"] / 2,
                each["y"] + each["height"] / 2,
            ),
        )
        for each in answer["predictions"]
    ]


def from_deepstack(items: list[Any]) -> list[Found]:
    return [(each.label, each.confidence, (each.x_min, each.y_min, each.x_max, each.y_max)) for each in items]


@pytest.fixture(scope="session")
def for_the_best(known: list[Found]) -> float:
    """A threshold that only the best detection passes."""
    return (known[0][1] + known[1][1]) / 2


@pytest.fixture
def huggingface(address: str) -> InferenceClient:
    return InferenceClient(model=f"{address}/compat/huggingface/shapes")


@pytest.fixture(params=["v0", "v1"])
def roboflow(address: str, request: pytest.FixtureRequest) -> InferenceHTTPClient:
    client = InferenceHTTPClient(api_url=f"{address}/compat/roboflow", api_key="unused")
    return client.select_api_v0() if request.param == "v0" else client.select_api_v1()


@pytest.fixture
def roboflow_v1(address: str) -> InferenceHTTPClient:
    return InferenceHTTPClient(api_url=f"{address}/compat/roboflow", api_key="unused")


def test_huggingface_takes_bytes_and_files(huggingface: InferenceClient, picture: Path, assert_same: Same) -> None:
    assert_same(from_huggingface(huggingface.object_detection(picture.read_bytes())))
    assert_same(from_huggingface(huggingface.object_detection(str(picture))))


def test_huggingface_takes_a_threshold(
    huggingface: InferenceClient, picture: Path, for_the_best: float, assert_same: Same
) -> None:
    assert_same(from_huggingface(huggingface.object_detection(picture.read_bytes(), threshold=0.25)))
    assert len(huggingface.object_detection(str(picture), threshold=for_the_best)) == 1
    assert huggingface.object_detection(str(picture), threshold=1.0) == []


def test_huggingface_takes_a_token_and_asks_without_waiting(address: str, picture: Path, assert_same: Same) -> None:
    client = AsyncInferenceClient(model=f"{address}/compat/huggingface/shapes", token="unused")
    assert_same(from_huggingface(asyncio.run(client.object_detection(str(picture), threshold=0.25))))


@pytest.mark.parametrize(
    ("model", "sent", "status", "told"),
    [
        ("shapes", b"no picture at all", 415, "send one of JPEG, PNG"),
        ("shapes", b"", 422, "empty"),
        ("nothing", None, 404, "there is no model nothing here"),
    ],
)
def test_huggingface_is_told_what_was_wrong(
    address: str, picture: Path, model: str, sent: bytes | None, status: int, told: str
) -> None:
    client = InferenceClient(model=f"{address}/compat/huggingface/{model}")
    with pytest.raises(HfHubHTTPError) as caught:
        client.object_detection(picture.read_bytes() if sent is None else sent)
    assert caught.value.response.status_code == status
    assert told in caught.value.response.json()["error"]


def test_roboflow_takes_files_and_arrays(roboflow: InferenceHTTPClient, picture: Path, assert_same: Same) -> None:
    answer = roboflow.infer(str(picture), model_id="shapes/1")
    assert answer["image"] == {"width": 480, "height": 360}
    assert {each["class_id"] for each in answer["predictions"]} == {0, 1, 2}
    assert_same(from_roboflow(answer), 0.01)
    again = from_roboflow(roboflow.infer(cv2.imread(str(picture)), model_id="shapes/1"))
    assert {label for label, _, _ in again} >= {"circle", "square", "triangle"}


def test_roboflow_takes_several_pictures(roboflow: InferenceHTTPClient, picture: Path, assert_same: Same) -> None:
    for size in (1, 4):
        with roboflow.use_configuration(InferenceConfiguration(max_batch_size=size)):
            answers = roboflow.infer([str(picture)] * 3, model_id="shapes/1")
        assert len(answers) == 3
        for answer in answers:
            assert_same(from_roboflow(answer), 0.01)


def test_roboflow_asks_without_waiting(roboflow: InferenceHTTPClient, picture: Path, assert_same: Same) -> None:
    assert_same(from_roboflow(asyncio.run(roboflow.infer_async(str(picture), model_id="shapes/1"))), 0.01)


def test_roboflow_takes_thresholds(
    roboflow: InferenceHTTPClient, picture: Path, known: list[Found], for_the_best: float
) -> None:
    strict = InferenceConfiguration(confidence_threshold=for_the_best, iou_threshold=0.5, max_detections=100)
    with roboflow.use_configuration(strict):
        assert len(roboflow.infer(str(picture), model_id="shapes/1")["predictions"]) == 1
    with roboflow.use_configuration(InferenceConfiguration(confidence_threshold=0.01, max_detections=2)):
        assert len(roboflow.infer(str(picture), model_id="shapes/1")["predictions"]) == 2
    with roboflow.use_configuration(InferenceConfiguration(confidence_threshold="default")):
        assert len(roboflow.infer(str(picture), model_id="shapes/1")["predictions"]) == len(known)


def test_roboflow_takes_a_key_in_the_header_alone(
    roboflow: InferenceHTTPClient, picture: Path, assert_same: Same
) -> None:
    with roboflow.use_configuration(InferenceConfiguration(api_key_transport="header")):
        assert_same(from_roboflow(roboflow.infer(str(picture), model_id="shapes/1")), 0.01)


@pytest.mark.parametrize("wanted", [{"format": "image"}, {"format": "image_and_json"}, {"visualize_predictions": True}])
def test_roboflow_shows_what_was_found(roboflow: InferenceHTTPClient, picture: Path, wanted: dict[str, Any]) -> None:
    numpy = VisualisationResponseFormat.NUMPY
    with roboflow.use_configuration(InferenceConfiguration(output_visualisation_format=numpy, **wanted)):
        answer = roboflow.infer(str(picture), model_id="shapes/1")
    is_v0 = roboflow.client_mode is HTTPClientMode.V0
    if is_v0 == ("format" in wanted):
        assert answer["visualization"].shape == (360, 480, 3)
        assert (answer["visualization"] != cv2.imread(str(picture))).any()
    if wanted != {"format": "image"} or not is_v0:
        assert len(answer["predictions"]) >= 3


def test_roboflow_takes_classes(roboflow_v1: InferenceHTTPClient, picture: Path) -> None:
    wanted = InferenceConfiguration(class_filter=["circle", "square"], class_agnostic_nms=True, source="tests")
    with roboflow_v1.use_configuration(wanted):
        found = roboflow_v1.infer(str(picture), model_id="shapes/1")["predictions"]
    assert {each["class"] for each in found} == {"circle", "square"}


def test_roboflow_knows_what_is_served(roboflow_v1: InferenceHTTPClient, picture: Path, assert_same: Same) -> None:
    assert roboflow_v1.get_server_info().name == "LookOnce"
    (model,) = roboflow_v1.list_loaded_models().models
    assert (model.model_id, model.task_type) == ("shapes/1", "object-detection")
    assert (model.input_width, model.input_height) == (640, 640)
    assert roboflow_v1.load_model("shapes/1").models == [model]
    assert_same(from_roboflow(roboflow_v1.infer(str(picture), model_id="shapes")), 0.01)


@pytest.mark.parametrize(("model", "told"), [("nothing/1", "no model nothing"), ("shapes/7", "no version 7")])
def test_roboflow_is_told_what_is_not_served(
    roboflow: InferenceHTTPClient, picture: Path, model: str, told: str
) -> None:
    with pytest.raises(HTTPCallErrorError) as caught:
        roboflow.infer(str(picture), model_id=model)
    assert caught.value.status_code == 404
    assert told in caught.value.api_message


@pytest.mark.parametrize("name", [None, "shapes"])
def test_deepstack_finds_the_same(address: str, picture: Path, name: str | None, assert_same: Same) -> None:
    client = Detection(ServerConfig(address, api_key="unused"), name=name)
    assert_same(from_deepstack(client.detectObject(str(picture), min_confidence=0.25)))
    assert_same(from_deepstack(client.detectObject(picture.read_bytes(), min_confidence=0.25)))


def test_deepstack_draws_what_it_was_told(
    address: str, picture: Path, tmp_path: Path, for_the_best: float, assert_same: Same
) -> None:
    drawn = tmp_path / "drawn.jpg"
    client = Detection(ServerConfig(address))
    assert_same(from_deepstack(client.detectObject(str(picture), min_confidence=0.25, output=str(drawn))))
    assert cv2.imread(str(drawn)).shape == (360, 480, 3)
    assert len(client.detectObject(str(picture), min_confidence=for_the_best)) == 1


def test_deepstack_is_told_that_something_was_wrong(address: str) -> None:
    with pytest.raises(Exception, match="Unknown error : 415 occured"):
        Detection(ServerConfig(address)).detectObject(b"no picture at all")


def test_frigate_reads_its_detections(address: str, picture: Path, known: list[Found]) -> None:
    """Its deepstack detector sends just this, and stops reading at the first prediction below 0.4."""
    url = f"{address}/v1/vision/detection"
    answer = requests.post(url, data={"api_key": ""}, files={"image": picture.read_bytes()}, timeout=10).json()
    scores = [each["confidence"] for each in answer["predictions"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(known)
    assert {"y_min", "x_min", "y_max", "x_max", "label"} <= answer["predictions"][0].keys()


Ask: TypeAlias = Callable[[str, str, Path], list[object]]


def ask_huggingface(address: str, key: str, picture: Path) -> list[object]:
    client = InferenceClient(model=f"{address}/compat/huggingface/shapes", token=key)
    return client.object_detection(str(picture), threshold=0.25)


def ask_roboflow_v0(address: str, key: str, picture: Path) -> list[object]:
    client = InferenceHTTPClient(api_url=f"{address}/compat/roboflow", api_key=key).select_api_v0()
    return client.infer(str(picture), model_id="shapes/1")["predictions"]


def ask_roboflow_v1(address: str, key: str, picture: Path) -> list[object]:
    client = InferenceHTTPClient(api_url=f"{address}/compat/roboflow", api_key=key)
    return client.infer(str(picture), model_id="shapes/1")["predictions"]


def ask_deepstack(address: str, key: str, picture: Path) -> list[object]:
    return Detection(ServerConfig(address, api_key=key)).detectObject(str(picture)).detections


@pytest.mark.parametrize("ask", [ask_huggingface, ask_roboflow_v0, ask_roboflow_v1, ask_deepstack])
def test_a_key_is_taken_where_each_client_puts_it(address_with_keys: str, picture: Path, ask: Ask) -> None:
    assert len(ask(address_with_keys, "secret", picture)) == 2
    with pytest.raises(Exception, match="401"):
        ask(address_with_keys, "wrong", picture)
