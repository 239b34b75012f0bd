"""Blocks that several networks share, and the base class that fits images of any size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = int | tuple[int, int]


def CBA(  # noqa: N802
    inputs: int, outputs: int, kernel: Kernel = 3, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU.

    [B, inputs, H, W] to [B, outputs, H / stride, W / stride]. Padding keeps the size at stride 1
    for odd kernels; a kernel of 2 has none.
    """
    pair = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = tuple((side - 1) // 2 * dilation for side in pair)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, pair, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two CBA of 3x3."""
    return nn.Sequential(CBA(inputs, outputs), CBA(outputs, outputs))


def deconv(inputs: int, outputs: int) -> nn.Sequential:
    """Transposed 3x3 convolution with bias, batch norm, ReLU: twice the height and width."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def head(inputs: int, classes: int) -> nn.Conv2d:
    """The segmentation head: one 1x1 convolution without bias."""
    return nn.Conv2d(inputs, classes, 1, bias=False)


class SingleValueBatchNorm(nn.BatchNorm2d):
    """Batch norm that accepts a training batch with a single value per channel.

    Global pooling of one image gives such a batch. A value less its own mean is 0, and PyTorch
    refuses. Here it is normalised by the running statistics, which it leaves as they are; in every
    other case this is `BatchNorm2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


class DilatedConv2d(nn.Conv2d):
    """A dilated convolution that a CPU trains in float32 even where the rest is bfloat16.

    In every other case it is a `Conv2d`. PyTorch 2.13 on CPUs with AVX512-BF16 reads beyond its
    buffers in the gradient of such weights, unless channels come in multiples of 16: infinite,
    wrong, or the process dies (docs/log.md, 2026-11-24).
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, out_channels, H', W'], as `Conv2d`."""
        if not (self.training and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(torch.get_autocast_dtype("cpu"))


class SubsampledConv2d(nn.Conv2d):
    """A strided 1x1 convolution that a CPU trains at stride 1, on the pixels that the stride keeps.

    In every other case it is a `Conv2d`. The gradient of such weights in PyTorch 2.13 (oneDNN 3.12)
    writes beyond its buffer if the input is channels-last with fewer than 16 channels, in float32
    and in bfloat16: the process dies (docs/log.md, 2026-11-25).
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, out_channels, H', W'], as `Conv2d`."""
        if not (self.training and x.device.type == "cpu"):
            return super().forward(x)
        kept = x[..., :: self.stride[0], :: self.stride[1]]
        return F.conv2d(kept, self.weight, self.bias)


def guard_convolutions(model: nn.Module) -> None:
    """Replace the convolutions that training on a CPU would harm; parameters stay the same."""
    for module in model.modules():
        if type(module) is not nn.Conv2d:
            continue
        inputs, outputs, grouped = module.in_channels, module.out_channels, module.groups > 1
        pointwise = module.kernel_size == (1, 1) and module.padding == (0, 0) and not grouped
        if pointwise and max(module.stride) > 1 and inputs < 16:
            module.__class__ = SubsampledConv2d
        elif max(module.dilation) > 1 and (inputs % 16 or outputs % 16 or grouped):
            module.__class__ = DilatedConv2d


def resize(x: Tensor, like: Tensor, mode: str = "bilinear") -> Tensor:
    """x at the height and width of `like`; bilinear keeps the corners, as the references do."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    align_corners = True if mode == "bilinear" else None
    return F.interpolate(x, size=like.shape[-2:], mode=mode, align_corners=align_corners)


class SegmentationNetwork(nn.Module):
    """A network that takes any height and width, with PyTorch's default initialisation.

    A subclass defines `stages` and, where a 1x1 convolution `self.head` on the last of them is not
    all, `heads`; both see images whose sides are multiples of `stride`. The padding to such a size
    and the crop back happen here, once. It repeats the border at the bottom and right: that invents
    no dark frame, and works for a single pixel, where a mirror needs more image than it adds. Sides
    are at least 2 * `stride`, below which batch norm would see maps of one pixel.
    """

    stride = 1

    @property
    def smallest(self) -> int:
        """The least height and width of fitted images."""
        return 2 * self.stride

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """Named feature maps of fitted images [B, C, H, W], in the order of computation."""
        raise NotImplementedError

    def heads(self, stages: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """Logits [B, K, H, W] by name, "main" among them, from the feature maps of x."""
        return {"main": self.head(list(stages.values())[-1])}

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K, H, W] of images [B, C, H, W]."""
        return self.multiscale(x)["main"]

    def multiscale(self, x: Tensor) -> dict[str, Tensor]:
        """The logits of every head, each [B, K, H, W]: "main" and those of the auxiliary heads."""
        return self.observe(x, ())[0]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The feature maps by name; they cover the padded image."""
        return self.stages(self.fit(x))

    def observe(
        self, x: Tensor, names: Sequence[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The logits of `multiscale` and the feature maps of these names, in one pass."""
        fitted = self.fit(x)
        stages = self.stages(fitted)
        logits = {name: self.restore(y, x) for name, y in self.heads(stages, fitted).items()}
        return logits, {name: stages[name] for name in names}

    def fit(self, x: Tensor) -> Tensor:
        """Images at a size that the network takes."""
        bottom, right = (self.missing(side) for side in x.shape[-2:])
        if bottom == 0 and right == 0:
            return x
        return F.pad(x, (0, right, 0, bottom), mode="replicate")

    def missing(self, side: int) -> int:
        """Pixels between a side and the next one that the network takes."""
        multiple = -(-side // self.stride) * self.stride
        return max(self.smallest, multiple) - side

    def restore(self, y: Tensor, x: Tensor) -> Tensor:
        """Logits of fitted images at the size of the images."""
        return y[..., : x.shape[-2], : x.shape[-1]]
