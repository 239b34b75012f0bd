"""ResUNet: Zhang, Liu, Wang 2017, arXiv 1711.10684."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.models.blocks import CBA, SegmentationNetwork, head, resize


class ResBlock(nn.Module):
    """CBA with `stride`, CBA, plus a bare 1x1 convolution (or the input itself)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.main = nn.Sequential(CBA(inputs, outputs, stride=stride), CBA(outputs, outputs))
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]; nothing follows the sum."""
        return self.main(x) + self.skip(x)


class ResUNet(SegmentationNetwork):
    """Three residual levels down, a residual bridge, three up.

    Differs from the paper by the order convolution, batch norm, ReLU, and by 32 channels at the top
    for 64.
    """

    stride = 8

    def __init__(self, *, in_channels: int = 3, classes: int = 2, base_channels: int = 32) -> None:
        super().__init__()
        b = base_channels
        self.down = nn.ModuleList(
            [ResBlock(in_channels, b), ResBlock(b, 2 * b, 2), ResBlock(2 * b, 4 * b, 2)]
        )
        self.bridge = ResBlock(4 * b, 8 * b, 2)
        self.up = nn.ModuleList(
            [ResBlock(12 * b, 4 * b), ResBlock(6 * b, 2 * b), ResBlock(3 * b, b)]
        )
        self.head = head(b, classes)

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """encoder0 to encoder2, bridge (1/8), decoder2 to decoder0."""
        found: dict[str, Tensor] = {}
        for level, block in enumerate(self.down):
            x = found[f"encoder{level}"] = block(x)
        x = found["bridge"] = self.bridge(x)
        for level, block in zip((2, 1, 0), self.up, strict=True):
            skip = found[f"encoder{level}"]
            x = found[f"decoder{level}"] = block(torch.cat([resize(x, skip), skip], 1))
        return found
