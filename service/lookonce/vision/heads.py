"""What each YOLO family's raw outputs mean: the numpy reference that every served graph is held to.

Every decoder takes one model's outputs in order and gives `Decoded`: boxes xyxy in network-input pixels.
A is the number of anchor points, C of classes; N, the batch, comes first in every array.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookonce.vision.boxes import cxcywh_to_xyxy

Floats: TypeAlias = NDArray[np.float32]
Outputs: TypeAlias = Sequence[NDArray[Any]]
Anchors: TypeAlias = tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """What a decoder must know beside the arrays. `anchors_wh` is in pixels, one row a head, finest first."""

    width: int
    height: int
    classes: int
    anchors_wh: Anchors = ()
    scale_xy: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    boxes_xyxy: Floats
    scores: Floats
    class_ids: NDArray[np.int64]


Decode: TypeAlias = Callable[[Outputs, HeadSpec], Decoded]


def top_candidates(decoded: Decoded, k: int) -> Floats:
    """The K best rows `x1 y1 x2 y2 score class_id` of each picture, first of equals first; empty ones are class −1."""
    order = np.argsort(-decoded.scores, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(decoded.scores, order, axis=1)[..., None]
    ids = np.take_along_axis(decoded.class_ids, order, axis=1)[..., None].astype(np.float32)
    boxes = np.take_along_axis(decoded.boxes_xyxy, order[..., None], axis=1)
    filled = scores > 0
    rows = np.concatenate([np.where(filled, boxes, 0), np.where(filled, scores, 0), np.where(filled, ids, -1)], axis=-1)
    return rows.astype(np.float32)


def best_class(boxes_xyxy: Floats, class_scores: Floats) -> Decoded:
    """One row an anchor: `class_scores` is [N,A,C]."""
    return Decoded(boxes_xyxy, class_scores.max(axis=-1), class_scores.argmax(axis=-1))


def rows_with_objectness(outputs: Outputs, _spec: HeadSpec) -> Decoded:
    """v5, v6, v7 --grid, YOLOX decoded: [N,A,5+C], cxcywh px, score = objectness · class."""
    rows = outputs[0].astype(np.float32)
    return best_class(cxcywh_to_xyxy(rows[..., :4]), rows[..., 4:5] * rows[..., 5:])


def columns(outputs: Outputs, _spec: HeadSpec) -> Decoded:
    """v8, 11, 12, 26, v3u, v5u, v9: [N,4+C,A], cxcywh px."""
    rows = outputs[0].astype(np.float32).transpose(0, 2, 1)
    return best_class(cxcywh_to_xyxy(rows[..., :4]), rows[..., 4:])


def second_of_two_columns(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """v9-c and v9-e as trained: the first output is the auxiliary branch, the second the main one."""
    return columns(outputs[1:], spec)


def finished_rows(outputs: Outputs, _spec: HeadSpec) -> Decoded:
    """v10, 26 end-to-end, exports with NMS inside: [N,K,6], xyxy px, score, class."""
    rows = outputs[0].astype(np.float32)
    return Decoded(rows[..., :4], rows[..., 4], rows[..., 5].astype(np.int64))


def finished_rows_unit_centre(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """RT-DETR as Ultralytics 8.4 exports it: [N,K,6], cxcywh 0..1, score, class."""
    rows = outputs[0].astype(np.float32)
    return Decoded(cxcywh_to_xyxy(rows[..., :4]) * _size(spec), rows[..., 4], rows[..., 5].astype(np.int64))


def rows_unit_centre(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """RT-DETR as older Ultralytics exports it: [N,K,4+C], cxcywh 0..1."""
    rows = outputs[0].astype(np.float32)
    return best_class(cxcywh_to_xyxy(rows[..., :4]) * _size(spec), rows[..., 4:])


def logits_and_unit_centre(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """RT-DETR and D-FINE as transformers exports them: logits [N,K,C] and boxes [N,K,4], cxcywh 0..1."""
    logits, boxes = (output.astype(np.float32) for output in outputs[:2])
    return best_class(cxcywh_to_xyxy(boxes) * _size(spec), sigmoid(logits))


def labels_boxes_scores(outputs: Outputs, _spec: HeadSpec) -> Decoded:
    """RT-DETR, D-FINE and DEIM of their authors: labels [N,K], boxes [N,K,4] xyxy px, scores [N,K]."""
    labels, boxes, scores = outputs[:3]
    return Decoded(boxes.astype(np.float32), scores.astype(np.float32), labels.astype(np.int64))


def counted_rows(outputs: Outputs, _spec: HeadSpec) -> Decoded:
    """YOLO-NAS: how many [N,1], boxes [N,K,4] xyxy px, scores [N,K], classes [N,K]; the rest is padding."""
    count, boxes, scores, labels = outputs[:4]
    kept = np.arange(scores.shape[1])[None, :] < count.reshape(-1, 1)
    return Decoded(boxes.astype(np.float32), np.where(kept, scores, 0).astype(np.float32), labels.astype(np.int64))


def unit_corners_and_confidences(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """v4 of pytorch-YOLOv4: boxes [N,A,1,4] xyxy 0..1 and confs [N,A,C], objectness already in them."""
    boxes, confidences = (output.astype(np.float32) for output in outputs[:2])
    return best_class(boxes.reshape(*confidences.shape[:2], 4) * _size(spec), confidences)


def corners_and_scores(outputs: Outputs, _spec: HeadSpec) -> Decoded:
    """What EfficientNMS_TRT is fed, box_coding 0: boxes [N,A,4] or [N,A,1,4] xyxy px, scores [N,A,C]."""
    boxes, scores = (output.astype(np.float32) for output in outputs[:2])
    return best_class(boxes.reshape(*scores.shape[:2], 4), scores)


def centres_and_scores(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """What EfficientNMS_TRT is fed, box_coding 1: cxcywh px."""
    decoded = corners_and_scores(outputs, spec)
    return Decoded(cxcywh_to_xyxy(decoded.boxes_xyxy), decoded.scores, decoded.class_ids)


def yolox_offsets(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """YOLOX by default: [N,A,5+C], xy = (t + cell)·stride, wh = exp(t)·stride."""
    rows = outputs[0].astype(np.float32)
    cells, strides = points(spec, strides_of(spec, rows.shape[1]))
    centre = (rows[..., :2] + cells) * strides
    size = np.exp(rows[..., 2:4]) * strides
    return best_class(cxcywh_to_xyxy(np.concatenate([centre, size], -1)), rows[..., 4:5] * rows[..., 5:])


def anchored_logits(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """v7 without --grid: a [N,3,H,W,5+C] for each stride; xy = (2σ − ½ + cell)·stride, wh = (2σ)²·anchor."""
    return _join([_anchored(head.astype(np.float32), spec, place) for place, head in enumerate(outputs)])


def darknet(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """v3 and v4: a [N,3·(5+C),H,W] for each stride; xy = (σ·s − (s−1)/2 + cell)·stride, wh = exp(t)·anchor."""
    return _join([_darknet(head.astype(np.float32), spec, place) for place, head in enumerate(outputs)])


def yolov1_grid(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """v1: [N,S,S,B·5+C]; xy within the cell, wh of the whole picture, B boxes share a cell's C scores."""
    return _yolov1(outputs[0].astype(np.float32), spec, np.asarray)


def yolov1_grid_roots(outputs: Outputs, spec: HeadSpec) -> Decoded:
    """v1 trained on the square roots of width and height."""
    return _yolov1(outputs[0].astype(np.float32), spec, np.square)


def sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)


def cells_of(columns_: int, rows: int) -> Floats:
    """Column and row of each cell of a grid, row by row: [rows·columns, 2]."""
    y, x = np.meshgrid(np.arange(rows), np.arange(columns_), indexing="ij")
    return np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)


def points(spec: HeadSpec, strides: Sequence[int]) -> tuple[Floats, Floats]:
    """Cells [A,2] and strides [A,1] of an anchor-free head, finest grid first."""
    cells = [cells_of(spec.width // stride, spec.height // stride) for stride in strides]
    scale = [np.full((len(cell), 1), stride, np.float32) for cell, stride in zip(cells, strides, strict=True)]
    return np.concatenate(cells), np.concatenate(scale)


STRIDES = (8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32)


def count_points(width: int, height: int, strides: Sequence[int]) -> int:
    return sum((width // stride) * (height // stride) for stride in strides)


def strides_of(spec: HeadSpec, anchors: int) -> tuple[int, ...]:
    """The set of strides whose grids have that many points in all; empty where none has."""
    fitting = (strides for strides in STRIDES if count_points(spec.width, spec.height, strides) == anchors)
    return next(fitting, ())


def _size(spec: HeadSpec) -> Floats:
    return np.array([spec.width, spec.height] * 2, np.float32)


def _join(parts: Sequence[Decoded]) -> Decoded:
    return Decoded(
        np.concatenate([part.boxes_xyxy for part in parts], 1),
        np.concatenate([part.scores for part in parts], 1),
        np.concatenate([part.class_ids for part in parts], 1),
    )


def _anchored(head: Floats, spec: HeadSpec, place: int) -> Decoded:
    batch, anchors, rows, cols, width = head.shape
    values = sigmoid(head).reshape(batch, anchors, rows * cols, width)
    stride = np.array([spec.width / cols, spec.height / rows], np.float32)
    size = np.array(spec.anchors_wh[place], np.float32)[None, :, None, :]
    centre = (values[..., :2] * 2 - np.float32(0.5) + cells_of(cols, rows)) * stride
    boxes = np.concatenate([centre, np.square(values[..., 2:4] * 2) * size], -1).reshape(batch, -1, 4)
    scores = (values[..., 4:5] * values[..., 5:]).reshape(batch, -1, width - 5)
    return best_class(cxcywh_to_xyxy(boxes), scores)


def _darknet(head: Floats, spec: HeadSpec, place: int) -> Decoded:
    batch, channels, rows, cols = head.shape
    anchors = np.array(spec.anchors_wh[place], np.float32)
    values = head.reshape(batch, len(anchors), channels // len(anchors), rows * cols).transpose(0, 1, 3, 2)
    stride = np.array([spec.width / cols, spec.height / rows], np.float32)
    scale = np.float32(spec.scale_xy[place])
    centre = (sigmoid(values[..., :2]) * scale - (scale - 1) / 2 + cells_of(cols, rows)) * stride
    boxes = np.concatenate([centre, np.exp(values[..., 2:4]) * anchors[None, :, None, :]], -1).reshape(batch, -1, 4)
    scores = (sigmoid(values[..., 4:5]) * sigmoid(values[..., 5:])).reshape(batch, -1, values.shape[-1] - 5)
    return best_class(cxcywh_to_xyxy(boxes), scores)


def _yolov1(grid: Floats, spec: HeadSpec, side: Callable[[Floats], Floats]) -> Decoded:
    batch, rows, cols, depth = grid.shape
    boxes_per_cell = (depth - spec.classes) // 5
    boxes = grid[..., : boxes_per_cell * 5].reshape(batch, rows * cols, boxes_per_cell, 5)
    classes = grid[..., boxes_per_cell * 5 :].reshape(batch, rows * cols, 1, spec.classes)
    size = _size(spec)[:2]
    centre = (boxes[..., :2] + cells_of(cols, rows)[:, None, :]) * (size / np.array([cols, rows], np.float32))
    xyxy = cxcywh_to_xyxy(np.concatenate([centre, side(boxes[..., 2:4]) * size], -1))
    return best_class(xyxy.reshape(batch, -1, 4), (boxes[..., 4:5] * classes).reshape(batch, -1, spec.classes))
