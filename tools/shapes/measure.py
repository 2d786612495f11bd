"""From raw detector output to average precision."""

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lookonce.forge.pictures import LABELS, Picture

Floats = NDArray[np.float32]
RawDetector = Callable[[Floats], Floats]

LOWEST_SCORE: Final = 0.001
NMS_IOU: Final = 0.7
MOST_DETECTIONS: Final = 300


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes float32 [N, 4] in pixels, scores float32 [N] and labels int64 [N], best first."""

    boxes_xyxy: Floats
    scores: Floats
    class_ids: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision at IoU 0.5 and over IoU 0.5 to 0.95."""

    map50: float
    map: float


@dataclass(frozen=True, slots=True)
class Report:
    """Precision of everything, of each label, and of small (< 32 px), medium and large (> 96 px) objects."""

    total: Precision
    per_label: dict[str, Precision]
    per_size: dict[str, float]
    object_count: int


def network_input(picture: Picture) -> Floats:
    """float32 [1, 3, H, W] in 0..1."""
    return np.ascontiguousarray(picture.image_rgb.transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)


def detections(raw: Floats, lowest_score: float = LOWEST_SCORE) -> Detections:
    """One picture's output [4 + C, A] to its detections after class-wise NMS."""
    class_ids, scores = raw[4:].argmax(axis=0), raw[4:].max(axis=0)
    kept = np.flatnonzero(scores > lowest_score)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    center, size = raw[:2, kept].T, raw[2:4, kept].T
    boxes = np.concatenate([center - size / 2, center + size / 2], axis=1)
    chosen = _nms(boxes, class_ids[kept])
    return Detections(boxes[chosen], scores[kept][chosen], class_ids[kept][chosen])


def measure(pictures: Iterable[Picture], detector: RawDetector) -> Report:
    """Average precision of a detector: float32 [1, 3, H, W] to float32 [1, 4 + C, A]."""
    truth: dict[str, Any] = {"info": {}, "images": [], "annotations": []}
    truth["categories"] = [{"id": index, "name": label} for index, label in enumerate(LABELS)]
    results: list[dict[str, Any]] = []
    for image_id, picture in enumerate(pictures):
        height, width = picture.image_rgb.shape[:2]
        truth["images"].append({"id": image_id, "width": width, "height": height})
        truth["annotations"] += _true_rows(picture, image_id, len(truth["annotations"]))
        results += _found_rows(detections(detector(network_input(picture))[0]), image_id)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _evaluation(truth, results)
    return _report(evaluation, len(truth["annotations"]))


def _nms(boxes: Floats, class_ids: NDArray[np.int64]) -> list[int]:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    is_left = np.ones(len(boxes), dtype=bool)
    chosen: list[int] = []
    for index in range(len(boxes)):
        if not is_left[index]:
            continue
        chosen.append(index)
        if len(chosen) == MOST_DETECTIONS:
            break
        rivals = index + 1 + np.flatnonzero(is_left[index + 1 :] & (class_ids[index + 1 :] == class_ids[index]))
        left_top = np.maximum(boxes[index, :2], boxes[rivals, :2])
        right_bottom = np.minimum(boxes[index, 2:], boxes[rivals, 2:])
        shared = np.clip(right_bottom - left_top, 0, None).prod(axis=1)
        is_left[rivals[shared / (area[index] + area[rivals] - shared) > NMS_IOU]] = False
    return chosen


def _xywh(box_xyxy: Floats) -> list[float]:
    left, top, right, bottom = (float(edge) for edge in box_xyxy)
    return [left, top, right - left, bottom - top]


def _true_rows(picture: Picture, image_id: int, first_id: int) -> list[dict[str, Any]]:
    rows = []
    for offset, (box, class_id) in enumerate(zip(picture.boxes_xyxy, picture.class_ids, strict=True)):
        x, y, width, height = _xywh(box)
        row = {"id": first_id + offset + 1, "image_id": image_id, "category_id": int(class_id), "iscrowd": 0}
        rows.append(row | {"bbox": [x, y, width, height], "area": width * height})
    return rows


def _found_rows(found: Detections, image_id: int) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": int(class_id), "bbox": _xywh(box), "score": float(score)}
        for box, score, class_id in zip(found.boxes_xyxy, found.scores, found.class_ids, strict=True)
    ]


def _evaluation(truth: dict[str, Any], results: list[dict[str, Any]]) -> COCOeval:
    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.params.maxDets = [1, 100, MOST_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _report(evaluation: COCOeval, object_count: int) -> Report:
    by_iou_label = evaluation.eval["precision"][:, :, :, 0, -1]
    per_label = {
        label: Precision(_mean(by_iou_label[0, :, index]), _mean(by_iou_label[:, :, index]))
        for index, label in enumerate(LABELS)
    }
    by_size = evaluation.eval["precision"][:, :, :, 1:, -1]
    per_size = {name: _mean(by_size[..., index]) for index, name in enumerate(("small", "medium", "large"))}
    return Report(Precision(_mean(by_iou_label[0]), _mean(by_iou_label)), per_label, per_size, object_count)


def _mean(precision: NDArray[np.float64]) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")
