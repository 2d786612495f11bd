"""Box arithmetic on arrays of shape [..., 4]."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookonce.vision.letterbox import Boxes

Indices: TypeAlias = NDArray[np.intp]


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


def iou_of_pairs(boxes_xyxy: Boxes, first: Indices, second: Indices) -> Boxes:
    """Overlap of the boxes `first` and `second` point to, pair by pair: what `iou_matrix` says of them, to the bit."""
    left, top, right, bottom = np.ascontiguousarray(boxes_xyxy.T)
    shared = np.maximum(np.minimum(right[first], right[second]) - np.maximum(left[first], left[second]), 0)
    shared *= np.maximum(np.minimum(bottom[first], bottom[second]) - np.maximum(top[first], top[second]), 0)
    areas = area(boxes_xyxy)
    union = areas[first] + areas[second]
    union -= shared
    overlap: Boxes = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _shared_side(first: Boxes, second: Boxes) -> Boxes:
    """How long each stretch `from to` of `first` [2,M] and each of `second` [2,N] run together, as [M,N]."""
    length: Boxes = np.minimum.outer(first[1], second[1])
    length -= np.maximum.outer(first[0], second[0])
    return np.maximum(length, 0, out=length)
