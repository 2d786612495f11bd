"""What clients of other services send, byte for byte."""

import asyncio
import json
from base64 import b64encode

import cv2
import numpy as np
from tests.transports.gateways import Gateway

from lookonce.inference.port import Call, Candidates
from lookonce.transports.compat import deepstack, huggingface, roboflow
from lookonce.transports.http import rest

APIS = rest, deepstack, huggingface, roboflow
PYTHON_REQUESTS = (
    "Host: 127.0.0.1:{port}\r\nUser-Agent: python-requests/2.34.2\r\nAccept-Encoding: gzip, deflate\r\n"
    "Accept: */*\r\nConnection: keep-alive\r\n"
)
HUGGING_FACE = (
    "Host: 127.0.0.1:{port}\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
    "user-agent: unknown/None; hf_hub/2.4.0; python/3.11.7\r\nX-Amzn-Trace-Id: df76d867-bf23-4565-a62f-ff94f49e3093\r\n"
)
BOUNDARY = "38ea22fd9e86a16b1089449f0266958f"
AS_FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
AS_JSON = "Content-Type: application/json\r\n"
JPEG = bytes(cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1])
BASE64 = b64encode(JPEG).decode()

Said = tuple[int, object]


def two(call: Call) -> Candidates:
    """Two detections in each picture, on the model's 32 × 32 pixels."""
    rows = np.zeros((len(call.images), call.card.candidates, 6), np.float32)
    rows[..., 5] = -1
    rows[:, 0] = 4, 5, 10.3, 20.5, 0.9, 0
    rows[:, 1] = 1, 1, 3, 3, 0.3, 1
    return rows


def form(*fields: tuple[str, str], picture: bytes, part: str = 'name="image"; filename="image"') -> bytes:
    """As python-requests writes it: fields first, and a picture without a type of its own."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields
    ]
    head = "".join(parts) + f"--{BOUNDARY}\r\nContent-Disposition: form-data; {part}\r\n\r\n"
    return head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


async def said(gateway: Gateway, line: str, headers: str, body: bytes = b"") -> Said:
    """Status and JSON of the answer to exactly these bytes."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    request = f"{line} HTTP/1.1\r\n{headers.format(port=gateway.port)}{length}\r\n".encode() + body
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        async with asyncio.timeout(30):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            sizes = [each for each in head.lower().split("\r\n") if each.startswith("content-length:")]
            return int(head.split(" ")[1]), json.loads(await reader.readexactly(int(sizes[0].partition(":")[2])))
    finally:
        writer.close()


async def of_deepstack(gateway: Gateway, *fields: tuple[str, str], picture: bytes, path: str = "detection") -> Said:
    body = form(*fields, picture=picture)
    return await said(gateway, f"POST /v1/vision/{path}", PYTHON_REQUESTS + AS_FORM, body)


def body_of(*pictures: str, **changes: object) -> dict[str, object]:
    """As `inference-sdk` writes it in its v1 mode."""
    images = [{"type": "base64", "value": picture} for picture in pictures]
    return {
        "api_key": "k",
        "model_id": "echo/1",
        "visualize_predictions": False,
        "disable_active_learning": False,
        "image": images[0] if len(images) == 1 else images,
    } | changes


async def of_roboflow(gateway: Gateway, body: dict[str, object]) -> Said:
    line = "POST /compat/roboflow/infer/object_detection"
    return await said(gateway, line, PYTHON_REQUESTS + AS_JSON, json.dumps(body).encode())


async def of_roboflow_v0(gateway: Gateway, text: str, query: str = "", version: str = "echo/1") -> Said:
    line = (
        f"POST /compat/roboflow/{version}?api_key=k&allow_reduced_mask_resolution=False&disable_active_learning=False"
    )
    return await said(gateway, line + query, PYTHON_REQUESTS + AS_JSON, text.encode())
