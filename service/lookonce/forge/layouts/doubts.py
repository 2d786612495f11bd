"""What one run can say against a layout: numbers that a detector of that kind never gives."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lookonce.vision.heads import Decoded, HeadSpec, Outputs

Doubt: TypeAlias = Callable[[Outputs, Decoded, HeadSpec], str]
"""Given a model's outputs in order and what they would mean; says what is wrong with that, or nothing."""

FEWEST_ROWS, DENSE_ROWS = 10, 1000
SMALLEST_SHARE, SMALLEST_PX, GREATEST_SHARE = 0.01, 2.0, 4.0
MOST_ROUND_THE_ORIGIN = 0.95
SCORE_SLACK = 1e-3


def about_boxes(_outputs: Outputs, decoded: Decoded, spec: HeadSpec) -> str:
    """Boxes in pixels spread over the picture. Shares taken for pixels do not, nor do pixels taken for shares."""
    side = max(spec.width, spec.height)
    reach = np.abs(decoded.boxes_xyxy[decoded.scores > 0]).max(axis=-1)
    if len(reach) < FEWEST_ROWS:
        return ""
    typical = float(np.median(reach))
    if typical < max(SMALLEST_PX, SMALLEST_SHARE * side):
        return f"its boxes would typically end at {typical:.3g} px, so they are not in pixels"
    if not typical <= GREATEST_SHARE * side:
        return f"its boxes would typically end at {typical:.3g} px on a picture of {side}"
    if len(reach) >= DENSE_ROWS and _share_round_the_origin(decoded) > MOST_ROUND_THE_ORIGIN:
        return "its boxes would all reach round the picture's first corner, as corners taken for centre and size do"
    return ""


def _share_round_the_origin(decoded: Decoded) -> float:
    """Of all boxes, how many are as wide and high as their centre is far: x2 ≥ x1, read as width ≥ centre."""
    low, high = decoded.boxes_xyxy[..., :2], decoded.boxes_xyxy[..., 2:]
    return float((3 * low <= high).all(axis=-1).mean())


def about_scores(_outputs: Outputs, decoded: Decoded, _spec: HeadSpec) -> str:
    """Scores behind a sigmoid lie in 0..1. Logits, keypoints and angles do not."""
    scores = decoded.scores
    lowest, highest = float(scores.min(initial=0)), float(scores.max(initial=0))
    if lowest >= -SCORE_SLACK and highest <= 1 + SCORE_SLACK:
        return ""
    return f"its scores would reach from {lowest:.3g} to {highest:.3g}, so they are no scores"


def about_objectness(outputs: Outputs, _decoded: Decoded, _spec: HeadSpec) -> str:
    return "" if (outputs[0][..., 4] == 1).all() else "its objectness is not 1 everywhere"
