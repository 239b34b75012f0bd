"""DUCK-Net: Dumitru, Peteleaza, Craciun 2023, doi 10.1038/s41598-023-36940-5."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from medseg.models.blocks import CBA, SegmentationNetwork, head, resize


def norm_relu(channels: int) -> nn.Sequential:
    """Batch norm, ReLU."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two CBA plus a bare 1x1 convolution, then batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.main = nn.Sequential(CBA(inputs, outputs), CBA(outputs, outputs))
        self.after = norm_relu(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        return self.after(self.skip(x) + self.main(x))


class Duck(nn.Module):
    """Six branches of growing reach over the normalised input, summed and normalised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        i, o = inputs, outputs
        self.before = norm_relu(i)
        self.branches = nn.ModuleList(
            [
                nn.Sequential(CBA(i, o), CBA(o, o, dilation=2), CBA(o, o, dilation=3)),  # widescope
                nn.Sequential(CBA(i, o), CBA(o, o, dilation=2)),  # midscope
                Residual(i, o),
                nn.Sequential(Residual(i, o), Residual(o, o)),
                nn.Sequential(Residual(i, o), Residual(o, o), Residual(o, o)),
                nn.Sequential(CBA(i, o, (1, 7)), CBA(o, o, (7, 1))),  # separated
            ]
        )
        self.after = norm_relu(o)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        x = self.before(x)
        return self.after(sum(branch(x) for branch in self.branches))


class DUCKNet(SegmentationNetwork):
    """Five DUCK stages down, and five up by addition.

    Beside the way down, a plain strided path keeps low-level detail. `base_channels` is the filter
    count of the first stage, 17 or 34 in the paper. Differs from the authors' Keras code
    (github.com/RazvanDu/DUCK-Net) by batch norm before ReLU instead of after it, ReLU after the
    norms around a block, around its sum and around a residual, a 1x1 skip without ReLU, a separable
    kernel of 7 for 6, a 3x3 main path of stride 2 for 2x2, batch norm and ReLU after the strided
    convolutions of both paths, which are bare there, convolutions without bias, and PyTorch's
    initialisation for He's uniform one. So its published numbers are of another network.
    """

    stride = 32

    def __init__(self, *, in_channels: int = 3, classes: int = 2, base_channels: int = 17) -> None:
        super().__init__()
        f = base_channels
        widths = [f * 2**level for level in range(6)]  # f, 2f, ..., 32f
        self.duck = nn.ModuleList(
            [Duck(in_channels, f), *(Duck(width, width) for width in widths[1:5])]
        )
        self.main = nn.ModuleList(CBA(i, o, stride=2) for i, o in pairwise(widths))
        plain_widths = [in_channels, *widths[1:]]
        self.plain = nn.ModuleList(CBA(i, o, 2, stride=2) for i, o in pairwise(plain_widths))
        self.middle = nn.Sequential(
            Residual(widths[5], widths[5]),
            Residual(widths[5], widths[5]),
            Residual(widths[5], widths[4]),
            Residual(widths[4], widths[4]),
        )
        up_widths = [*widths[4::-1], f]  # 16f, 8f, ..., f, f
        self.up = nn.ModuleList(Duck(i, o) for i, o in pairwise(up_widths))
        self.head = head(f, classes)

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """encoder0 (full resolution) to encoder4, middle (1/32), decoder4 to decoder0."""
        plain = x
        found: dict[str, Tensor] = {}
        for level in range(5):
            skip = found[f"encoder{level}"] = self.duck[level](x)
            plain = self.plain[level](plain)
            x = self.main[level](skip) + plain
        x = found["middle"] = self.middle(x)
        for level, duck in zip((4, 3, 2, 1, 0), self.up, strict=True):
            skip = found[f"encoder{level}"]
            x = found[f"decoder{level}"] = duck(resize(x, skip, "nearest") + skip)
        return found
