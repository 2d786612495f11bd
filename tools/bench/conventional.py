"""YOLO on Triton as the guides show it, to be measured against: multipart, OpenCV, FP32 NCHW and the raw head.

FastAPI, and tritonclient's blocking gRPC client on its threads. `TRITON` and `MODEL` are environment variables.
"""

import os
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import FastAPI, File, UploadFile
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput

SIDE, GREY = 640, 114
CONFIDENCE, IOU = 0.25, 0.45

app = FastAPI()
triton = InferenceServerClient(os.environ["TRITON"])
model = os.environ["MODEL"]


@app.post("/detect")
def detect(file: Annotated[UploadFile, File()]) -> list[dict[str, Any]]:
    image = cv2.imdecode(np.frombuffer(file.file.read(), np.uint8), cv2.IMREAD_COLOR)
    canvas = letterboxed(image)
    picture = np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1)[None], dtype=np.float32) / 255
    tensor = InferInput("images", picture.shape, "FP32")
    tensor.set_data_from_numpy(picture)
    head = triton.infer(model, [tensor]).as_numpy("candidates")[0]
    return detections(head)


def letterboxed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    ratio = min(SIDE / height, SIDE / width)
    height, width = round(height * ratio), round(width * ratio)
    canvas = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    canvas[top : top + height, left : left + width] = cv2.resize(image, (width, height))
    return canvas


def detections(head: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Of a head [84,8400]: four rows of boxes, then one a class."""
    scores = head[4:].max(0)
    kept = scores > CONFIDENCE
    classes, boxes, scores = head[4:, kept].argmax(0), head[:4, kept].T, scores[kept]
    best = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), CONFIDENCE, IOU) if len(boxes) else []
    return [{"class": int(classes[one]), "confidence": float(scores[one]), "xywh": boxes[one].tolist()} for one in best]
