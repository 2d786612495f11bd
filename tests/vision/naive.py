"""Every layout again, one number at a time in Python floats, straight from the table of layouts: nothing is shared.

Each takes one picture's outputs, without the batch, and gives its rows `(x1, y1, x2, y2, score, class)` in order.
"""

from collections.abc import Callable, Iterator, Sequence
from math import exp
from typing import Any, TypeAlias

Row: TypeAlias = tuple[float, float, float, float, float, int]
Rows: TypeAlias = list[Row]
Spec: TypeAlias = dict[str, Any]


def columns(outputs: Sequence[Any], _spec: Spec) -> Rows:
    head, rows = outputs[0], []
    for anchor in range(len(head[0])):
        values = [float(line[anchor]) for line in head]
        score, best = greatest(values[4:])
        rows.append((*around(*values[:4]), score, best))
    return rows


def second_of_two(outputs: Sequence[Any], spec: Spec) -> Rows:
    return columns([outputs[1]], spec)


def objectness(outputs: Sequence[Any], _spec: Spec) -> Rows:
    rows = []
    for line in outputs[0].tolist():
        score, best = greatest([line[4] * one for one in line[5:]])
        rows.append((*around(*line[:4]), score, best))
    return rows


def yolox(outputs: Sequence[Any], spec: Spec) -> Rows:
    cells = []
    for stride in spec["strides"]:
        for y in range(spec["height"] // stride):
            cells += [(x, y, stride) for x in range(spec["width"] // stride)]
    rows = []
    for (x, y, stride), line in zip(cells, outputs[0].tolist(), strict=True):
        score, best = greatest([line[4] * one for one in line[5:]])
        box = around((line[0] + x) * stride, (line[1] + y) * stride, exp(line[2]) * stride, exp(line[3]) * stride)
        rows.append((*box, score, best))
    return rows


def finished(outputs: Sequence[Any], _spec: Spec) -> Rows:
    return [(*line[:4], line[4], int(line[5])) for line in outputs[0].tolist()]


def finished_unit(outputs: Sequence[Any], spec: Spec) -> Rows:
    return [(*unit(line, spec), line[4], int(line[5])) for line in outputs[0].tolist()]


def queries(outputs: Sequence[Any], spec: Spec) -> Rows:
    return [(*unit(line, spec), *greatest(line[4:])) for line in outputs[0].tolist()]


def transformers(outputs: Sequence[Any], spec: Spec) -> Rows:
    logits, boxes = (output.tolist() for output in outputs)
    return [(*unit(boxes[place], spec), *greatest([sig(one) for one in logits[place]])) for place in range(len(boxes))]


def labels_boxes_scores(outputs: Sequence[Any], _spec: Spec) -> Rows:
    labels, boxes, scores = (output.tolist() for output in outputs)
    return [(*boxes[place], scores[place], labels[place]) for place in range(len(boxes))]


def nas(outputs: Sequence[Any], _spec: Spec) -> Rows:
    count, boxes, scores, labels = (output.tolist() for output in outputs)
    return [
        (*boxes[place], scores[place] if place < count[0] else 0.0, int(labels[place])) for place in range(len(boxes))
    ]


def unit_corners(outputs: Sequence[Any], spec: Spec) -> Rows:
    boxes, scores = (output.tolist() for output in outputs)
    w, h, rows = spec["width"], spec["height"], []
    for (box,), line in zip(boxes, scores, strict=True):
        rows.append((box[0] * w, box[1] * h, box[2] * w, box[3] * h, *greatest(line)))
    return rows


def corners(outputs: Sequence[Any], _spec: Spec) -> Rows:
    boxes, scores = (output.tolist() for output in outputs)
    return [(*box, *greatest(line)) for box, line in zip(boxes, scores, strict=True)]


def centres(outputs: Sequence[Any], _spec: Spec) -> Rows:
    boxes, scores = (output.tolist() for output in outputs)
    return [(*around(*box), *greatest(line)) for box, line in zip(boxes, scores, strict=True)]


def anchored(outputs: Sequence[Any], spec: Spec) -> Rows:
    rows = []
    for place, head in enumerate(outputs):
        high, wide = len(head[0]), len(head[0][0])
        step_x, step_y = spec["width"] / wide, spec["height"] / high
        for anchor, y, x in triples(len(head), high, wide):
            value = [sig(float(one)) for one in head[anchor][y][x]]
            anchor_w, anchor_h = spec["anchors_wh"][place][anchor]
            centre = (2 * value[0] - 0.5 + x) * step_x, (2 * value[1] - 0.5 + y) * step_y
            size = (2 * value[2]) ** 2 * anchor_w, (2 * value[3]) ** 2 * anchor_h
            rows.append((*around(*centre, *size), *greatest([value[4] * one for one in value[5:]])))
    return rows


def darknet(outputs: Sequence[Any], spec: Spec) -> Rows:
    rows = []
    for place, head in enumerate(outputs):
        high, wide = len(head[0]), len(head[0][0])
        anchors, s = spec["anchors_wh"][place], spec["scale_xy"][place]
        depth = len(head) // len(anchors)
        for anchor, y, x in triples(len(anchors), high, wide):
            raw = [float(head[anchor * depth + channel][y][x]) for channel in range(depth)]
            centre_x = (sig(raw[0]) * s - (s - 1) / 2 + x) * spec["width"] / wide
            centre_y = (sig(raw[1]) * s - (s - 1) / 2 + y) * spec["height"] / high
            size = exp(raw[2]) * anchors[anchor][0], exp(raw[3]) * anchors[anchor][1]
            score, best = greatest([sig(raw[4]) * sig(one) for one in raw[5:]])
            rows.append((*around(centre_x, centre_y, *size), score, best))
    return rows


def yolov1(outputs: Sequence[Any], spec: Spec) -> Rows:
    return yolov1_of(outputs[0].tolist(), spec, lambda side: side)


def yolov1_roots(outputs: Sequence[Any], spec: Spec) -> Rows:
    return yolov1_of(outputs[0].tolist(), spec, lambda side: side * side)


def yolov1_of(grid: list[list[list[float]]], spec: Spec, side: Callable[[float], float]) -> Rows:
    rows = []
    for y, line in enumerate(grid):
        for x, cell in enumerate(line):
            classes = cell[len(cell) - spec["classes"] :]
            for start in range(0, len(cell) - spec["classes"], 5):
                box_x, box_y, box_w, box_h, confidence = cell[start : start + 5]
                centre = (x + box_x) / len(line) * spec["width"], (y + box_y) / len(grid) * spec["height"]
                size = side(box_w) * spec["width"], side(box_h) * spec["height"]
                rows.append((*around(*centre, *size), *greatest([confidence * one for one in classes])))
    return rows


def around(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def unit(line: Sequence[float], spec: Spec) -> tuple[float, float, float, float]:
    w, h = spec["width"], spec["height"]
    return around(line[0] * w, line[1] * h, line[2] * w, line[3] * h)


def greatest(values: Sequence[float]) -> tuple[float, int]:
    best = 0
    for place, value in enumerate(values):
        if value > values[best]:
            best = place
    return values[best], best


def sig(value: float) -> float:
    return 1 / (1 + exp(-value)) if value > -700 else 0.0


def triples(first: int, second: int, third: int) -> Iterator[tuple[int, int, int]]:
    return ((a, b, c) for a in range(first) for b in range(second) for c in range(third))


def best_rows(rows: Rows, k: int) -> Rows:
    """The K best, first of equals first; a row that scores nothing is empty."""
    order = sorted(range(len(rows)), key=lambda place: (-max(rows[place][4], 0.0), place))[:k]
    return [rows[place] if rows[place][4] > 0 else (0.0, 0.0, 0.0, 0.0, 0.0, -1) for place in order]


BY_LAYOUT: dict[str, Callable[[Sequence[Any], Spec], Rows]] = {
    "yolov8": columns,
    "yolov9-dual": second_of_two,
    "yolov5": objectness,
    "yolov6": objectness,
    "yolox": yolox,
    "yolox-decoded": objectness,
    "yolov7-raw": anchored,
    "yolov5-raw": anchored,
    "darknet-v3": darknet,
    "darknet-v4": darknet,
    "darknet-v3-tiny": darknet,
    "darknet-v4-tiny": darknet,
    "yolov4-pytorch": unit_corners,
    "yolov1": yolov1,
    "yolov1-roots": yolov1_roots,
    "end2end": finished,
    "rtdetr-ultralytics": finished_unit,
    "rtdetr-ultralytics-dense": queries,
    "rtdetr": labels_boxes_scores,
    "rtdetr-transformers": transformers,
    "yolo-nas": nas,
    "efficientnms-corners": corners,
    "efficientnms-centres": centres,
}
