"""UNet++: Zhou et al. 2018, arXiv 1807.10165."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.models.blocks import SegmentationNetwork, deconv, double_conv, head


class UNetPP(SegmentationNetwork):
    """Nested skip pathways: node X(i, j) joins X(i, 0..j-1) and the upsampled X(i+1, j-1).

    Level i has 1 / 2**i of the resolution. Differs from the paper by a last diagonal half as wide
    as its level, batch norm, 3x3 transposed convolutions, 32 channels at the top, and no pruned
    inference. `auxiliary` adds heads on X(0, 1), X(0, 2), X(0, 3).
    """

    stride = 16

    def __init__(
        self,
        *,
        in_channels: int = 3,
        classes: int = 2,
        base_channels: int = 32,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        b = base_channels
        # node: channels in, channels out, channels that its deconv hands to the level above or 0
        nodes = {
            "00": (in_channels, b, 0),
            "10": (b, 2 * b, b),
            "20": (2 * b, 4 * b, 2 * b),
            "30": (4 * b, 8 * b, 4 * b),
            "40": (8 * b, 16 * b, 8 * b),
            "01": (2 * b, b, 0),
            "02": (3 * b, b, 0),
            "03": (4 * b, b, 0),
            "11": (4 * b, 2 * b, b),
            "12": (6 * b, 2 * b, b),
            "21": (8 * b, 4 * b, 2 * b),
            "31": (16 * b, 4 * b, 4 * b),
            "22": (12 * b, 2 * b, 2 * b),
            "13": (8 * b, b, b),
            "04": (5 * b, b, 0),
        }
        self.node = nn.ModuleDict({name: double_conv(i, o) for name, (i, o, _) in nodes.items()})
        self.up = nn.ModuleDict({name: deconv(o, up) for name, (_, o, up) in nodes.items() if up})
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.head = head(b, classes)
        columns = (1, 2, 3) if auxiliary else ()
        self.auxiliary = nn.ModuleDict({f"aux{j}": head(b, classes) for j in columns})

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """Every node as "x00" to "x04": level i at 1 / 2**i of the resolution."""
        found: dict[str, Tensor] = {}
        for level in range(5):
            if level > 0:
                x = self.pool(x)
            x = found[f"x{level}0"] = self.node[f"{level}0"](x)
        for column in range(1, 5):
            for level in range(5 - column):
                below = f"{level + 1}{column - 1}"
                row = [found[f"x{level}{j}"] for j in range(column)]
                joined = torch.cat([self.up[below](found[f"x{below}"]), *row], 1)
                found[f"x{level}{column}"] = self.node[f"{level}{column}"](joined)
        return found

    def heads(self, stages: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """The head on X(0, 4), and the auxiliary ones on X(0, 1) to X(0, 3)."""
        extra = {name: each(stages[f"x0{name[-1]}"]) for name, each in self.auxiliary.items()}
        return {"main": self.head(stages["x04"])} | extra
