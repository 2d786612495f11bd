"""Box arithmetic on arrays of shape [..., 4]."""

import numpy as np

from lookonce.vision.letterbox import Boxes


def cxcywh_to_xyxy(boxes_cxcywh: Boxes) -> Boxes:
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] * np.float32(0.5)
    return np.concatenate([centre - half, centre + half], axis=-1)


def area(boxes_xyxy: Boxes) -> Boxes:
    side = np.clip(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0, None)
    return np.asarray(side[..., 0] * side[..., 1], np.float32)


def iou_matrix(first_xyxy: Boxes, second_xyxy: Boxes) -> Boxes:
    """Overlap of each box of `first` [M,4] with each of `second` [N,4], as [M,N]; 0 where both are empty."""
    low = np.maximum(first_xyxy[:, None, :2], second_xyxy[None, :, :2])
    high = np.minimum(first_xyxy[:, None, 2:], second_xyxy[None, :, 2:])
    shared = area(np.concatenate([low, high], axis=-1))
    union = area(first_xyxy)[:, None] + area(second_xyxy)[None, :] - shared
    overlap: Boxes = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap
