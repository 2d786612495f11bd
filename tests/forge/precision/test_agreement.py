"""Agreement of two precisions, detection by detection."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lookonce.card import Precision, Verdict
from lookonce.errors import ModelRefused
from lookonce.forge.agreement import Comparison, Rule, compare, gate, match

Rows = NDArray[np.float32]
FP16 = Rule(Precision.FP16)


def rows_on_a_grid(count: int, seed: int = 0) -> Rows:
    """Boxes that do not touch, [count,6], sorted by score."""
    rng = np.random.default_rng(seed)
    left, top = np.arange(count) % 20 * 32.0, np.arange(count) // 20 * 32.0
    size = rng.uniform(12, 30, (2, count))
    score, class_id = np.sort(rng.uniform(0.3, 0.95, count))[::-1], rng.integers(0, 5, count)
    return np.stack([left, top, left + size[0], top + size[1], score, class_id], axis=1).astype(np.float32)


def judged(full: Rows, lower: Rows, rule: Rule = FP16) -> Comparison:
    return rule.judge([rule.pair(0, full, lower)])


def changed(rows: Rows, row: int, column: int, by: float) -> Rows:
    copy = rows.copy()
    copy[row, column] += np.float32(by)
    return copy


sets = st.builds(rows_on_a_grid, st.integers(1, 60), st.integers(0, 1000))


def test_nothing_against_nothing_is_no_evidence() -> None:
    nothing = np.zeros((0, 6), np.float32)
    comparison = judged(nothing, nothing)
    assert comparison.agreement.share == 0
    assert comparison.agreement.verdict is Verdict.INSUFFICIENT
    assert gate(comparison, accept=False) == comparison.agreement


@given(sets)
def test_a_set_agrees_with_itself(rows: Rows) -> None:
    agreement = judged(rows, rows).agreement
    assert (agreement.share, agreement.worst_shift_px) == (1, 0)


@given(sets, st.data())
def test_one_that_is_missing_costs_exactly_its_share(rows: Rows, data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(rows) - 1))
    comparison = judged(rows, np.delete(rows, gone, axis=0))
    assert comparison.agreement.share == pytest.approx((len(rows) - 1) / len(rows))
    assert (comparison.missing, comparison.extra) == (1, 0)


@given(sets, sets)
def test_the_share_does_not_depend_on_who_is_asked_first(first: Rows, second: Rows) -> None:
    assert judged(first, second).agreement.share == judged(second, first).agreement.share


@given(sets, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: Rows, random: object) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert len(match(rows, rows[order])) == len(rows)


@pytest.mark.parametrize(
    ("column", "by", "agrees"),
    [(4, 0.019, True), (4, 0.021, False), (5, 1.0, False), (2, 0.5, True), (2, 30.0, False), (0, -20.0, False)],
)
def test_what_counts_as_the_same_detection(column: int, by: float, agrees: bool) -> None:
    rows = rows_on_a_grid(30)
    comparison = judged(rows, changed(rows, 10, column, by))
    assert (comparison.missing, comparison.extra) == ((0, 0) if agrees else (1, 1))


def test_a_detection_is_paired_once() -> None:
    row = rows_on_a_grid(1)
    assert len(match(np.repeat(row, 3, axis=0), row)) == 1


def test_the_better_overlap_is_paired_first() -> None:
    full = np.array([[0, 0, 100, 100, 0.9, 0]], np.float32)
    lower = np.array([[0, 0, 100, 95, 0.9, 0], [0, 0, 100, 99, 0.89, 0]], np.float32)
    assert match(full, lower).tolist() == [[0, 1]]


def test_a_score_at_the_confidence_limit_counts_as_missing_and_is_named_an_edge() -> None:
    full = rows_on_a_grid(20)
    full[-1, 4] = 0.2501
    comparison = judged(full, changed(full, 19, 4, -0.0002))
    assert (comparison.missing, comparison.extra, comparison.on_the_edge) == (1, 0, 1)
    assert comparison.agreement.share == pytest.approx(19 / 20)


def test_shifts_are_the_farthest_edges() -> None:
    rows = rows_on_a_grid(300)
    agreement = judged(rows, changed(rows, 3, 2, 0.6)).agreement
    assert agreement.worst_shift_px == pytest.approx(0.6, abs=1e-4)
    assert agreement.mean_shift_px == pytest.approx(0.6 / 300, abs=1e-5)


def test_fewer_than_200_detections_are_not_enough() -> None:
    assert judged(rows_on_a_grid(199), rows_on_a_grid(199)).agreement.verdict is Verdict.INSUFFICIENT
    assert judged(rows_on_a_grid(200), rows_on_a_grid(200)).agreement.verdict is Verdict.AGREES


@pytest.mark.parametrize(
    ("precision", "missing", "verdict"),
    [
        (Precision.FP16, 2, Verdict.AGREES),
        (Precision.FP16, 3, Verdict.DIFFERS),
        (Precision.INT8, 10, Verdict.AGREES),
        (Precision.INT8, 11, Verdict.DIFFERS),
    ],
)
def test_each_precision_has_its_own_bar(precision: Precision, missing: int, verdict: Verdict) -> None:
    rows = rows_on_a_grid(200)
    assert judged(rows, rows[missing:], Rule(precision)).agreement.verdict is verdict


def test_a_precision_that_differs_is_not_published_unless_accepted() -> None:
    rows = rows_on_a_grid(200)
    comparison = judged(rows, rows[20:])
    with pytest.raises(ModelRefused, match=r"180 of 200 detections agree between fp16 and fp32 \(90.00%, needed 99%\)"):
        gate(comparison, accept=False)
    assert gate(comparison, accept=True).accepted


def test_a_precision_that_finds_nothing_is_refused_even_on_few_detections() -> None:
    with pytest.raises(ModelRefused, match="--images"):
        gate(judged(rows_on_a_grid(50), np.zeros((0, 6), np.float32)), accept=False)


def test_answers_that_are_no_numbers_agree_with_nothing() -> None:
    rows = rows_on_a_grid(200)
    assert judged(rows, np.full_like(rows, np.nan)).agreement.share == 0


def test_pictures_go_through_both_graphs_one_at_a_time() -> None:
    rows, seen = rows_on_a_grid(100), list[tuple[int, ...]]()

    def runner(images: NDArray[np.uint8]) -> Rows:
        seen.append(images.shape)
        return rows[None]

    comparison = compare(runner, runner, [np.zeros((8, 8, 3), np.uint8)] * 3, FP16)
    assert seen == [(1, 8, 8, 3)] * 6
    assert (comparison.agreement.detections, comparison.agreement.pictures) == (300, 3)


def test_emulation_is_said_in_the_agreement() -> None:
    rows = rows_on_a_grid(5)
    assert judged(rows, rows, Rule(Precision.FP16, emulated=True)).agreement.emulated
