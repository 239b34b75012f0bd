"""ResUNet++: Jha et al. 2019, arXiv 1911.07067."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.errors import UserError
from medseg.models.blocks import CBA, SegmentationNetwork, SingleValueBatchNorm, head, resize


class SqueezeExcite(nn.Module):
    """Channel gates from the global average (Hu et al. 2017, arXiv 1709.01507), reduced 16-fold."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(channels, channels // 16),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 16, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


class Encoding(nn.Module):
    """A residual block of stride 2, with squeeze and excitation except at the bottom."""

    def __init__(self, inputs: int, outputs: int, squeeze: bool = True) -> None:
        super().__init__()
        self.main = nn.Sequential(CBA(inputs, outputs, stride=2), CBA(outputs, outputs))
        self.skip = CBA(inputs, outputs, 1, stride=2)
        self.squeeze = SqueezeExcite(outputs) if squeeze else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The input of the next stage and the gate for the decoder: [B, outputs, H / 2, W / 2]."""
        y = self.main(x) + self.skip(x)
        return self.squeeze(y), y


class ASPP(nn.Module):
    """Atrous spatial pyramid: the global average and dilations 1, 6, 12, 18.

    Each of the five has a fifth of the output channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = outputs // 5
        self.average = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            SingleValueBatchNorm(hidden),
            nn.ReLU(inplace=True),
        )
        self.branches = nn.ModuleList(CBA(inputs, hidden, dilation=rate) for rate in (1, 6, 12, 18))
        self.merge = CBA(5 * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        pooled = self.average(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        dilated = [branch(x) for branch in self.branches]
        return self.merge(torch.cat([pooled, *dilated], 1))


class Decoding(nn.Module):
    """Attention by the encoder's gate, upsampling to it, concatenation, a residual block."""

    def __init__(self, inputs: int, gate: int, outputs: int) -> None:
        super().__init__()
        self.from_below = CBA(inputs, 128)
        self.from_gate = CBA(gate, 128)
        self.attention = nn.Sequential(
            nn.Conv2d(128, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid()
        )
        self.main = nn.Sequential(CBA(inputs + gate, outputs), CBA(outputs, outputs))
        self.skip = CBA(inputs + gate, outputs, 1)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """x [B, inputs, H, W] at the size of the gate [B, gate, H', W']: [B, outputs, H', W']."""
        x = x * self.attention(self.from_below(x) + resize(self.from_gate(gate), x, "nearest"))
        x = torch.cat([resize(x, gate), gate], 1)
        return self.main(x) + self.skip(x)


class ResUNetPP(SegmentationNetwork):
    """Squeeze-excite residual encoder, ASPP bridge, attention decoder, ASPP before the head.

    Squeezing divides by 16: `base_channels` of at least 16. Wired as in the toolkit that medseg
    succeeds, which differs from the authors' code (github.com/DebeshJha/ResUNetPlusPlus) in every
    part. Stages: four of stride 2 and logits upsampled from half the resolution, for a stem at full
    resolution and three of stride 2; convolution, batch norm, ReLU for batch norm, ReLU,
    convolution. Squeeze and excitation: 16-fold, with biases, in the first three stages, whose maps
    the decoder sees without it, for 8-fold in every stage and decoder block, with it. ASPP: five
    branches of a fifth of the width, one of them the global average, concatenated, for the sum of
    four of full width; the bridge keeps its width for doubling it. Attention: one map behind a
    sigmoid for one map per channel without; gates resized for pooled. Upsampling: bilinear for
    nearest.
    """

    stride = 16

    def __init__(self, *, in_channels: int = 3, classes: int = 2, base_channels: int = 32) -> None:
        super().__init__()
        b = base_channels
        if b < 16:
            raise UserError(
                f"--base-channels {b}: resunetpp squeezes its channels 16 times; use at least 16"
            )
        self.down = nn.ModuleList(
            [
                Encoding(in_channels, b),
                Encoding(b, 2 * b),
                Encoding(2 * b, 4 * b),
                Encoding(4 * b, 8 * b, squeeze=False),
            ]
        )
        self.bridge = ASPP(8 * b, 8 * b)
        self.up = nn.ModuleList(
            [Decoding(8 * b, 4 * b, 4 * b), Decoding(4 * b, 2 * b, 2 * b), Decoding(2 * b, b, b)]
        )
        self.pyramid = ASPP(b, b)
        self.head = head(b, classes)

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """encoder0 (1/2) to encoder3 (1/16), bridge, decoder2 (1/8) to decoder0, pyramid (1/2)."""
        found: dict[str, Tensor] = {}
        for level, block in enumerate(self.down):
            x, found[f"encoder{level}"] = block(x)
        x = found["bridge"] = self.bridge(x)
        for level, block in zip((2, 1, 0), self.up, strict=True):
            x = found[f"decoder{level}"] = block(x, found[f"encoder{level}"])
        return found | {"pyramid": self.pyramid(x)}

    def heads(self, stages: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """The one head, upsampled from half the resolution."""
        return {"main": resize(self.head(stages["pyramid"]), x)}
