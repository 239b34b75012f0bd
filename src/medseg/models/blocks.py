"""Pieces that several networks share, and the base that lets every network take images of any size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

Kernel = int | tuple[int, int]


def CBA(inputs: int, outputs: int, kernel: Kernel = 3, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:  # noqa: N802
    """Convolution without bias, batch norm, ReLU: [B, inputs, H, W] to [B, outputs, H / stride, W / stride].

    Padding keeps the size at stride 1 for odd kernels; a kernel of 2 has none.
    """
    pair = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = tuple((side - 1) // 2 * dilation for side in pair)
    return nn.Sequential(nn.Conv2d(inputs, outputs, pair, stride, padding, dilation, bias=False), nn.BatchNorm2d(outputs),
                         nn.ReLU(inplace=True))


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two CBA of 3x3."""
    return nn.Sequential(CBA(inputs, outputs), CBA(outputs, outputs))


def deconv(inputs: int, outputs: int) -> nn.Sequential:
    """Transposed 3x3 convolution with bias, batch norm, ReLU: twice the height and width."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1), nn.BatchNorm2d(outputs),
                         nn.ReLU(inplace=True))


def head(inputs: int, classes: int) -> nn.Conv2d:
    """The segmentation head: one 1x1 convolution without bias."""
    return nn.Conv2d(inputs, classes, 1, bias=False)


class PatientBatchNorm(nn.BatchNorm2d):
    """Batch norm that bears a training batch with one value a channel, as global pooling of one image gives.

    The mean of one value leaves nothing of it, and PyTorch refuses. Here such a batch is normalised by the running
    statistics, which it leaves as they are; in every other case this is `BatchNorm2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def resize(x: Tensor, like: Tensor, mode: str = "bilinear") -> Tensor:
    """x at the height and width of `like`; bilinear keeps the corners, as the references do."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode=mode, align_corners=True if mode == "bilinear" else None)


class SegmentationNetwork(nn.Module):
    """A network that takes any height and width: it pads to a multiple of `stride` once, and crops its outputs back.

    Subclasses define `outputs(x)`, which gets padded images [B, C, H, W] and returns the logits [B, K, H, W] under "main",
    those of auxiliary heads under their names, and `features(x)`. The padding repeats the border at the bottom and right,
    so that no dark frame is invented; images smaller than `smallest` are padded to it, since a batch norm would see maps
    of one pixel (by default 2 * stride).
    """

    stride = 1
    smallest: int | None = None

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """Logits by name, of images whose size is a multiple of `stride`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K, H, W] of images [B, C, H, W]."""
        return self.outputs(self._padded(x))["main"][..., : x.shape[-2], : x.shape[-1]]

    def multiscale(self, x: Tensor) -> dict[str, Tensor]:
        """The logits of every head by name, "main" among them, all [B, K, H, W]."""
        return {name: y[..., : x.shape[-2], : x.shape[-1]] for name, y in self.outputs(self._padded(x)).items()}

    def _padded(self, x: Tensor) -> Tensor:
        least = self.smallest or 2 * self.stride
        bottom, right = (max(least, -(-side // self.stride) * self.stride) - side for side in x.shape[-2:])
        return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x
