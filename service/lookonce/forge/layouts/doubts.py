"""What one run can say against a layout: numbers that a detector of that kind never gives."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lookonce.vision.heads import Decoded, Floats, HeadSpec, Outputs, points, strides_of

Doubt: TypeAlias = Callable[[Outputs, Decoded, HeadSpec], str]
"""Given a model's outputs in order and what they would mean; says what is wrong with that, or nothing."""

FEWEST_ROWS, CORNER_ROWS, DENSE_ROWS = 10, 50, 1000
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
    if _are_corners(decoded, spec):
        return "its boxes would all reach round the picture's first corner, as corners taken for centre and size do"
    return ""


def _are_corners(decoded: Decoded, spec: HeadSpec) -> bool:
    """Many rows tell by themselves. A small picture may be all large boxes, so a few must also sit off their points."""
    seen = decoded.scores > 0
    if seen.sum() < CORNER_ROWS or _share_round_the_origin(decoded.boxes_xyxy[seen]) <= MOST_ROUND_THE_ORIGIN:
        return False
    return bool(seen.sum() >= DENSE_ROWS) or _sit_on_points_as_corners(decoded, spec)


def _share_round_the_origin(boxes_xyxy: Floats) -> float:
    """Of all boxes, how many are as wide and high as their centre is far: x2 ≥ x1, read as width ≥ centre."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return float((3 * low <= high).all(axis=-1).mean())


def _sit_on_points_as_corners(decoded: Decoded, spec: HeadSpec) -> bool:
    """Whether the boxes lie nearer to the points of their grids once centre and size are taken for two corners."""
    strides = strides_of(spec, decoded.scores.shape[1])
    if not strides:
        return False
    cells, scale = points(spec, strides)
    at = (cells + np.float32(0.5)) * scale
    low, high = decoded.boxes_xyxy[..., :2], decoded.boxes_xyxy[..., 2:]
    centre, size = (low + high) / 2, high - low
    as_corners, as_centres = (np.abs(middle - at)[decoded.scores > 0] for middle in ((centre + size) / 2, centre))
    return bool(np.median(as_corners) < np.median(as_centres))


def about_scores(_outputs: Outputs, decoded: Decoded, _spec: HeadSpec) -> str:
    """Scores behind a sigmoid lie in 0..1. Logits, keypoints and angles do not."""
    scores = decoded.scores
    lowest, highest = float(scores.min(initial=0)), float(scores.max(initial=0))
    if lowest >= -SCORE_SLACK and highest <= 1 + SCORE_SLACK:
        return ""
    return f"its scores would reach from {lowest:.3g} to {highest:.3g}, so they are no scores"


def about_objectness(outputs: Outputs, _decoded: Decoded, _spec: HeadSpec) -> str:
    return "" if (outputs[0][..., 4] == 1).all() else "its objectness is not 1 everywhere"
