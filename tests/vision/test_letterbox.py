"""The geometry against an independent restatement of the families' own formulas, one number at a time."""

from decimal import ROUND_HALF_EVEN, Decimal

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lookonce.vision.letterbox import Fit, Geometry, Placement, letterbox, place, restore

SIDES = st.integers(1, 5000)
SIZES = st.sampled_from([32, 33, 64, 320, 416, 639, 640, 1280])


def nearest(value: float) -> int:
    """To the nearest whole number, halves to the even one, as Python's and numpy's round do."""
    return int(Decimal(value).quantize(Decimal(1), ROUND_HALF_EVEN))


def centred(w: int, h: int, to_w: int, to_h: int) -> tuple[tuple[int, int], int, int, int, int]:
    """Ultralytics' LetterBox: new size, then left, top, right and bottom pads."""
    r = min(to_h / h, to_w / w)
    new_w, new_h = max(1, nearest(w * r)), max(1, nearest(h * r))
    half_w, half_h = (to_w - new_w) / 2, (to_h - new_h) / 2
    return (new_w, new_h), nearest(half_w - 0.1), nearest(half_h - 0.1), nearest(half_w + 0.1), nearest(half_h + 0.1)


def truncated(w: int, h: int, to_w: int, to_h: int) -> tuple[int, int]:
    """YOLOX's preproc."""
    r = min(to_h / h, to_w / w)
    return max(1, int(w * r)), max(1, int(h * r))


@given(SIDES, SIDES, SIZES, SIZES)
@example(1, 5000, 640, 640)
@example(5000, 1, 640, 640)
@example(1, 1, 640, 640)
@example(641, 479, 640, 640)
def test_centred_is_ultralytics_formula(w: int, h: int, to_w: int, to_h: int) -> None:
    found = place((w, h), Geometry(to_w, to_h))
    size_wh, left, top, right, bottom = centred(w, h, to_w, to_h)
    assert found == Placement((w, h), size_wh, left, top)
    assert (left + size_wh[0] + right, top + size_wh[1] + bottom) == (to_w, to_h)


@given(SIDES, SIDES, SIZES, SIZES)
@example(1, 5000, 640, 640)
@example(5000, 1, 640, 640)
def test_top_left_is_yolox_truncation(w: int, h: int, to_w: int, to_h: int) -> None:
    found = place((w, h), Geometry(to_w, to_h, Fit.TOP_LEFT))
    assert found == Placement((w, h), truncated(w, h, to_w, to_h), 0, 0)


@given(SIDES, SIDES, SIZES, SIZES)
def test_stretch_fills_the_whole_input(w: int, h: int, to_w: int, to_h: int) -> None:
    assert place((w, h), Geometry(to_w, to_h, Fit.STRETCH)) == Placement((w, h), (to_w, to_h), 0, 0)


@given(SIDES, SIDES, SIZES, SIZES, st.sampled_from(Fit))
def test_the_picture_always_fits_and_is_never_empty(w: int, h: int, to_w: int, to_h: int, fit: Fit) -> None:
    found = place((w, h), Geometry(to_w, to_h, fit))
    assert min(found.size_wh) >= 1
    assert min(found.left, found.top) >= 0
    assert found.left + found.size_wh[0] <= to_w
    assert found.top + found.size_wh[1] <= to_h


def test_the_formulas_by_hand() -> None:
    assert place((1920, 1080), Geometry(640, 640)) == Placement((1920, 1080), (640, 360), 0, 140)
    assert place((810, 1080), Geometry(640, 640)) == Placement((810, 1080), (480, 640), 80, 0)
    assert place((1279, 720), Geometry(640, 640)) == Placement((1279, 720), (640, 360), 0, 140)
    assert place((1000, 667), Geometry(640, 640)) == Placement((1000, 667), (640, 427), 0, 106)  # 106.5 − 0.1
    assert place((1000, 667), Geometry(640, 640, Fit.TOP_LEFT)) == Placement((1000, 667), (640, 426), 0, 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([32, 64, 96]), st.sampled_from(Fit), st.integers(0, 255))
@example(1, 90, 64, Fit.CENTRED, 114)
@example(90, 1, 64, Fit.TOP_LEFT, 114)
@example(64, 64, 64, Fit.CENTRED, 114)
def test_the_pixels_are_opencvs_with_a_border(w: int, h: int, side: int, fit: Fit, pad: int) -> None:
    image = np.random.default_rng(w * 100 + h).integers(0, 256, (h, w, 3), np.uint8)
    untouched = image.copy()
    size_wh, left, top, right, bottom = centred(w, h, side, 64)
    if fit is Fit.TOP_LEFT:
        size_wh = truncated(w, h, side, 64)
        left, top, right, bottom = 0, 0, side - size_wh[0], 64 - size_wh[1]
    if fit is Fit.STRETCH:
        size_wh, left, top, right, bottom = (side, 64), 0, 0, 0, 0
    resized = image if size_wh == (w, h) else cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)
    expected = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(pad, pad, pad))
    canvas, _ = letterbox(image, Geometry(side, 64, fit, pad))
    assert canvas.dtype == np.uint8
    np.testing.assert_array_equal(canvas, expected)
    np.testing.assert_array_equal(image, untouched)


def test_a_picture_that_is_a_view_of_another_is_taken() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)
    for view in (image[::-1, ::-1], image[::2, 10:50], image[..., ::-1]):
        np.testing.assert_array_equal(letterbox(view, Geometry(64, 64))[0], letterbox(view.copy(), Geometry(64, 64))[0])


@st.composite
def framed_boxes(draw: st.DrawFn) -> tuple[int, int, list[float]]:
    w, h = draw(st.integers(1, 4096)), draw(st.integers(1, 4096))
    x = sorted(draw(st.tuples(*[st.floats(0, w, width=32)] * 2)))
    y = sorted(draw(st.tuples(*[st.floats(0, h, width=32)] * 2)))
    return w, h, [x[0], y[0], x[1], y[1]]


@given(framed_boxes(), SIZES, SIZES, st.sampled_from(Fit))
def test_boxes_find_their_way_back(framed: tuple[int, int, list[float]], to_w: int, to_h: int, fit: Fit) -> None:
    """As near as FP32 pixels of the input can say: a thousandth of a pixel, more where much was shrunk."""
    w, h, box = framed
    found = place((w, h), Geometry(to_w, to_h, fit))
    scale_x, scale_y = found.size_wh[0] / w, found.size_wh[1] / h
    laid = [box[0] * scale_x + found.left, box[1] * scale_y + found.top]
    laid += [box[2] * scale_x + found.left, box[3] * scale_y + found.top]
    back = restore(np.array([laid], np.float32), found)
    step = float(np.spacing(np.float32(max(to_w, to_h))))
    np.testing.assert_allclose(back[0], box, atol=max(1e-3, step / min(scale_x, scale_y)))
    assert back.dtype == np.float32


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        (np.zeros((0, 4)), np.zeros((0, 4))),
        ([[0, 140, 640, 500]], [[0, 0, 1920, 1080]]),
        ([[320, 320, 321, 321]], [[960, 540, 963, 543]]),
        ([[-50, 0, 9999, 9999]], [[0, 0, 1920, 1080]]),
        ([[10, 10, 20, 20]], [[30, 0, 60, 0]]),
    ],
)
def test_boxes_are_clipped_to_the_picture(boxes: object, expected: object) -> None:
    found = place((1920, 1080), Geometry(640, 640))
    np.testing.assert_allclose(restore(np.array(boxes, np.float32), found), np.array(expected), atol=1e-3)


def test_the_axes_are_undone_each_by_its_own_scale() -> None:
    found = place((3, 1000), Geometry(640, 640))
    assert found.size_wh == (2, 640)
    np.testing.assert_allclose(restore(np.array([[319, 0, 321, 640]], np.float32), found), [[0, 0, 3, 1000]], atol=1e-3)
