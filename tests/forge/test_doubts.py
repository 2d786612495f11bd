"""Corners taken for centre and size, where a small picture leaves few rows to tell by."""

import numpy as np
import pytest

from lookonce.forge.layouts.doubts import about_boxes
from lookonce.vision import heads
from lookonce.vision.heads import HeadSpec

SIDES = (64, 96, 160, 224)


def boxes(side: int, bins: float, *, as_corners: bool) -> np.ndarray:
    """What an anchor-free head gives: each box reaches about so many strides from its point, both ways. [A,4]"""
    cells, strides = heads.points(HeadSpec(side, side, 4), (8, 16, 32))
    at, reach = (cells + 0.5) * strides, np.random.default_rng(7).normal(bins, bins / 5, (2, len(cells), 2)) * strides
    low, high = at - reach[0], at + reach[1]
    pair = (low.clip(0), high) if as_corners else ((low + high) / 2, high - low)
    return np.concatenate(pair, axis=-1).astype(np.float32)


def doubt(side: int, rows: np.ndarray) -> str:
    outputs = [np.concatenate([rows, np.full((len(rows), 4), 0.5, np.float32)], -1).T[None]]
    spec = HeadSpec(side, side, 4)
    return about_boxes(outputs, heads.columns(outputs, spec), spec)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bins", [0.5, 1.5, 4, 7.5])
def test_corners_are_told_from_centres_on_small_pictures_too(side: int, bins: float) -> None:
    assert "as corners taken for centre and size do" in doubt(side, boxes(side, bins, as_corners=True))
    assert doubt(side, boxes(side, bins, as_corners=False)) == ""


@pytest.mark.parametrize("side", SIDES[:3])
def test_boxes_of_the_whole_picture_are_no_corners(side: int) -> None:
    rows = boxes(side, 1, as_corners=False)
    rows[:] = side / 2, side / 2, side, side
    assert doubt(side, rows) == ""
