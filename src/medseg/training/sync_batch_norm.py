"""Batch norm over all processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes, also on CPU, which PyTorch's own refuses.

    Gradients are those of one process with the whole batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalised [B, C, H, W]; in training the running statistics are those of all images."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        y, mean, variance, count = _Normalise.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return y


class _Normalise(torch.autograd.Function):
    """Batch norm of [B, C, H, W] by the mean and variance over all processes.

    It returns the mean, the variance and the number of values as well. One all-reduce forward and
    one backward, and only PyTorch's kernels in between, which read bfloat16 as it is: the plain
    formula, in float32 and differentiated by autograd, took half of a training step.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised x, and float32 mean [C], biased variance [C] and count [1]."""
        zero, one = torch.zeros_like(weight), torch.ones_like(weight)
        # of this process, in float32 as the running statistics are
        mean, variance = torch.batch_norm_update_stats(x, zero, one, 0.0)
        count = torch.full((1,), x[:, 0].numel(), dtype=torch.float64, device=x.device)
        mean, variance = mean.double(), variance.double()
        total = torch.cat([mean * count, (variance + mean.square()) * count, count])
        dist.all_reduce(total)
        channels, count = len(mean), total[-1:]
        mean, squares = total[:channels] / count, total[channels:-1] / count
        variance = (squares - mean.square()).clamp(min=0)
        mean, variance, count = (each.to(weight.dtype) for each in (mean, variance, count))
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients for x, weight, bias and (none) eps."""
        x, weight, mean, variance, count = ctx.saved_tensors
        inverse = torch.rsqrt(variance + ctx.eps)
        # sums of dy * (x - mean) * inverse and of dy
        _, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, variance, mean, inverse, False, ctx.eps, [False, True, True]
        )
        total = torch.cat([by_weight, by_bias])
        # the gradients of weight and bias stay this process's own: DDP averages them
        dist.all_reduce(total)
        slope, level = (part / count for part in total.split(len(weight)))
        scale = -weight * inverse.square() * slope
        shift = weight * inverse * (mean * inverse * slope - level)
        dx = _affine(x, scale, shift)
        dx.add_(_affine(dy, weight * inverse, torch.zeros_like(weight)))
        return dx, by_weight, by_bias, None


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift per channel, in one pass and in the type of x: batch norm's kernel."""
    return F.batch_norm(
        x, torch.zeros_like(scale), torch.ones_like(scale), scale, shift, False, 0.0, 0.0
    )


class SyncBatchNormAct(SyncBatchNorm):
    """The same for timm's batch norm with its activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalised and activated [B, C, H, W]."""
        return self.act(self.drop(super().forward(x)))


def synchronise_batch_norm(model: nn.Module, accelerator: str) -> nn.Module:
    """The network with its batch norms over all processes: PyTorch's on CUDA, ours elsewhere."""
    if accelerator == "cuda":
        # PyTorch's own conversion would drop the activation in timm's norms
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # same parameters, same buffers, same state dict
            module.__class__ = SyncBatchNormAct if hasattr(module, "act") else SyncBatchNorm
    return model
