"""The picture of a verification."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lookonce.card import Precision
from lookonce.forge.agreement import Comparison, Rule
from lookonce.forge.plots import draw_comparison, verdict_text

ROWS = np.array([[8 * n, 8, 8 * n + 6, 20, 0.9, 1] for n in range(7)], np.float32)
PICTURES = [np.full((64, 64, 3), shade, np.uint8) for shade in (60, 120, 180)]


def comparison(lower: np.ndarray, full: np.ndarray = ROWS, times: int = 1) -> Comparison:
    rule = Rule(Precision.FP16, needs_nms=False)
    return rule.judge([rule.pair(place % 3, full, lower) for place in range(times)])


@pytest.mark.parametrize("times", [0, 1, 2, 30])
@pytest.mark.parametrize(
    "lower", [ROWS[:0], ROWS[2:], ROWS, ROWS + np.float32(0.25)], ids=["none", "some", "all", "off"]
)
def test_every_outcome_can_be_drawn(tmp_path: Path, lower: np.ndarray, times: int) -> None:
    path = tmp_path / "seen.png"
    draw_comparison(comparison(lower, times=times), PICTURES, "a model", path)
    drawn = cv2.imread(str(path))
    assert drawn is not None
    assert drawn.std() > 5


@pytest.mark.parametrize(
    ("lower", "times", "words"),
    [
        (ROWS, 30, "FP16 agrees with FP32: 210 of 210 detections are the same (100.00%)"),
        (ROWS[1:], 30, "FP16 differs from FP32: only 180 of 210 detections are the same (85.71%)"),
        (ROWS, 1, "Too few detections to judge FP16: FP32 finds 7; give pictures with --images"),
    ],
)
def test_the_verdict_is_said_in_plain_words(lower: np.ndarray, times: int, words: str) -> None:
    assert verdict_text(comparison(lower, times=times)) == words
