"""Processes and devices: one process to many machines through Lightning Fabric, from one command or
from torchrun.
"""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn

from medseg.config import TrainConfig
from medseg.config.schema import Hardware
from medseg.errors import UserError
from medseg.hardware import keep_freed_memory, pick_accelerator, pick_precision, threads

_FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def world_of(config: Hardware) -> tuple[int, int]:
    """Devices a machine and machines: torchrun's when it started this process, else the config's."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    return config.devices, config.num_nodes


def is_first_process() -> bool:
    """Whether this is rank 0, also before the process group exists."""
    return (
        os.environ.get("RANK", "0") == "0"
        and os.environ.get("LOCAL_RANK", "0") == "0"
        and os.environ.get("NODE_RANK", "0") == "0"
    )


def make_fabric(config: Hardware) -> tuple[Fabric, str]:
    """A Fabric for the config, not yet launched, and the precision it runs at ("fp32", "bf16" or
    "fp16").
    """
    accelerator = pick_accelerator(config.accelerator)
    precision = pick_precision(config.precision, accelerator)
    devices, nodes = world_of(config)
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise UserError(
            f"--devices {devices}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    if accelerator == "mps" and devices * nodes > 1:
        raise UserError(f"--devices {devices}: MPS has one device; use --devices 1")
    world = devices * nodes
    torch.set_num_threads(threads(devices, config.threads))
    if accelerator == "cpu":
        keep_freed_memory()
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    elif accelerator == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = (
            precision != "fp32"
        )
    strategy = (
        DDPStrategy(gradient_as_bucket_view=True, broadcast_buffers=not config.sync_bn)
        if world > 1
        else "auto"
    )
    logging.getLogger("lightning_fabric").setLevel(
        logging.WARNING
    )  # its remarks are for programmers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=_FABRIC_PRECISION[precision],
        )
    return fabric, precision


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes, also on CPU, where PyTorch's own refuses to
    work.

    Gradients are those of one process with the whole batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        y, mean, variance, count = _Normalise.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return y


class _Normalise(torch.autograd.Function):
    """Batch norm of [B, C, H, W] by the mean and variance over all processes, which it returns with
    their count.

    One all-reduce forward and one backward, and only PyTorch's kernels in between, which read
    bfloat16 as it is: the plain formula, in float32 and differentiated by autograd, took half of a
    training step.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        zero, one = torch.zeros_like(weight), torch.ones_like(weight)
        mean, variance = torch.batch_norm_update_stats(
            x, zero, one, 0.0
        )  # float32 for float32 statistics, of this process
        count = torch.full((1,), x[:, 0].numel(), dtype=torch.float64, device=x.device)
        mean, variance = mean.double(), variance.double()
        total = torch.cat([mean * count, (variance + mean.square()) * count, count])
        dist.all_reduce(total)
        mean, squares, count = (
            total[: len(mean)] / total[-1],
            total[len(mean) : -1] / total[-1],
            total[-1:],
        )
        variance = (squares - mean.square()).clamp(min=0)
        mean, variance, count = (each.to(weight.dtype) for each in (mean, variance, count))
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        inverse = torch.rsqrt(variance + ctx.eps)
        _, by_weight, by_bias = (
            # sums of dy * (x - mean) * inverse and of dy
            torch.ops.aten.native_batch_norm_backward(
                dy, x, weight, mean, variance, mean, inverse, False, ctx.eps, [False, True, True]
            )
        )
        total = torch.cat([by_weight, by_bias])
        dist.all_reduce(
            total
        )  # the gradients of weight and bias stay this process's own: DDP averages them
        slope, level = (part / count for part in total.split(len(weight)))
        dx = _affine(
            x,
            -weight * inverse.square() * slope,
            weight * inverse * (mean * inverse * slope - level),
        )
        return (
            dx.add_(_affine(dy, weight * inverse, torch.zeros_like(weight))),
            by_weight,
            by_bias,
            None,
        )


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift by channel in one pass and in the type of x: batch norm's kernel without a
    norm.
    """
    return F.batch_norm(
        x, torch.zeros_like(scale), torch.ones_like(scale), scale, shift, False, 0.0, 0.0
    )


class SyncBatchNormAct(SyncBatchNorm):
    """The same for timm's batch norm with its activation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


def synchronise_batch_norm(model: nn.Module, accelerator: str) -> nn.Module:
    """The network with its batch norms over all processes: PyTorch's on CUDA, ours elsewhere."""
    if accelerator == "cuda":
        from timm.layers import (
            convert_sync_batchnorm,
        )  # PyTorch's would drop the activation in timm's norms

        return convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # same parameters, same buffers, same state dict
            module.__class__ = SyncBatchNormAct if hasattr(module, "act") else SyncBatchNorm
    return model


def agree(fabric: Fabric, stop: bool, elapsed: float) -> tuple[bool, float]:
    """Whether any process was asked to stop, and the longest time any has run: the same answer in
    every process.
    """
    if fabric.world_size == 1:
        return stop, elapsed
    both = fabric.all_reduce(
        torch.tensor([float(stop), elapsed], device=fabric.device), reduce_op="max"
    )
    return bool(both[0] > 0), float(both[1])


def explained(error: RuntimeError, config: TrainConfig) -> Exception:
    """What to do about an error of PyTorch, where that is known; else the error itself."""
    if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
        size = "x".join(map(str, config.data.size))
        return UserError(
            f"out of memory with --batch-size {config.training.batch_size} and --size {size}: lower"
            " --batch-size (and raise --accumulate to keep the gradient the same), --size or"
            " --base-channels"
        )
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return UserError(
            "--compile: PyTorch could not compile the network"
            f" ({str(error).strip().splitlines()[0]}); leave --compile out, the results are the"
            " same"
        )
    return error
