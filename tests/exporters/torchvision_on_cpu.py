"""torchvision's wheel loads its operators only beside CUDA. The one that is used here, in plain PyTorch."""

import torch

OPERATORS = torch.library.Library("torchvision", "DEF")
OPERATORS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
OPERATORS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    left, top, right, bottom = dets.unbind(1)
    area = (right - left) * (bottom - top)
    gone = torch.zeros(len(dets), dtype=torch.bool)
    kept = []
    for place in scores.argsort(descending=True, stable=True).tolist():
        if gone[place]:
            continue
        kept.append(place)
        width = (torch.minimum(right[place], right) - torch.maximum(left[place], left)).clamp(min=0)
        height = (torch.minimum(bottom[place], bottom) - torch.maximum(top[place], top)).clamp(min=0)
        gone |= width * height / (area[place] + area - width * height) > iou_threshold
    return torch.tensor(kept, dtype=torch.int64)


def install() -> None:
    OPERATORS.impl("nms", nms, "CPU")
    from torchvision import extension  # noqa: PLC0415  (it looks for the operators while it is imported)

    extension._has_ops = lambda: True
