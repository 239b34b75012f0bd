"""U-Net: Ronneberger, Fischer, Brox 2015, arXiv 1505.04597."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from medseg.models.blocks import SegmentationNetwork, deconv, double_conv, head


class UNet(SegmentationNetwork):
    """Four levels down, a bottleneck, four levels up with skip connections.

    Differs from the paper by padded convolutions, batch norm, 3x3 pooling with stride 2 for 2x2, a
    3x3 transposed convolution with batch norm and ReLU for the 2x2 up-convolution, no dropout, and
    32 channels at the top for 64.
    """

    stride = 16

    def __init__(self, *, in_channels: int = 3, classes: int = 2, base_channels: int = 32) -> None:
        super().__init__()
        widths = [base_channels * 2**level for level in range(5)]
        down_widths = [in_channels, *widths[:4]]
        self.down = nn.ModuleList(double_conv(i, o) for i, o in pairwise(down_widths))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.middle = double_conv(widths[3], widths[4])
        self.up = nn.ModuleList(deconv(2 * width, width) for width in reversed(widths[:4]))
        self.merge = nn.ModuleList(double_conv(2 * width, width) for width in reversed(widths[:4]))
        self.head = head(base_channels, classes)

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """encoder0 (full resolution) to encoder3, middle (1/16), decoder3 to decoder0.

        Channels are b, 2b, 4b, 8b, 16b, 8b, ..., b for `base_channels` b.
        """
        found: dict[str, Tensor] = {}
        for level, block in enumerate(self.down):
            found[f"encoder{level}"] = block(x)
            x = self.pool(found[f"encoder{level}"])
        x = found["middle"] = self.middle(x)
        for level, up, merge in zip((3, 2, 1, 0), self.up, self.merge, strict=True):
            x = found[f"decoder{level}"] = merge(torch.cat([up(x), found[f"encoder{level}"]], 1))
        return found
