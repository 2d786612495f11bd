"""Every way into a gateway, each as a function from a picture to rows `x1 y1 x2 y2 score class_id`."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
import httpx
from websockets.asyncio.client import connect

from lookonce.client import Client
from lookonce.serving import Ports
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.proto.lookonce.v1.detection_pb2_grpc import DetectionStub

Row: TypeAlias = Sequence[float]
Way: TypeAlias = Callable[[Ports, bytes], Awaitable[list[Row]]]
LABELS: Final = ("circle", "square", "triangle", "star", "hexagon", "cross")


async def raw(ports: Ports, picture: bytes) -> list[Row]:
    return rows(await posted(ports, "/v1/detect", content=picture, headers={"Content-Type": "image/jpeg"}))


async def versioned(ports: Ports, picture: bytes) -> list[Row]:
    return rows(await posted(ports, "/v1/models/shapes/versions/1/detect", content=picture))


async def form(ports: Ports, picture: bytes) -> list[Row]:
    return rows(await posted(ports, "/v1/detect", files={"file": ("a.jpg", picture)}))


async def envelope(ports: Ports, picture: bytes) -> list[Row]:
    images = [{"base64": base64.b64encode(picture).decode()}]
    return rows(await posted(ports, "/v1/models/shapes/detect", json={"images": images}))


async def coco(ports: Ports, picture: bytes) -> list[Row]:
    answer = await posted(ports, "/v1/detect?format=coco", content=picture)
    boxes = [(each["bbox"], each) for each in answer]
    return [(x, y, x + w, y + h, each["score"], each["category_id"]) for (x, y, w, h), each in boxes]


async def ultralytics(ports: Ports, picture: bytes) -> list[Row]:
    answer = await posted(ports, "/v1/detect?format=ultralytics", content=picture)
    return [(*corners(each["box"]), each["confidence"], each["class"]) for each in answer]


async def roboflow(ports: Ports, picture: bytes) -> list[Row]:
    answer = await posted(ports, "/v1/detect?format=roboflow", content=picture)
    return [(*around_centre(each), each["confidence"], each["class_id"]) for each in answer["predictions"]]


async def roboflow_route(ports: Ports, picture: bytes) -> list[Row]:
    image = {"type": "base64", "value": base64.b64encode(picture).decode()}
    body = {"model_id": "shapes/1", "image": image, "confidence": 0.25, "iou_threshold": 0.7}
    answer = await posted(ports, "/compat/roboflow/infer/object_detection", json=body)
    return [(*around_centre(each), each["confidence"], each["class_id"]) for each in answer["predictions"]]


async def huggingface(ports: Ports, picture: bytes) -> list[Row]:
    return whole(await posted(ports, "/v1/detect?format=huggingface", content=picture))


async def huggingface_route(ports: Ports, picture: bytes) -> list[Row]:
    body = {"inputs": base64.b64encode(picture).decode(), "parameters": {"threshold": 0.25}}
    return whole(await posted(ports, "/compat/huggingface/shapes", json=body))


async def deepstack(ports: Ports, picture: bytes) -> list[Row]:
    sent = {"files": {"image": ("a.jpg", picture)}, "data": {"min_confidence": "0.25"}}
    answer = await posted(ports, "/v1/vision/detection", **sent)
    return [
        (
            *(each[edge] for edge in ("x_min", "y_min", "x_max", "y_max")),
            each["confidence"],
            LABELS.index(each["label"]),
        )
        for each in answer["predictions"]
    ]


async def grpc_call(ports: Ports, picture: bytes) -> list[Row]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        answer = await DetectionStub(channel).Detect(wire.DetectRequest(images=[picture]), timeout=30)
    return messages(answer.results[0].detections)


async def grpc_stream(ports: Ports, picture: bytes) -> list[Row]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        sent = [wire.DetectStreamRequest(frame=wire.Frame(image=picture))]
        answers = [each async for each in DetectionStub(channel).DetectStream(iter(sent), timeout=30)]
    return messages(answers[0].result.detections)


async def websocket(ports: Ports, picture: bytes) -> list[Row]:
    async with connect(f"ws://127.0.0.1:{ports.http}/v1/stream", proxy=None, compression=None) as stream:
        await stream.send(picture)
        return rows(json.loads(await stream.recv()))


async def python_client(ports: Ports, picture: bytes) -> list[Row]:
    with Client(f"http://127.0.0.1:{ports.http}", timeout_s=30) as client:
        found = await asyncio.to_thread(client.detect, picture)
    return [(each.box.x1, each.box.y1, each.box.x2, each.box.y2, each.confidence, each.class_id) for each in found]


EXACT: Final[tuple[Way, ...]] = (
    raw,
    versioned,
    form,
    envelope,
    coco,
    ultralytics,
    roboflow,
    roboflow_route,
    grpc_call,
    grpc_stream,
    websocket,
    python_client,
)
IN_WHOLE_PIXELS: Final[tuple[Way, ...]] = (huggingface, huggingface_route, deepstack)
"""Whose clients read whole numbers."""


async def posted(ports: Ports, path: str, **body: Any) -> Any:  # noqa: ANN401
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}", timeout=30) as http:
        answer = await http.post(path, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows(answer: Mapping[str, Any]) -> list[Row]:
    return [(*corners(each["box"]), each["confidence"], each["class_id"]) for each in answer["detections"]]


def corners(box: Mapping[str, float]) -> Row:
    return box["x1"], box["y1"], box["x2"], box["y2"]


def around_centre(box: Mapping[str, float]) -> Row:
    half_w, half_h = box["width"] / 2, box["height"] / 2
    return box["x"] - half_w, box["y"] - half_h, box["x"] + half_w, box["y"] + half_h


def whole(answer: Iterable[Mapping[str, Any]]) -> list[Row]:
    edges = "xmin", "ymin", "xmax", "ymax"
    return [(*(each["box"][edge] for edge in edges), each["score"], LABELS.index(each["label"])) for each in answer]


def messages(detections: Iterable[wire.DetectedObject]) -> list[Row]:
    return [(each.box.x1, each.box.y1, each.box.x2, each.box.y2, each.confidence, each.class_id) for each in detections]
