"""Every numpy decoder against the naive one, and a few worked out by hand."""

from collections.abc import Callable, Sequence
from math import exp, log

import numpy as np
import pytest
from tests.vision import naive

from lookonce.vision import heads
from lookonce.vision.heads import Decode, Decoded, HeadSpec, top_candidates

WIDTH, HEIGHT, CLASSES, BATCH = 96, 64, 3, 2
POINTS = 12 * 8 + 6 * 4 + 3 * 2
ANCHORS = ((5, 7), (11, 9), (20, 31)), ((33, 21), (40, 44), (51, 80)), ((90, 70), (60, 63), (95, 33))
SCALE_XY = 1.2, 1.1, 1.05
GRIDS = (8, 12), (4, 6), (2, 3)
SPEC = HeadSpec(WIDTH, HEIGHT, CLASSES, ANCHORS, SCALE_XY)
NAIVE_SPEC = {
    "width": WIDTH, "height": HEIGHT, "classes": CLASSES, "strides": (8, 16, 32), "anchors_wh": ANCHORS,
    "scale_xy": SCALE_XY,
}  # fmt: skip
Make = Callable[[np.random.Generator], Sequence[np.ndarray]]


def shares(*shape: int) -> Make:
    return lambda random: [random.random((BATCH, *shape), np.float32)]


def boxes_px(random: np.random.Generator, *shape: int) -> np.ndarray:
    return (random.random((BATCH, *shape, 4)) * WIDTH).astype(np.float32)


def logits(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.normal(0, 2, (BATCH, *shape)).astype(np.float32)


def rows_px(anchors: int, depth: int) -> Make:
    def make(random: np.random.Generator) -> Sequence[np.ndarray]:
        rest = random.random((BATCH, anchors, depth - 4), np.float32)
        return [np.concatenate([boxes_px(random, anchors), rest], -1)]

    return make


def columns_px(count: int) -> Make:
    def make(random: np.random.Generator) -> Sequence[np.ndarray]:
        return [rows_px(POINTS, 4 + CLASSES)(random)[0].transpose(0, 2, 1) for _ in range(count)]

    return make


def offsets(random: np.random.Generator) -> Sequence[np.ndarray]:
    return [np.concatenate([logits(random, POINTS, 4), random.random((BATCH, POINTS, 1 + CLASSES), np.float32)], -1)]


def finished(random: np.random.Generator) -> Sequence[np.ndarray]:
    rows = rows_px(9, 6)(random)[0]
    rows[..., 5] = random.integers(0, CLASSES, (BATCH, 9))
    return [rows]


def finished_unit(random: np.random.Generator) -> Sequence[np.ndarray]:
    rows = finished(random)[0]
    rows[..., :4] /= WIDTH
    return [rows]


def nas(random: np.random.Generator) -> Sequence[np.ndarray]:
    scores = np.sort(random.random((BATCH, 9), np.float32))[:, ::-1]
    labels = random.integers(0, CLASSES, (BATCH, 9))
    return [np.array([[4], [0]]), boxes_px(random, 9), scores, labels]


MAKES: dict[str, tuple[Decode, Callable[..., naive.Rows], Make]] = {
    "columns": (heads.columns, naive.columns, columns_px(1)),
    "second_of_two_columns": (heads.second_of_two_columns, naive.second_of_two, columns_px(2)),
    "rows_with_objectness": (heads.rows_with_objectness, naive.objectness, rows_px(POINTS, 5 + CLASSES)),
    "yolox_offsets": (heads.yolox_offsets, naive.yolox, offsets),
    "anchored_logits": (
        heads.anchored_logits,
        naive.anchored,
        lambda random: [logits(random, 3, *grid, 5 + CLASSES) for grid in GRIDS],
    ),
    "darknet": (
        heads.darknet,
        naive.darknet,
        lambda random: [logits(random, 3 * (5 + CLASSES), *grid) for grid in GRIDS],
    ),
    "yolov1_grid": (heads.yolov1_grid, naive.yolov1, shares(7, 7, 10 + CLASSES)),
    "yolov1_grid_roots": (heads.yolov1_grid_roots, naive.yolov1_roots, shares(5, 4, 15 + CLASSES)),
    "finished_rows": (heads.finished_rows, naive.finished, finished),
    "finished_rows_unit_centre": (heads.finished_rows_unit_centre, naive.finished_unit, finished_unit),
    "rows_unit_centre": (heads.rows_unit_centre, naive.queries, shares(9, 4 + CLASSES)),
    "logits_and_unit_centre": (
        heads.logits_and_unit_centre,
        naive.transformers,
        lambda random: [logits(random, 9, CLASSES), random.random((BATCH, 9, 4), np.float32)],
    ),
    "labels_boxes_scores": (
        heads.labels_boxes_scores,
        naive.labels_boxes_scores,
        lambda random: [
            random.integers(0, CLASSES, (BATCH, 9)),
            boxes_px(random, 9),
            random.random((BATCH, 9), np.float32),
        ],
    ),
    "counted_rows": (heads.counted_rows, naive.nas, nas),
    "unit_corners_and_confidences": (
        heads.unit_corners_and_confidences,
        naive.unit_corners,
        lambda random: [random.random((BATCH, 9, 1, 4), np.float32), random.random((BATCH, 9, CLASSES), np.float32)],
    ),
    "corners_and_scores": (
        heads.corners_and_scores,
        naive.corners,
        lambda random: [boxes_px(random, 9), random.random((BATCH, 9, CLASSES), np.float32)],
    ),
    "centres_and_scores": (
        heads.centres_and_scores,
        naive.centres,
        lambda random: [boxes_px(random, 9), random.random((BATCH, 9, CLASSES), np.float32)],
    ),
}


def rows_of(decoded: Decoded) -> np.ndarray:
    return np.concatenate([decoded.boxes_xyxy, decoded.scores[..., None], decoded.class_ids[..., None]], -1)


def decoders() -> set[str]:
    """Every public function of `heads` that takes a model's outputs."""
    return {name for name, value in vars(heads).items() if getattr(value, "__annotations__", {}).get("outputs")}


def test_every_decoder_is_held_against_a_naive_one() -> None:
    assert set(MAKES) == decoders()


@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_decoder_agrees_with_the_naive_one(name: str, kind: type) -> None:
    decode, plain, make = MAKES[name]
    outputs = [out if out.dtype == np.int64 else out.astype(kind) for out in make(np.random.default_rng(7))]
    decoded = decode(outputs, SPEC)
    expected = np.array([plain([output[place] for output in outputs], NAIVE_SPEC) for place in range(BATCH)])
    assert decoded.boxes_xyxy.dtype == decoded.scores.dtype == np.float32
    np.testing.assert_allclose(rows_of(decoded)[..., :4], expected[..., :4], rtol=2e-6, atol=1e-3)
    np.testing.assert_allclose(decoded.scores, expected[..., 4], atol=1e-6)
    np.testing.assert_array_equal(decoded.class_ids, expected[..., 5])


@pytest.mark.parametrize("name", MAKES)
def test_a_decoder_leaves_its_input_alone(name: str) -> None:
    decode, _, make = MAKES[name]
    outputs, untouched = make(np.random.default_rng(7)), make(np.random.default_rng(7))
    decode(outputs, SPEC)
    for output, before in zip(outputs, untouched, strict=True):
        np.testing.assert_array_equal(output, before)


def only_row(decoded: Decoded) -> list[float]:
    return [float(value) for value in rows_of(decoded)[0, int(decoded.scores[0].argmax())]]


def test_yolov8_by_hand() -> None:
    head = np.array([[[100], [60], [40], [20], [0.2], [0.7], [0.1]]], np.float32)
    assert only_row(heads.columns([head], SPEC)) == pytest.approx([80, 50, 120, 70, 0.7, 1])


def test_yolov5_by_hand_multiplies_objectness_and_class() -> None:
    head = np.array([[[100, 60, 40, 20, 0.5, 0.2, 0.8, 0.1]]], np.float32)
    assert only_row(heads.rows_with_objectness([head], SPEC)) == pytest.approx([80, 50, 120, 70, 0.4, 1])


def test_yolox_by_hand_adds_the_cell_and_multiplies_by_the_stride() -> None:
    head = np.zeros((1, POINTS, 8), np.float32)
    place = 12 * 8 + 2 * 6 + 5  # the second grid, stride 16: row 2, column 5
    head[0, place] = [0.25, 0.5, log(2), log(3), 0.5, 0, 0, 0.8]
    centre, size = ((5 + 0.25) * 16, (2 + 0.5) * 16), (2 * 16, 3 * 16)
    x, y, w, h = *centre, *size
    assert only_row(heads.yolox_offsets([head], SPEC)) == pytest.approx(
        [x - w / 2, y - h / 2, x + w / 2, y + h / 2, 0.4, 2]
    )


def test_yolov7_raw_by_hand_squares_twice_the_sigmoid() -> None:
    spec = HeadSpec(640, 640, 1, (((12, 16), (19, 36), (40, 28)),))
    head = np.full((1, 3, 80, 80, 6), -50, np.float32)
    head[0, 1, 7, 3] = [0, log(3), 0, log(3), 0, 50]  # sigmoids: 0.5, 0.75, 0.5, 0.75, 0.5, 1
    x, y = (2 * 0.5 - 0.5 + 3) * 8, (2 * 0.75 - 0.5 + 7) * 8
    w, h = 1.0 * 19, 1.5**2 * 36
    assert only_row(heads.anchored_logits([head], spec)) == pytest.approx(
        [x - w / 2, y - h / 2, x + w / 2, y + h / 2, 0.5, 0], rel=1e-6
    )


def test_darknet_v4_by_hand_widens_the_cell_by_scale_x_y() -> None:
    spec = HeadSpec(608, 608, 2, (((12, 16), (19, 36), (40, 28)),), (1.2,))
    head = np.full((1, 3 * 7, 76, 76), -50, np.float32)
    head[0, 2 * 7 : 3 * 7, 10, 20] = [log(3), 0, log(2), log(0.5), 0, -50, log(4)]
    x = (0.75 * 1.2 - 0.1 + 20) * 8
    y = (0.5 * 1.2 - 0.1 + 10) * 8
    w, h = 2 * 40, 0.5 * 28
    assert only_row(heads.darknet([head], spec)) == pytest.approx(
        [x - w / 2, y - h / 2, x + w / 2, y + h / 2, 0.5 * 0.8, 1], rel=1e-6
    )


def test_darknet_v3_has_no_widening() -> None:
    spec = HeadSpec(416, 416, 1, (((116, 90), (156, 198), (373, 326)),), (1.0,))
    head = np.full((1, 18, 13, 13), -50, np.float32)
    head[0, 0:6, 6, 6] = [0, 0, 0, 0, 50, 50]
    assert only_row(heads.darknet([head], spec)) == pytest.approx([208 - 58, 208 - 45, 208 + 58, 208 + 45, 1, 0])


def test_yolov1_by_hand_shares_a_cells_classes_between_its_boxes() -> None:
    spec = HeadSpec(448, 448, 20)
    grid = np.zeros((1, 7, 7, 30), np.float32)
    grid[0, 2, 5, 5:10] = [0.5, 0.25, 0.5, 0.25, 0.8]  # the second box of row 2, column 5
    grid[0, 2, 5, 10 + 14] = 0.5
    x, y, w, h = (5 + 0.5) * 64, (2 + 0.25) * 64, 224, 112
    assert only_row(heads.yolov1_grid([grid], spec)) == pytest.approx(
        [x - w / 2, y - h / 2, x + w / 2, y + h / 2, 0.4, 14]
    )
    w, h = 0.25 * 448, 0.0625 * 448
    assert only_row(heads.yolov1_grid_roots([grid], spec)) == pytest.approx(
        [x - w / 2, y - h / 2, x + w / 2, y + h / 2, 0.4, 14]
    )


def test_yolo_nas_padding_scores_nothing() -> None:
    outputs = [
        np.array([[1]]),
        np.array([[[1, 2, 3, 4], [-1, -1, -1, -1]]], np.float32),
        np.array([[0.9, 0.8]], np.float32),
        np.array([[2, -1]]),
    ]
    rows = top_candidates(heads.counted_rows(outputs, SPEC), 2)
    np.testing.assert_allclose(rows[0], [[1, 2, 3, 4, 0.9, 2], [0, 0, 0, 0, 0, -1]])


def decoded_of(scores: list[float]) -> Decoded:
    array = np.array(scores, np.float32).reshape(1, -1)
    boxes = np.arange(array.size * 4, dtype=np.float32).reshape(1, -1, 4)
    return Decoded(boxes, array, np.zeros(array.shape, np.int64))


@pytest.mark.parametrize(
    ("scores", "k", "kept"),
    [
        ([], 5, []),
        ([0.1], 1, [0]),
        ([0.1, 0.9, 0.5], 2, [1, 2]),
        ([0.5, 0.5, 0.5], 2, [0, 1]),
        ([0.0, 0.2], 2, [1, None]),
        ([0.1, 0.2], 9, [1, 0]),
        ([-0.5, 0.2], 2, [1, None]),
        ([float("nan"), 0.2], 2, [1, None]),
        ([float("nan"), -1, 0], 2, [None, None]),
    ],
)
def test_the_k_best_are_sorted_and_empty_rows_say_so(scores: list[float], k: int, kept: list[int | None]) -> None:
    decoded = decoded_of(scores)
    rows = top_candidates(decoded, k)
    assert rows.shape == (1, len(kept), 6)
    assert rows.dtype == np.float32
    for row, place in zip(rows[0], kept, strict=True):
        empty = [0, 0, 0, 0, 0, -1]
        expected = empty if place is None else [*decoded.boxes_xyxy[0, place], scores[place], 0]
        np.testing.assert_allclose(row, expected)


def test_the_sigmoid_neither_overflows_nor_warns() -> None:
    with np.errstate(all="raise"):
        values = heads.sigmoid(np.array([-1e4, -5, 0, 5, 1e4], np.float32))
    np.testing.assert_allclose(values, [0, 1 / (1 + exp(5)), 0.5, 1 / (1 + exp(-5)), 1], atol=1e-7)
    assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("anchors", "strides"),
    [(0, ()), (8400, (8, 16, 32)), (8500, (8, 16, 32, 64)), (34000, (4, 8, 16, 32)), (2000, (16, 32)), (8401, ())],
)
def test_a_count_of_points_names_its_strides(anchors: int, strides: tuple[int, ...]) -> None:
    assert heads.strides_of(HeadSpec(640, 640, 80), anchors) == strides
