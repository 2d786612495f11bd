"""Box arithmetic on arrays of shape [..., 4]."""

import numpy as np

from lookonce.vision.letterbox import Boxes


def cxcywh_to_xyxy(boxes_cxcywh: Boxes) -> Boxes:
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] * np.float32(0.5)
    return np.concatenate([centre - half, centre + half], axis=-1)


def area(boxes_xyxy: Boxes) -> Boxes:
    side = np.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0)
    return np.asarray(side[..., 0] * side[..., 1], np.float32)


def iou_matrix(first_xyxy: Boxes, second_xyxy: Boxes) -> Boxes:
    """Overlap of each box of `first` [M,4] with each of `second` [N,4], as [M,N]; 0 where both are empty."""
    first, second = np.ascontiguousarray(first_xyxy.T), np.ascontiguousarray(second_xyxy.T)
    shared = _shared_side(first[0::2], second[0::2])
    shared *= _shared_side(first[1::2], second[1::2])
    union = np.add.outer(area(first_xyxy), area(second_xyxy))
    union -= shared
    overlap: Boxes = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def iou_of_pairs(first_xyxy: Boxes, second_xyxy: Boxes) -> Boxes:
    """Overlap of each box of `first` [P,4] with the one of `second` beside it: what `iou_matrix` says, to the bit."""
    sides = np.minimum(first_xyxy[:, 2:], second_xyxy[:, 2:])
    sides -= np.maximum(first_xyxy[:, :2], second_xyxy[:, :2])
    np.maximum(sides, 0, out=sides)
    shared = sides[:, 0] * sides[:, 1]
    union = area(first_xyxy) + area(second_xyxy)
    union -= shared
    overlap: Boxes = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _shared_side(first: Boxes, second: Boxes) -> Boxes:
    """How long each stretch `from to` of `first` [2,M] and each of `second` [2,N] run together, as [M,N]."""
    length: Boxes = np.minimum.outer(first[1], second[1])
    length -= np.maximum.outer(first[0], second[0])
    return np.maximum(length, 0, out=length)
