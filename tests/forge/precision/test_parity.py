"""The served graph against the reference, row by row."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lookonce.errors import ParityBroken
from lookonce.forge.parity import check_parity, compare_rows

Rows = NDArray[np.float32]


def answer(count: int = 300, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 600, (count, 2)), rng.uniform(5, 200, (count, 2))
    score, class_id = np.sort(rng.uniform(0, 1, count))[::-1], rng.integers(0, 80, count)
    return np.column_stack([corner, corner + size, score, class_id]).astype(np.float32)


def changed(rows: Rows, row: int, column: int, by: float) -> Rows:
    copy = rows.copy()
    copy[row, column] += np.float32(by)
    return copy


def test_equal_answers_differ_by_nothing() -> None:
    assert compare_rows(answer(), answer(), "picture 0") == (0, 0)


def test_small_differences_are_measured() -> None:
    served = changed(changed(answer(), 7, 2, 0.005), 9, 4, 5e-6)
    box_px, score = compare_rows(answer(), served, "picture 0")
    assert box_px == pytest.approx(0.005, abs=1e-4)
    assert score == pytest.approx(5e-6, abs=2e-7)


@pytest.mark.parametrize(("row", "column", "by"), [(0, 0, 0.02), (17, 3, -1.0), (5, 4, 2e-5), (250, 5, 1.0)])
def test_a_real_difference_is_named_with_its_picture_and_row(row: int, column: int, by: float) -> None:
    with pytest.raises(ParityBroken, match=rf"picture 4 1 of 300 rows.*row {row} of the reference"):
        compare_rows(answer(), changed(answer(), row, column, by), "picture 4")


def test_rows_of_nearly_equal_score_may_swap() -> None:
    reference = answer()
    reference[10:14, 4] = reference[10, 4] - np.arange(4, dtype=np.float32) * np.float32(1e-7)
    served = reference.copy()
    served[10:14] = reference[[12, 10, 13, 11]]
    assert compare_rows(reference, served, "picture 0")[0] == 0


def test_rows_of_different_score_may_not_swap() -> None:
    served = answer()
    served[[10, 20], :4] = served[[20, 10], :4]
    with pytest.raises(ParityBroken, match="2 of 300 rows"):
        compare_rows(answer(), served, "picture 0")


def test_rows_that_tie_for_the_last_place_may_differ() -> None:
    reference, served = answer(), answer()
    served[-1] = [1, 2, 3, 4, reference[-1, 4], 9]
    assert compare_rows(reference, served, "picture 0") == (0, 0)


def test_ties_hide_no_broken_boxes() -> None:
    reference = answer()
    reference[:, 4] = 0.5
    served = reference.copy()
    served[:, :4] += 3
    with pytest.raises(ParityBroken, match="300 of 300 rows"):
        compare_rows(reference, served, "picture 0")


def test_boxes_of_empty_rows_mean_nothing() -> None:
    reference = answer()
    reference[200:, 4:] = 0, -1
    served = reference.copy()
    served[200:, :4] = 0
    assert compare_rows(reference, served, "picture 0") == (0, 0)


def test_an_answer_that_is_no_number_is_refused() -> None:
    with pytest.raises(ParityBroken, match="the served graph answers something that is no number in row 3"):
        compare_rows(answer(), changed(answer(), 3, 1, np.nan), "picture 0")


def test_another_count_of_rows_is_refused() -> None:
    with pytest.raises(ParityBroken, match=r"\[299, 6\].*\[300, 6\]"):
        compare_rows(answer(), answer()[:-1], "picture 0")


def test_the_worst_of_all_pictures_is_kept() -> None:
    pictures = [np.full((4, 4, 3), value, np.uint8) for value in (1, 3, 2)]

    def reference(images: NDArray[np.uint8]) -> Rows:
        return answer(seed=int(images[0, 0, 0, 0]))[None]

    def served(images: NDArray[np.uint8]) -> Rows:
        return changed(reference(images)[0], 5, 0, 0.002 * float(images[0, 0, 0, 0]))[None]

    parity = check_parity(reference, served, pictures)
    assert parity.pictures == 3
    assert parity.worst_box_px == pytest.approx(0.006, abs=1e-4)
