"""UltraSeg-130K, the published network for polyps on one CPU core, as a reference of speed.

Gao et al. 2026, arXiv 2602.04381: widths 8, 16, 48, 64, 96; three dilations in groups of three
channels; quarters of the channels weighted by learned maps of 8x8; side predictions that gate the
decoder. Written from the description, for its time only: it has no weights. 131,289 parameters, and
16,384 in the learned maps, which the published count leaves out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (8, 16, 48, 64, 96)


class UltraSeg(nn.Module):
    """Images [B, 3, H, W] to logits [B, 2, H, W] and the side predictions, seven of [B, 1, H, W].

    Sides are multiples of 16. The side predictions are computed in use too, as published.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d, e = WIDTHS
        self.stages = nn.ModuleList(
            [
                nn.Conv2d(3, a, 3, padding=1),
                nn.Conv2d(a, b, 3, padding=1),
                nn.Sequential(nn.Conv2d(b, c, 3, padding=1), Dilated(c), Dilated(c)),
            ]
        )
        self.shrink = nn.ModuleList(Shrink(width) for width in (a, b, c))
        self.deepest, self.deepest_norm = Weighted(c, d), nn.GroupNorm(4, d)
        self.fuse = Fuse(c, d)
        self.bottleneck = nn.Conv2d(d, e, 3, padding=1)
        self.up = nn.ModuleList(
            [Weighted(e, d), Weighted(d, c), Weighted(c, b), nn.Conv2d(b, a, 3, padding=1)]
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for width in (d, c, b, a))
        self.regions = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in (d, c, b, a))
        self.borders = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in (c, b, a))
        self.adapters = nn.ModuleList(Adapter(width) for width in (d, c, b, a))
        self.head = nn.Conv2d(a, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits and the side predictions."""
        size, sides, skips = x.shape[-2:], [], []
        for stage, shrink in zip(self.stages, self.shrink, strict=True):
            x = shrink(stage(x))
            skips.append(x)
        x = F.gelu(F.max_pool2d(self.deepest_norm(self.deepest(x)), 2))
        skips.append(x)
        x = self.bottleneck(self.fuse(_resize(skips[2], x.shape[-2:]), x))
        x = 0.7 * x + 0.3 * x * torch.sigmoid(x.mean(1, keepdim=True))
        for level, (block, norm) in enumerate(zip(self.up, self.norms, strict=True)):
            x = norm(block(x))
            x = F.gelu(_double(x) if level else x)
            region = self.regions[level](x)
            sides.append(torch.sigmoid(_resize(region, size)))
            region = torch.sigmoid(region)
            gates = x * region
            border = 0.0
            if level:
                border = torch.sigmoid(self.borders[level - 1](x))
                sides.append(_resize(border, size))
                gates = gates + x * border
            skip = skips[3 - level]
            x = self.adapters[level](x + gates) + skip * (1 + 0.3 * region + 0.1 * border)
        return _double(self.head(x)), sides


class Dilated(nn.Module):
    """Three dilations side by side, fused, added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width // 3, 3, padding=rate, dilation=rate, groups=width // 3)
            for rate in (1, 2, 3)
        )
        self.fusion = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x + 0.1 * self.fusion(torch.cat([each(x) for each in self.convolutions], 1))


class Shrink(nn.Module):
    """Group norm, batch norm, a convolution of stride 2, GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(4, width), nn.BatchNorm2d(width), nn.Conv2d(width, width, 2, 2), nn.GELU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H / 2, W / 2]."""
        return self.layers(x)


class Weighted(nn.Module):
    """Quarters of the channels times learned maps, shuffled; then a separable convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        quarter = inputs // 4
        self.maps = nn.ParameterList(torch.ones(1, quarter, 8, 8) for _ in range(4))
        self.blocks = nn.ModuleList(_separable(quarter, quarter) for _ in range(4))
        self.before, self.after = (nn.GroupNorm(1, inputs) for _ in range(2))
        self.out = _separable(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, outputs, H, W]."""
        quarters = self.before(x).chunk(4, 1)
        weighted = [
            each * block(_resize(learned, x.shape[-2:]))
            for each, block, learned in zip(quarters, self.blocks, self.maps, strict=True)
        ]
        return self.out(self.after(torch.cat([weighted[i] for i in (1, 3, 0, 2)], 1)))


class Fuse(nn.Module):
    """Two levels by softmax weights for each pixel."""

    def __init__(self, finer: int, coarser: int) -> None:
        super().__init__()
        self.align = nn.Conv2d(finer, coarser, 1)
        self.weights = nn.Sequential(
            nn.Conv2d(2 * coarser, coarser // 4, 3, padding=1),
            nn.BatchNorm2d(coarser // 4),
            nn.GELU(),
            nn.Conv2d(coarser // 4, 2, 1),
            nn.Softmax(1),
        )

    def forward(self, finer: Tensor, coarser: Tensor) -> Tensor:
        """[B, coarser, H, W] of two maps of that height and width."""
        finer = self.align(finer)
        first, second = self.weights(torch.cat([finer, coarser], 1)).chunk(2, 1)
        return first * finer + second * coarser


class Adapter(nn.Sequential):
    """Channels through a narrow place, where there are more than 16."""

    def __init__(self, width: int) -> None:
        narrow = max(width // 8, 4)
        layers = [nn.Conv2d(width, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, width, 1)]
        super().__init__(*(layers if width > 16 else []))


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs),
        nn.GELU(),
        nn.Conv2d(inputs, outputs, 1),
    )


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
