"""Boxes and tags on a picture, judged by its pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lookonce.vision.drawing import annotate, color_of, ink_on, pen_for
from lookonce.vision.letterbox import Boxes, ImageRGB

LABELS = ("circle", "square", "Straße", "кот", "漢字", "🐈", "two\nlines", "", "a name that has no end " * 20)
GROUND = 90


def plain(size_wh: tuple[int, int]) -> ImageRGB:
    return np.full((size_wh[1], size_wh[0], 3), GROUND, np.uint8)


def table(*rows: Sequence[float]) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 6)


def where(image: ImageRGB, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The rectangle around every pixel of this colour, as `left top right bottom`, the last ones included."""
    y, x = np.nonzero((image == color).all(axis=2))
    return int(x.min()), int(y.min()), int(x.max()), int(y.max())


def test_without_detections_it_is_a_copy() -> None:
    image = plain((64, 48))
    drawn = annotate(image, table(), LABELS)
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


def test_the_picture_itself_is_left_alone() -> None:
    image = plain((320, 240))
    annotate(image, table([10, 40, 100, 200, 0.9, 0]), LABELS)
    assert (image == GROUND).all()


def test_a_picture_that_is_a_view_of_another_can_be_drawn_on() -> None:
    rows = table([10, 40, 100, 100, 0.9, 0])
    wide = np.random.default_rng(0).integers(0, 256, (120, 400, 3), np.uint8)
    for view in (wide[:, ::-1], wide[:, ::2], wide[..., ::-1]):
        np.testing.assert_array_equal(annotate(view, rows, LABELS), annotate(view.copy(), rows, LABELS))


@pytest.mark.parametrize("size_wh", [(100, 100), (640, 480), (4000, 3000)])
def test_the_box_is_where_the_row_says_in_the_colour_of_its_class(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    row = [width * 0.2, height * 0.5, width * 0.8, height * 0.9, 0.9, 1]
    drawn, stroke = annotate(plain(size_wh), table(row), LABELS), pen_for(size_wh).stroke
    for x, y in ((row[0], height * 0.7), (row[2], height * 0.7), (width * 0.5, row[1]), (width * 0.5, row[3])):
        assert tuple(drawn[round(y), round(x)]) == color_of(1)
    assert (drawn[round(height * 0.7), round(width * 0.5)] == GROUND).all()
    assert (drawn[round(height * 0.7), round(row[2]) + stroke + 2] == GROUND).all()
    assert (drawn[round(row[3]) + stroke + 2] == GROUND).all()


@pytest.mark.parametrize("size_wh", [(100, 100), (640, 480), (4000, 3000)])
def test_the_tag_sits_on_the_box_and_can_be_read(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    pen = pen_for(size_wh)
    drawn = annotate(plain(size_wh), table([width * 0.1, height * 0.5, width * 0.2, height * 0.9, 0.9, 1]), LABELS)
    left, top, right, _ = where(drawn, color_of(1))
    assert left == pytest.approx(width * 0.1, abs=pen.stroke)
    assert top == pytest.approx(height * 0.5 - pen.tag_height, abs=pen.stroke)
    tag = drawn[top : top + pen.tag_height, left : right + 1]
    share_of_ink = float((np.abs(tag.astype(int) - ink_on(color_of(1))).sum(axis=2) < 90).mean())
    assert 0.05 < share_of_ink < 0.4


def test_the_text_is_in_rgb_like_the_picture() -> None:
    drawn = annotate(plain((640, 480)), table([10, 100, 300, 300, 0.9, 0]), LABELS)
    assert color_of(0)[0] > color_of(0)[2]
    assert tuple(drawn[200, 10]) == color_of(0)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.lists(st.tuples(*[st.floats(0, 1)] * 4, st.floats(0, 1), st.integers(0, len(LABELS) - 1)), max_size=6),
)
@example((1, 1), [(0, 0, 1, 1, 0.5, 0)])
@example((1, 1000), [(0, 0, 1, 1, 0.5, 0)])
@example((4000, 3), [(0, 0, 1, 1, 0.5, 8), (0.5, 0.5, 0.5, 0.5, 0.5, 3)])
def test_whatever_the_picture_something_of_its_size_is_drawn(
    size_wh: tuple[int, int], shares: list[tuple[float, ...]]
) -> None:
    rows = table(*((min(a, c), min(b, d), max(a, c), max(b, d), *rest) for a, b, c, d, *rest in shares))
    rows[:, :4] *= np.array(size_wh * 2, np.float32)
    drawn = annotate(plain(size_wh), rows, LABELS)
    assert drawn.shape == (size_wh[1], size_wh[0], 3)
    assert drawn.dtype == np.uint8
    assert len(rows) == 0 or (drawn != GROUND).any()


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_tag_stays_inside_the_picture(corner: tuple[int, int]) -> None:
    """Its ground has the same area wherever the box is."""
    width, height = 640, 480
    left, top = corner[0] * (width - 8), corner[1] * (height - 8)
    drawn = annotate(plain((width, height)), table([left, top, left + 8, top + 8, 0.5, 1]), LABELS)
    assert tuple(drawn[min(top + 4, height - 1), left]) == color_of(1)
    x1, y1, x2, y2 = where(drawn, color_of(1))
    assert x2 - x1 > 60
    assert y2 - y1 >= pen_for((width, height)).tag_height - 1


def test_tags_of_neighbours_do_not_hide_each_other() -> None:
    """Two boxes at one place: the second tag moves inside."""
    rows = table([100, 200, 300, 400, 0.9, 0], [101, 201, 301, 401, 0.8, 1])
    drawn = annotate(plain((640, 480)), rows, LABELS)
    height = pen_for((640, 480)).tag_height
    assert (drawn[190, 102:140] == color_of(0)).all(axis=1).any()
    assert (drawn[201 + height // 8, 104:140] == color_of(1)).all(axis=1).any()


def test_the_best_box_lies_on_top() -> None:
    rows = table([100, 100, 300, 300, 0.9, 0], [100, 100, 300, 300, 0.8, 1])
    assert tuple(annotate(plain((640, 480)), rows, LABELS)[200, 100]) == color_of(0)


def test_a_small_box_is_not_buried_under_its_own_stroke() -> None:
    drawn = annotate(plain((4000, 3000)), table([2000, 1500, 2020, 1520, 0.9, 0]), LABELS)
    assert (drawn[1510, 2010] == GROUND).all()


@pytest.mark.parametrize("label", ["Straße", "кот", "漢字", "Ελλάδα"])
def test_letters_beyond_ascii_are_drawn_and_differ(label: str) -> None:
    row = table([10, 100, 300, 300, 0.9, 0])
    drawn, asked = (annotate(plain((640, 480)), row, [text]) for text in (label, "?" * len(label)))
    assert (drawn != asked).any()


def test_a_picture_too_small_for_text_has_boxes_alone() -> None:
    drawn = annotate(plain((20, 60)), table([2, 20, 18, 40, 0.9, 0]), LABELS)
    assert (drawn[:19] == GROUND).all()
    assert tuple(drawn[30, 2]) == color_of(0)


def test_classes_have_colours_of_their_own() -> None:
    """The first hundred all differ, and each from the one after it by far."""
    colors = [color_of(class_id) for class_id in range(100)]
    assert len(set(colors)) == 100
    lab = cv2.cvtColor(np.array([colors], np.float32) / 255, cv2.COLOR_RGB2Lab)[0]
    assert np.linalg.norm(np.diff(lab, axis=0), axis=1).min() > 30


@pytest.mark.parametrize("class_id", range(100))
def test_the_ink_has_the_contrast_that_web_pages_must_have(class_id: int) -> None:
    ground, ink = (_luminance(color) for color in (color_of(class_id), ink_on(color_of(class_id))))
    assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) >= 4.5


def _luminance(color: tuple[int, int, int]) -> float:
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in (c / 255 for c in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
