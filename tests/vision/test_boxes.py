"""Box arithmetic against the same thing said one box at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vision.test_nms import iou

from lookonce.vision.boxes import area, cxcywh_to_xyxy, iou_matrix, iou_of_pairs

NUMBERS = st.floats(-1000, 1000, width=32)
BOXES = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=6)


def array(boxes: object) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("cxcywh", "xyxy"),
    [
        (np.zeros((0, 4)), np.zeros((0, 4))),
        ([[0, 0, 0, 0]], [[0, 0, 0, 0]]),
        ([[10, 20, 4, 6]], [[8, 17, 12, 23]]),
        ([[1, 1, 1, 1]], [[0.5, 0.5, 1.5, 1.5]]),
    ],
)
def test_centre_and_size_become_corners(cxcywh: object, xyxy: object) -> None:
    np.testing.assert_array_equal(cxcywh_to_xyxy(array(cxcywh)), array(xyxy))


def test_corners_keep_every_leading_side_and_the_type() -> None:
    corners = cxcywh_to_xyxy(np.ones((2, 3, 5, 4), np.float32))
    assert corners.shape == (2, 3, 5, 4)
    assert corners.dtype == np.float32


@pytest.mark.parametrize(
    ("boxes", "areas"),
    [
        (np.zeros((0, 4)), []),
        ([[0, 0, 2, 3]], [6]),
        ([[5, 5, 5, 9]], [0]),
        ([[5, 5, 1, 9]], [0]),
        ([[9, 9, 1, 1]], [0]),
    ],
)
def test_a_box_turned_inside_out_has_no_area(boxes: object, areas: list[float]) -> None:
    np.testing.assert_array_equal(area(array(boxes)), areas)


@given(BOXES, BOXES)
def test_overlap_is_what_a_loop_finds(
    first: list[tuple[float, float, float, float]], second: list[tuple[float, float, float, float]]
) -> None:
    found = iou_matrix(array(first), array(second))
    assert found.shape == (len(first), len(second))
    assert found.dtype == np.float32
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            assert found[row, column] == pytest.approx(iou(one, other), abs=1e-3)


@given(BOXES)
def test_overlap_is_symmetric_and_between_0_and_1(boxes: list[tuple[float, float, float, float]]) -> None:
    found = iou_matrix(array(boxes), array(boxes))
    np.testing.assert_array_equal(found, found.T)
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()


@given(BOXES)
def test_pairs_overlap_as_the_matrix_says_to_the_bit(boxes: list[tuple[float, ...]]) -> None:
    xyxy = array(boxes)
    first, second = np.indices((len(xyxy), len(xyxy))).reshape(2, -1)
    np.testing.assert_array_equal(iou_of_pairs(xyxy[first], xyxy[second]), iou_matrix(xyxy, xyxy).ravel())
