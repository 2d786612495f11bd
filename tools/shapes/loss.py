"""Training targets and losses for the dense head.

Sources: task alignment learning (Feng et al., TOOD, 2021), distribution focal loss (Li et al., Generalized
Focal Loss, 2020) and complete IoU (Zheng et al., 2020).
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from network import BINS, SIDES, anchor_grid, boxes_xyxy, expected_sides
from torch import Tensor
from torch.nn import functional

CANDIDATES_PER_OBJECT: Final = 10
SCORE_POWER: Final = 0.5
OVERLAP_POWER: Final = 6.0
LABEL_GAIN: Final = 1.0
BOX_GAIN: Final = 7.5
BIN_GAIN: Final = 1.5
TINY: Final = 1e-7


@dataclass(frozen=True, slots=True)
class Truth:
    """Padded ground truth of a batch: boxes [B, M, 4] in pixels, labels [B, M], is_real [B, M]."""

    boxes_xyxy: Tensor
    class_ids: Tensor
    is_real: Tensor


@dataclass(frozen=True, slots=True)
class Assignment:
    """Per point: the object it answers for [B, A], how well [B, A] (0: background)."""

    object_index: Tensor
    quality: Tensor


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """IoU of broadcastable xyxy boxes [..., 4]."""
    left_top = torch.maximum(first[..., :2], second[..., :2])
    right_bottom = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (right_bottom - left_top).clamp(min=0).prod(dim=-1)
    first_area = (first[..., 2:] - first[..., :2]).prod(dim=-1)
    second_area = (second[..., 2:] - second[..., :2]).prod(dim=-1)
    return shared / (first_area + second_area - shared + TINY)


def complete_overlap(predicted: Tensor, truth: Tensor) -> Tensor:
    """IoU less penalties for centre distance and aspect ratio; xyxy boxes [N, 4]."""
    iou = overlap(predicted, truth)
    hull = torch.maximum(predicted[:, 2:], truth[:, 2:]) - torch.minimum(predicted[:, :2], truth[:, :2])
    shift = (predicted[:, :2] + predicted[:, 2:] - truth[:, :2] - truth[:, 2:]) / 2
    distance = shift.square().sum(dim=1) / (hull.square().sum(dim=1) + TINY)
    predicted_size, truth_size = predicted[:, 2:] - predicted[:, :2], truth[:, 2:] - truth[:, :2]
    turn = torch.atan2(truth_size[:, 0], truth_size[:, 1]) - torch.atan2(predicted_size[:, 0], predicted_size[:, 1])
    aspect = turn.square() * (4 / math.pi**2)
    weight = (aspect / (1 - iou + aspect + TINY)).detach()
    return iou - distance - weight * aspect


def assign(scores: Tensor, boxes: Tensor, centers_xy: Tensor, truth: Truth) -> Assignment:
    """Choose, for every object, the points inside it that already label and place it best."""
    if truth.class_ids.shape[1] == 0:
        empty = torch.zeros(scores.shape[:2], device=scores.device)
        return Assignment(empty.long(), empty)
    left_top, right_bottom = truth.boxes_xyxy[:, :, None, :2], truth.boxes_xyxy[:, :, None, 2:]
    depth = torch.minimum(centers_xy - left_top, right_bottom - centers_xy).amin(dim=3)
    is_eligible = (depth > 0) & truth.is_real[..., None]
    iou = overlap(truth.boxes_xyxy[:, :, None], boxes[:, None]) * is_eligible
    chosen_class = truth.class_ids[:, None, :].expand(-1, scores.shape[1], -1)
    score = scores.gather(2, chosen_class).transpose(1, 2)
    alignment = score.pow(SCORE_POWER) * iou.pow(OVERLAP_POWER)
    best = alignment.topk(CANDIDATES_PER_OBJECT, dim=2).indices
    is_candidate = torch.zeros_like(is_eligible).scatter_(2, best, True) & is_eligible
    claim, object_index = torch.where(is_candidate, iou, -1.0).max(dim=1)
    is_owner = functional.one_hot(object_index, truth.class_ids.shape[1]).transpose(1, 2).bool() & is_candidate
    alignment = alignment * is_owner
    peak_alignment = alignment.amax(dim=2, keepdim=True)
    peak_iou = (iou * is_owner).amax(dim=2, keepdim=True)
    quality = (alignment / (peak_alignment + TINY) * peak_iou).amax(dim=1)
    return Assignment(object_index, torch.where(claim >= 0, quality, 0.0))


def bin_loss(bin_logits: Tensor, sides: Tensor) -> Tensor:
    """Cross-entropy with the two bins next to each side: logits [N, 64], sides [N, 4] to [N]."""
    target = sides.clamp(0, BINS - 1 - 0.01)
    lower = target.long()
    upper_share = target - lower
    log_likelihood = bin_logits.view(-1, SIDES, BINS).log_softmax(dim=2)
    at_lower = log_likelihood.gather(2, lower[..., None]).squeeze(2)
    at_upper = log_likelihood.gather(2, lower[..., None] + 1).squeeze(2)
    return -((1 - upper_share) * at_lower + upper_share * at_upper).mean(dim=1)


def detection_loss(bin_logits: Tensor, label_logits: Tensor, truth: Truth, size_hw: tuple[int, int]) -> Tensor:
    """Labels, boxes and bins in one number, per unit of assigned quality."""
    centers_xy, strides = anchor_grid(size_hw)
    boxes = boxes_xyxy(expected_sides(bin_logits), centers_xy, strides)
    logits = label_logits.transpose(1, 2)
    with torch.no_grad():
        assignment = assign(logits.sigmoid(), boxes, centers_xy, truth)
    total = assignment.quality.sum().clamp(min=1.0)
    image, point = torch.nonzero(assignment.quality > 0, as_tuple=True)
    chosen = assignment.object_index[image, point]
    quality = assignment.quality[image, point]
    wanted = torch.zeros_like(logits)
    wanted[image, point, truth.class_ids[image, chosen]] = quality
    label_loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / total
    true_boxes = truth.boxes_xyxy[image, chosen]
    box_loss = ((1 - complete_overlap(boxes[image, point], true_boxes)) * quality).sum() / total
    reach = torch.cat([centers_xy[point] - true_boxes[:, :2], true_boxes[:, 2:] - centers_xy[point]], dim=1)
    bins = bin_loss(bin_logits.transpose(1, 2)[image, point], reach / strides[point, None])
    return LABEL_GAIN * label_loss + BOX_GAIN * box_loss + BIN_GAIN * (bins * quality).sum() / total
