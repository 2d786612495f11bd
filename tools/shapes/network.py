"""The shapes detector: a small ReLU backbone, a two-way feature pyramid and a dense anchor-free head."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES: Final[tuple[int, ...]] = (8, 16, 32)
BINS: Final = 16
SIDES: Final = 4


class ConvUnit(nn.Module):
    """Convolution, batch normalisation and, unless told otherwise, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, is_activated: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU(inplace=True) if is_activated else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        normalised: Tensor = self.activation(self.norm(self.conv(features)))
        return normalised


class Bottleneck(nn.Module):
    """A residual block: 1x1 down to half the channels, 3x3 back up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = ConvUnit(channels, channels // 2, kernel=1)
        self.spread = ConvUnit(channels // 2, channels, is_activated=False)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(features + self.spread(self.squeeze(features)))


class WideContext(nn.Module):
    """Three chained 5x5 max pools, so that the coarsest level sees the whole object."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = ConvUnit(channels, channels // 2, kernel=1)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.mix = ConvUnit(channels * 2, channels, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        views = [self.squeeze(features)]
        for _ in range(3):
            views.append(self.pool(views[-1]))
        mixed: Tensor = self.mix(torch.cat(views, dim=1))
        return mixed


class Backbone(nn.Module):
    """Features at strides 8, 16 and 32."""

    def __init__(self, widths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        stem, early, fine, middle, coarse = widths
        self.early = nn.Sequential(ConvUnit(3, stem, stride=2), ConvUnit(stem, early, stride=2))
        self.fine = nn.Sequential(ConvUnit(early, fine, stride=2), Bottleneck(fine), Bottleneck(fine))
        self.middle = nn.Sequential(ConvUnit(fine, middle, stride=2), Bottleneck(middle), Bottleneck(middle))
        self.coarse = nn.Sequential(
            ConvUnit(middle, coarse, stride=2), Bottleneck(coarse), Bottleneck(coarse), WideContext(coarse)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.fine(self.early(images))
        middle = self.middle(fine)
        return fine, middle, self.coarse(middle)


class Pyramid(nn.Module):
    """Adds coarse features to fine ones, then fine ones back to coarse ones, at one common width."""

    def __init__(self, inputs: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvUnit(channels, width, kernel=1) for channels in inputs)
        self.top_down = nn.ModuleList(Bottleneck(width) for _ in range(2))
        self.shrink = nn.ModuleList(ConvUnit(width, width, stride=2) for _ in range(2))
        self.bottom_up = nn.ModuleList(Bottleneck(width) for _ in range(2))

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        fine, middle, coarse = (unit(level) for unit, level in zip(self.lateral, features, strict=True))
        middle = self.top_down[0](middle + functional.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        fine = self.top_down[1](fine + functional.interpolate(middle, scale_factor=2.0, mode="nearest"))
        middle = self.bottom_up[0](middle + self.shrink[0](fine))
        coarse = self.bottom_up[1](coarse + self.shrink[1](middle))
        return [fine, middle, coarse]


def rare_label_logits(inputs: int, label_count: int) -> nn.Conv2d:
    """A 1x1 convolution that starts at a score of about 0.01 everywhere, as nearly all points are background."""
    layer = nn.Conv2d(inputs, label_count, 1)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, -4.6)
    return layer


class LevelHead(nn.Module):
    """For one level: logits of the distance bins of the four sides, and logits of the labels."""

    def __init__(self, width: int, hidden: int, label_count: int) -> None:
        super().__init__()
        self.label_count = label_count
        self.sides = nn.Sequential(ConvUnit(width, hidden), nn.Conv2d(hidden, SIDES * BINS, 1))
        self.labels = nn.Sequential(ConvUnit(width, hidden), rare_label_logits(hidden, label_count))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        point_count = int(features.shape[2]) * int(features.shape[3])
        sides: Tensor = self.sides(features).reshape(-1, SIDES * BINS, point_count)
        labels: Tensor = self.labels(features).reshape(-1, self.label_count, point_count)
        return sides, labels


class ShapesNet(nn.Module):
    """Images float [B, 3, H, W] in 0..1 to (bin logits [B, 64, A], label logits [B, C, A])."""

    def __init__(
        self,
        label_count: int,
        widths: tuple[int, int, int, int, int] = (16, 32, 64, 96, 96),
        neck: int = 64,
        hidden: int = 32,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(widths)
        self.pyramid = Pyramid(widths[2:], neck)
        self.heads = nn.ModuleList(LevelHead(neck, hidden, label_count) for _ in STRIDES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        levels = self.pyramid(self.backbone(images))
        sides, labels = zip(*(head(level) for head, level in zip(self.heads, levels, strict=True)), strict=True)
        return torch.cat(sides, dim=2), torch.cat(labels, dim=2)


def anchor_grid(size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Centres xy [A, 2] in pixels and strides [A] of all points, level by level, row by row."""
    centers, strides = [], []
    for stride in STRIDES:
        down = (torch.arange(size_hw[0] // stride) + 0.5) * stride
        across = (torch.arange(size_hw[1] // stride) + 0.5) * stride
        grid_y, grid_x = torch.meshgrid(down, across, indexing="ij")
        centers.append(torch.stack([grid_x.flatten(), grid_y.flatten()], dim=1))
        strides.append(torch.full((grid_x.numel(),), float(stride)))
    return torch.cat(centers), torch.cat(strides)


def expected_sides(bin_logits: Tensor) -> Tensor:
    """Bin logits [B, 64, A] to distances left, top, right, bottom [B, 4, A], in strides."""
    likelihood = bin_logits.view(-1, SIDES, BINS, bin_logits.shape[2]).softmax(dim=2)
    bins = torch.arange(BINS, dtype=torch.float32).view(1, 1, BINS, 1)
    return (likelihood * bins).sum(dim=2)


def boxes_xyxy(sides: Tensor, centers_xy: Tensor, strides: Tensor) -> Tensor:
    """Distances [B, 4, A] to boxes [B, A, 4] in pixels."""
    reach: Tensor = (sides * strides).transpose(1, 2)
    return torch.cat([centers_xy - reach[..., :2], centers_xy + reach[..., 2:]], dim=2)
