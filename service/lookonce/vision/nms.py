"""Non-maximum suppression over one picture's candidates."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lookonce.vision.boxes import iou_matrix, iou_of_pairs
from lookonce.vision.letterbox import Boxes

FEW_ROWS = 48
SIGMA = 0.5
"""How soon a soft suppression fades: a score halves at an overlap of about 0.6."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """What is kept of a model's candidates. No classes named: all of them."""

    confidence: float = 0.25
    iou: float = 0.7
    max_detections: int = 300
    class_agnostic: bool = False
    needed: bool = True
    classes: tuple[int, ...] = ()
    soft: bool = False


def suppress(candidates: Boxes, rule: Suppression) -> Boxes:
    """Of rows `x1 y1 x2 y2 score class_id`, sorted by score: those that no better row overlaps too much.

    Rows that hold no number, as an overflow in half precision leaves them, are no detections.
    """
    likely = candidates[candidates[:, 4] >= rule.confidence]
    wanted = np.isfinite(likely).all(axis=1) & (likely[:, 5] >= 0)
    if rule.classes:
        wanted &= np.isin(likely[:, 5], rule.classes)
    confident = likely if wanted.all() else likely[wanted]
    if not rule.needed or len(confident) < 2:
        return confident[: rule.max_detections]
    if rule.soft:
        return faded(confident, rule)
    return confident[greedy(confident, rule)[: rule.max_detections]]


def greedy(rows: Boxes, rule: Suppression) -> NDArray[np.intp]:
    """Indices of the rows kept, best first. Row order breaks ties."""
    return np.flatnonzero(_alive_by_pairs(rows, rule) if len(rows) <= FEW_ROWS else _alive_by_rows(rows, rule))


def _alive_by_pairs(rows: Boxes, rule: Suppression) -> NDArray[np.bool_]:
    """Those of one class alone are compared, which is the sooner way while the pairs are few."""
    later = _later(len(rows))
    better, worse = np.nonzero(later if rule.class_agnostic else later & (rows[:, None, 5] == rows[:, 5]))
    boxes_xyxy = rows[:, :4]
    overlapping = iou_of_pairs(boxes_xyxy[better], boxes_xyxy[worse]) > rule.iou
    alive = np.ones(len(rows), bool)
    for one, other in zip(better[overlapping].tolist(), worse[overlapping].tolist(), strict=True):
        if alive[one]:
            alive[other] = False
    return alive


def _alive_by_rows(rows: Boxes, rule: Suppression) -> NDArray[np.bool_]:
    overlaps = iou_matrix(rows[:, :4], rows[:, :4]) > rule.iou
    if not rule.class_agnostic:
        overlaps &= rows[:, None, 5] == rows[:, 5]
    np.fill_diagonal(overlaps, val=False)
    alive = np.ones(len(rows), bool)
    for index in np.flatnonzero(overlaps.any(axis=1)):
        if alive[index]:
            alive[overlaps[index]] = False
    return alive


@lru_cache(FEW_ROWS + 1)
def _later(count: int) -> NDArray[np.bool_]:
    """Of each row which ones come after it, [count,count]."""
    return np.triu(np.ones((count, count), bool), 1)


def faded(rows: Boxes, rule: Suppression) -> Boxes:
    """Soft suppression with a Gaussian: what overlaps a better row loses score by it, and goes when that is too low."""
    left, kept = rows.copy(), [rows[:0]]
    while len(left) and len(kept) <= rule.max_detections:
        best = int(left[:, 4].argmax())
        row, left = left[best : best + 1], np.delete(left, best, axis=0)
        kept.append(row)
        overlap = iou_matrix(row[:, :4], left[:, :4])[0]
        if not rule.class_agnostic:
            overlap *= left[:, 5] == row[0, 5]
        left[:, 4] *= np.exp(-(overlap**2) / SIGMA, dtype=np.float32)
        left = left[left[:, 4] >= rule.confidence]
    return np.concatenate(kept)
