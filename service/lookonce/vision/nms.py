"""Greedy non-maximum suppression over one picture's candidates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookonce.vision.boxes import iou_matrix
from lookonce.vision.letterbox import Boxes


@dataclass(frozen=True, slots=True)
class Suppression:
    """What is kept of a model's candidates."""

    confidence: float = 0.25
    iou: float = 0.7
    max_detections: int = 300
    class_agnostic: bool = False
    needed: bool = True


def suppress(candidates: Boxes, rule: Suppression) -> Boxes:
    """Of rows `x1 y1 x2 y2 score class_id`, sorted by score: those that no better row overlaps too much.

    Rows that hold no number, as an overflow in half precision leaves them, are no detections.
    """
    sound = np.isfinite(candidates).all(axis=1)
    confident = candidates[sound & (candidates[:, 4] >= rule.confidence) & (candidates[:, 5] >= 0)]
    if not rule.needed:
        return confident[: rule.max_detections]
    return confident[greedy(confident, rule)[: rule.max_detections]]


def greedy(rows: Boxes, rule: Suppression) -> NDArray[np.intp]:
    """Indices of the rows kept, best first. Row order breaks ties."""
    overlaps = iou_matrix(rows[:, :4], rows[:, :4]) > rule.iou
    if not rule.class_agnostic:
        overlaps &= rows[:, None, 5] == rows[None, :, 5]
    alive = np.ones(len(rows), bool)
    for index in range(len(rows)):
        if alive[index]:
            alive[index + 1 :] &= ~overlaps[index, index + 1 :]
    return np.flatnonzero(alive)
