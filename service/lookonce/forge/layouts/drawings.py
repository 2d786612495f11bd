"""Each layout's subgraph, beside its numpy twin in `vision/heads.py`."""

from collections.abc import Callable, Sequence

import numpy as np

from lookonce.forge.layouts.rows import (
    Finish,
    Head,
    Kept,
    Rows,
    best_of,
    centre_box,
    column,
    corners,
    raw_box,
    scaled,
    table,
)
from lookonce.forge.pen import Pen
from lookonce.vision.heads import Floats, cells_of, points, strides_of


def rows_with_objectness(pen: Pen, head: Head) -> Rows:
    return _objectness(pen, head, centre_box)


def yolox_offsets(pen: Pen, head: Head) -> Rows:
    cells, strides = points(head.spec, strides_of(head.spec, head.shapes[0][1]))

    def box(pen: Pen, kept: Kept) -> str:
        stride = table(strides)(pen, kept)
        centre = pen.mul(pen.add(pen.last(kept.rows, 0, 2), table(cells)(pen, kept)), stride)
        return corners(pen, centre, pen.mul(pen.draw("Exp", pen.last(kept.rows, 2, 4)), stride))

    return _objectness(pen, head, box)


def columns(pen: Pen, head: Head) -> Rows:
    raw, depth = head.tensors[0], head.shapes[0][1]
    score = pen.greatest(pen.cut(raw, 1, 4, depth), 1)
    return Rows(raw, depth, score, centre_box, best_of(4, depth), axis=2)


def second_of_two_columns(pen: Pen, head: Head) -> Rows:
    return columns(pen, Head(head.tensors[1:], head.shapes[1:], head.spec))


def finished_rows(pen: Pen, head: Head) -> Rows:
    return Rows(head.tensors[0], 6, _flat(pen, pen.last(head.tensors[0], 4, 5)), raw_box, column(5))


def finished_rows_unit_centre(pen: Pen, head: Head) -> Rows:
    score = _flat(pen, pen.last(head.tensors[0], 4, 5))
    return Rows(head.tensors[0], 6, score, scaled(centre_box, head.spec), column(5))


def rows_unit_centre(pen: Pen, head: Head) -> Rows:
    raw, depth = head.tensors[0], head.shapes[0][2]
    score = pen.greatest(pen.last(raw, 4, depth), -1)
    return Rows(raw, depth, score, scaled(centre_box, head.spec), best_of(4, depth))


def logits_and_unit_centre(pen: Pen, head: Head) -> Rows:
    logits, boxes = head.tensors[:2]
    depth = 4 + head.shapes[0][2]
    score = pen.draw("Sigmoid", pen.greatest(logits, -1))
    return Rows(pen.join([boxes, logits], -1), depth, score, scaled(centre_box, head.spec), _best_logit(depth))


def labels_boxes_scores(pen: Pen, head: Head) -> Rows:
    labels, boxes, scores = head.tensors[:3]
    return Rows(pen.join([boxes, pen.unsqueeze(labels, -1)], -1), 5, scores, raw_box, column(4))


def counted_rows(pen: Pen, head: Head) -> Rows:
    count, boxes, scores, labels = head.tensors[:4]
    places = pen.floats(np.arange(head.shapes[2][1])[None])
    kept = pen.to_float(pen.draw("Less", places, pen.reshape(count, -1, 1)))
    score = pen.mul(scores, kept)
    return Rows(pen.join([boxes, pen.unsqueeze(labels, -1)], -1), 5, score, raw_box, column(4))


def unit_corners_and_confidences(pen: Pen, head: Head) -> Rows:
    return _boxes_and_scores(pen, head, scaled(raw_box, head.spec))


def corners_and_scores(pen: Pen, head: Head) -> Rows:
    return _boxes_and_scores(pen, head, raw_box)


def centres_and_scores(pen: Pen, head: Head) -> Rows:
    return _boxes_and_scores(pen, head, centre_box)


def anchored_logits(pen: Pen, head: Head) -> Rows:
    """Heads [N,3,H,W,5+C]."""
    depth = head.shapes[0][-1]
    raw = pen.join([pen.reshape(tensor, 0, -1, depth) for tensor in head.tensors], 1)
    grids = [(shape[1], shape[2], shape[3]) for shape in head.shapes]
    cells, strides, anchors, _ = _anchor_tables(head, grids)

    def box(pen: Pen, kept: Kept) -> str:
        doubled = pen.mul(pen.draw("Sigmoid", pen.last(kept.rows, 0, 4)), pen.floats(2))
        offset = pen.draw("Sub", pen.last(doubled, 0, 2), pen.floats(0.5))
        centre = pen.mul(pen.add(offset, table(cells)(pen, kept)), table(strides)(pen, kept))
        size = pen.last(doubled, 2, 4)
        return corners(pen, centre, pen.mul(pen.mul(size, size), table(anchors)(pen, kept)))

    return Rows(raw, depth, _logit_score(pen, raw, depth), box, _best_product(depth, _sigmoid))


def darknet(pen: Pen, head: Head) -> Rows:
    """Heads [N,a·(5+C),H,W]."""
    counts = [len(anchors) for anchors in head.spec.anchors_wh]
    depth = head.shapes[0][1] // counts[0]
    parts = [pen.reshape(t, 0, n, depth, -1) for t, n in zip(head.tensors, counts, strict=True)]
    raw = pen.join([pen.reshape(pen.transpose(part, 0, 1, 3, 2), 0, -1, depth) for part in parts], 1)
    grids = [(n, shape[2], shape[3]) for n, shape in zip(counts, head.shapes, strict=True)]
    cells, strides, anchors, scale = _anchor_tables(head, grids)

    def box(pen: Pen, kept: Kept) -> str:
        inside = pen.mul(pen.draw("Sigmoid", pen.last(kept.rows, 0, 2)), table(scale)(pen, kept))
        shifted = pen.draw("Sub", inside, table((scale - 1) / np.float32(2))(pen, kept))
        centre = pen.mul(pen.add(shifted, table(cells)(pen, kept)), table(strides)(pen, kept))
        size = pen.mul(pen.draw("Exp", pen.last(kept.rows, 2, 4)), table(anchors)(pen, kept))
        return corners(pen, centre, size)

    return Rows(raw, depth, _logit_score(pen, raw, depth), box, _best_product(depth, _sigmoid))


def yolov1_grid(pen: Pen, head: Head) -> Rows:
    return _yolov1(pen, head, rooted=False)


def yolov1_grid_roots(pen: Pen, head: Head) -> Rows:
    return _yolov1(pen, head, rooted=True)


def _objectness(pen: Pen, head: Head, box: Finish) -> Rows:
    raw, depth = head.tensors[0], head.shapes[0][2]
    objectness = _flat(pen, pen.last(raw, 4, 5))
    score = pen.mul(objectness, pen.greatest(pen.last(raw, 5, depth), -1))
    return Rows(raw, depth, score, box, _best_product(depth))


def _boxes_and_scores(pen: Pen, head: Head, box: Finish) -> Rows:
    boxes, scores = head.tensors[:2]
    depth = 4 + head.shapes[1][2]
    raw = pen.join([pen.reshape(boxes, 0, -1, 4), scores], -1)
    return Rows(raw, depth, pen.greatest(scores, -1), box, best_of(4, depth))


def _logit_score(pen: Pen, raw: str, depth: int) -> str:
    objectness = pen.draw("Sigmoid", _flat(pen, pen.last(raw, 4, 5)))
    return pen.mul(objectness, pen.draw("Sigmoid", pen.greatest(pen.last(raw, 5, depth), -1)))


def _flat(pen: Pen, tensor: str) -> str:
    """[N,A,1] as [N,A]."""
    return pen.reshape(tensor, 0, -1)


def _anchor_tables(head: Head, grids: Sequence[tuple[int, int, int]]) -> tuple[Floats, Floats, Floats, Floats]:
    """Of every anchor: its cell, stride and size [A,2], and its xy scale [A,1]; anchor by anchor, then cell by cell."""
    parts = [_grid_tables(head, place, grid) for place, grid in enumerate(grids)]
    cells, strides, anchors, scale = (np.concatenate(part) for part in zip(*parts, strict=True))
    return cells, strides, anchors, scale


def _grid_tables(head: Head, place: int, grid: tuple[int, int, int]) -> tuple[Floats, Floats, Floats, Floats]:
    count, rows, cols = grid
    spec, total = head.spec, count * rows * cols
    stride = np.array([[spec.width / cols, spec.height / rows]], np.float32)
    anchors = np.repeat(np.array(spec.anchors_wh[place], np.float32), rows * cols, axis=0)
    scale = spec.scale_xy[place] if spec.scale_xy else 1.0
    cells = np.tile(cells_of(cols, rows), (count, 1))
    return cells, stride.repeat(total, 0), anchors, np.full((total, 1), scale, np.float32)


def _yolov1(pen: Pen, head: Head, *, rooted: bool) -> Rows:
    """A row is `x y w h conf` and its cell's class scores."""
    _, rows, cols, depth = head.shapes[0]
    classes, spec = head.spec.classes, head.spec
    count = (depth - classes) // 5
    boxes = pen.reshape(pen.last(head.tensors[0], 0, count * 5), 0, rows * cols, count, 5)
    shared = pen.reshape(pen.last(head.tensors[0], count * 5, depth), 0, rows * cols, 1, classes)
    spread = pen.draw("Expand", shared, pen.ints(1, 1, count, 1))
    raw = pen.reshape(pen.join([boxes, spread], -1), 0, -1, 5 + classes)
    per_class = pen.mul(pen.last(raw, 4, 5), pen.last(raw, 5, 5 + classes))
    cells = np.repeat(cells_of(cols, rows), count, axis=0)
    stride = np.array([spec.width / cols, spec.height / rows], np.float32)

    def box(pen: Pen, kept: Kept) -> str:
        centre = pen.mul(pen.add(pen.last(kept.rows, 0, 2), table(cells)(pen, kept)), pen.floats(stride))
        side = pen.last(kept.rows, 2, 4)
        share = pen.mul(side, side) if rooted else side
        return corners(pen, centre, pen.mul(share, pen.floats([spec.width, spec.height])))

    return Rows(raw, 5 + classes, pen.greatest(per_class, -1), box, _best_product(5 + classes))


def _sigmoid(pen: Pen, tensor: str) -> str:
    return pen.draw("Sigmoid", tensor)


def _as_is(_pen: Pen, tensor: str) -> str:
    return tensor


def _best_product(depth: int, activation: Callable[[Pen, str], str] = _as_is) -> Finish:
    """The best of confidence · class score, multiplied before it is compared: rounding decides ties."""

    def label(pen: Pen, kept: Kept) -> str:
        active = activation(pen, pen.last(kept.rows, 4, depth))
        return pen.which_greatest(pen.mul(pen.last(active, 0, 1), pen.last(active, 1, depth - 4)))

    return label


def _best_logit(depth: int) -> Finish:
    return lambda pen, kept: pen.which_greatest(_sigmoid(pen, pen.last(kept.rows, 4, depth)))
