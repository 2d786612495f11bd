"""Suppression against a plain loop over Python floats."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookonce.vision import nms
from lookonce.vision.nms import Suppression, suppress

Row = Sequence[float]
EMPTY = (0, 0, 0, 0, 0, -1)
WHOLE = st.integers(0, 24).map(float)


def iou(one: Row, other: Row) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    union = area(one) + area(other) - shared
    return shared / union if union > 0 else 0.0


def area(box: Row) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def wanted(rows: Sequence[Row], rule: Suppression) -> list[Row]:
    """Likely enough, and of a class that was asked for."""
    likely = [row for row in rows if row[4] >= rule.confidence and row[5] >= 0]
    return [row for row in likely if row[5] in rule.classes] if rule.classes else likely


def naive(rows: Sequence[Row], rule: Suppression) -> list[Row]:
    kept: list[Row] = []
    for row in wanted(rows, rule):
        rivals = [one for one in kept if rule.class_agnostic or one[5] == row[5]] if rule.needed else []
        if all(iou(one, row) <= rule.iou for one in rivals):
            kept.append(row)
    return kept[: rule.max_detections]


def naive_soft(rows: Sequence[Row], rule: Suppression) -> list[Row]:
    kept, left = [], [list(row) for row in wanted(rows, rule)]
    while left:
        best = left.pop(max(range(len(left)), key=lambda place: (left[place][4], -place)))
        kept.append(best)
        for row in left:
            if rule.class_agnostic or row[5] == best[5]:
                row[4] *= exp(-(iou(best, row) ** 2) / 0.5)
        left = [row for row in left if row[4] >= rule.confidence]
    return kept[: rule.max_detections]


@st.composite
def candidates(draw: st.DrawFn) -> list[tuple[float, ...]]:
    """Boxes on a small whole grid, so that exact ties of score and overlap do occur, best first, empty rows last."""
    rows = []
    for _ in range(draw(st.integers(0, 14))):
        x, y, w, h = (draw(WHOLE) for _ in range(4))
        score, label = draw(st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0])), draw(st.integers(0, 2))
        rows.append((x, y, x + w, y + h, score, float(label)))
    return sorted(rows, key=lambda row: -row[4]) + [EMPTY] * draw(st.integers(0, 2))


def array(rows: Sequence[Row]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6)


RULES = st.builds(
    Suppression,
    confidence=st.sampled_from([0.0, 0.25, 0.5, 0.8]),
    iou=st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0]),
    max_detections=st.sampled_from([0, 1, 3, 300]),
    class_agnostic=st.booleans(),
    needed=st.booleans(),
    classes=st.sampled_from([(), (0,), (1, 2), (2, 2), (7,)]),
)


@given(candidates(), RULES)
def test_what_is_kept_is_what_a_loop_keeps(rows: list[Row], rule: Suppression) -> None:
    kept = suppress(array(rows), rule)
    np.testing.assert_array_equal(kept, array(naive(rows, rule)))
    assert kept.dtype == np.float32


@given(candidates(), RULES)
def test_what_was_kept_is_kept_again(rows: list[Row], rule: Suppression) -> None:
    once = suppress(array(rows), rule)
    np.testing.assert_array_equal(suppress(once, rule), once)


@given(candidates(), st.permutations([0.0, 1.0, 2.0]))
def test_the_classes_names_do_not_matter(rows: list[Row], names: list[float]) -> None:
    table = array(rows)
    renamed = table.copy()
    real = renamed[:, 5] >= 0
    renamed[real, 5] = np.array(names, np.float32)[table[real, 5].astype(int)]
    np.testing.assert_array_equal(suppress(renamed, Suppression())[:, :5], suppress(table, Suppression())[:, :5])


@given(candidates())
def test_the_candidates_are_left_alone(rows: list[Row]) -> None:
    table = array(rows)
    suppress(table, Suppression(class_agnostic=True))
    np.testing.assert_array_equal(table, array(rows))


A, A2, B = (0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0), (0, 0, 10, 10, 0.7, 1)
NAN = float("nan")


@pytest.mark.parametrize(
    ("rows", "rule", "kept"),
    [
        ([], Suppression(), []),
        ([A], Suppression(), [A]),
        ([A, A2, B], Suppression(), [A, B]),
        ([A, A2, B], Suppression(class_agnostic=True), [A]),
        ([A, A2, B], Suppression(iou=0.95), [A, A2, B]),
        ([A, A2, B], Suppression(iou=0.9), [A, A2, B]),  # exactly as much as allowed
        ([A, A2, B], Suppression(needed=False), [A, A2, B]),
        ([A, A2, B], Suppression(needed=False, max_detections=2), [A, A2]),
        ([A, A2, B], Suppression(max_detections=0), []),
        ([A, A, A], Suppression(), [A]),
        ([A, EMPTY, EMPTY], Suppression(confidence=0), [A]),
        ([EMPTY], Suppression(confidence=0, needed=False), []),
        ([A, (0, 0, 5, 5, 0.25, 0)], Suppression(confidence=0.25), [A, (0, 0, 5, 5, 0.25, 0)]),
        ([(5, 5, 5, 5, 0.9, 0), (5, 5, 5, 5, 0.8, 0)], Suppression(), [(5, 5, 5, 5, 0.9, 0), (5, 5, 5, 5, 0.8, 0)]),
        ([(0, 0, 9, 9, NAN, 0), A], Suppression(), [A]),
        ([(NAN, 0, 9, 9, 0.95, 0), A], Suppression(), [A]),
        ([(0, 0, float("inf"), 9, 0.95, 0), A], Suppression(needed=False), [A]),
        ([(0, 0, 9, 9, float("inf"), 0), A], Suppression(), [A]),
    ],
)
def test_suppression_by_hand(rows: list[Row], rule: Suppression, kept: list[Row]) -> None:
    np.testing.assert_array_equal(suppress(array(rows), rule), array(kept))


def test_a_suppressed_box_suppresses_nothing() -> None:
    """A chain: the second falls to the first, so the third, which only the second overlaps, stays."""
    chain = [(0, 0, 10, 10, 0.9, 0), (4, 0, 14, 10, 0.8, 0), (8, 0, 18, 10, 0.7, 0)]
    kept = suppress(array(chain), Suppression(iou=0.4))
    np.testing.assert_array_equal(kept, array([chain[0], chain[2]]))


def test_of_equals_the_first_stays() -> None:
    rows = [(0, 0, 10, 10, 0.5, 0), (1, 0, 11, 10, 0.5, 0), (40, 0, 50, 10, 0.5, 0)]
    np.testing.assert_array_equal(suppress(array(rows), Suppression()), array([rows[0], rows[2]]))


@given(candidates(), RULES)
def test_what_fades_is_what_a_loop_fades(rows: list[Row], rule: Suppression) -> None:
    """Scores that rounding alone tells apart may change places, so each row is looked for anywhere among its twins."""
    soft = replace(rule, needed=True, soft=True, max_detections=300)
    faded, twins = suppress(array(rows), soft), naive_soft(rows, replace(soft, confidence=rule.confidence - 1e-5))
    for row in faded.tolist():
        assert any(row == pytest.approx(twin, abs=1e-5) for twin in twins)
    assert sum(twin[4] >= rule.confidence + 1e-5 for twin in twins) <= len(faded) <= len(twins)
    assert (np.diff(faded[:, 4]) <= 0).all()
    assert faded.dtype == np.float32


@given(candidates(), RULES, st.sampled_from([0, 1, 3]))
def test_the_first_few_that_fade_are_the_first_of_all(rows: list[Row], rule: Suppression, few: int) -> None:
    whole = replace(rule, soft=True, max_detections=300)
    np.testing.assert_array_equal(
        suppress(array(rows), replace(whole, max_detections=few)), suppress(array(rows), whole)[:few]
    )


HALF = (0, 0, 10, 5, 0.8, 0)


@pytest.mark.parametrize(
    ("rows", "rule", "kept"),
    [
        ([], Suppression(soft=True), []),
        ([EMPTY], Suppression(soft=True, confidence=0), []),
        ([A], Suppression(soft=True), [A]),
        ([A, HALF], Suppression(soft=True), [A, (*HALF[:4], 0.8 * exp(-0.5), 0)]),
        ([A, HALF], Suppression(soft=True, confidence=0.5), [A]),
        ([A, B], Suppression(soft=True), [A, B]),
        ([A, B], Suppression(soft=True, class_agnostic=True, confidence=0.01), [A, (*B[:4], 0.7 * exp(-2), 1)]),
        ([A, HALF], Suppression(soft=True, needed=False), [A, HALF]),
        ([A, HALF], Suppression(soft=True, max_detections=1), [A]),
        ([A, HALF], Suppression(soft=True, max_detections=0), []),
        ([(NAN, 0, 9, 9, 0.95, 0), A], Suppression(soft=True), [A]),
        # the one that faded falls behind one that did not
        (
            [A, HALF, (50, 50, 60, 60, 0.7, 0)],
            Suppression(soft=True),
            [A, (50, 50, 60, 60, 0.7, 0), (*HALF[:4], 0.485, 0)],
        ),
    ],
)
def test_soft_suppression_by_hand(rows: list[Row], rule: Suppression, kept: list[Row]) -> None:
    np.testing.assert_allclose(suppress(array(rows), rule), array(kept), atol=1e-3)


def test_a_class_nobody_asked_for_suppresses_nothing() -> None:
    only_b = Suppression(class_agnostic=True, classes=(1,))
    np.testing.assert_array_equal(suppress(array([A, B]), only_b), array([B]))
    np.testing.assert_array_equal(suppress(array([A, B]), replace(only_b, soft=True)), array([B]))


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_a_thousand_candidates_are_a_loops_too(*, class_agnostic: bool) -> None:
    rng = np.random.default_rng(0)
    centres, sizes = rng.uniform(0, 640, (1000, 2)), rng.uniform(10, 200, (1000, 2))
    scores, labels = np.sort(rng.uniform(0.001, 1, (1000, 1)), axis=0)[::-1], rng.integers(0, 6, (1000, 1))
    rows = np.concatenate([centres - sizes / 2, centres + sizes / 2, scores, labels], axis=1).astype(np.float32)
    rule = Suppression(confidence=0.001, iou=0.3, class_agnostic=class_agnostic, max_detections=250)
    np.testing.assert_array_equal(suppress(rows, rule), array(naive(rows.tolist(), rule)))


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 17, 48, 49, 90])
def test_few_rows_and_many_are_suppressed_alike(count: int, agnostic: bool) -> None:
    chance = np.random.default_rng(count)
    corners = chance.integers(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + chance.integers(1, 40, (count, 2))], axis=1)
    scores, classes = np.sort(chance.uniform(0, 1, count))[::-1], chance.integers(0, 3, count)
    rows = np.column_stack([boxes, scores, classes]).astype(np.float32)
    rule = nms.Suppression(iou=0.3, class_agnostic=agnostic)
    np.testing.assert_array_equal(nms._alive_by_pairs(rows, rule), nms._alive_by_rows(rows, rule))
