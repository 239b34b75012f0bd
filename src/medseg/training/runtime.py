"""Processes and devices, from one process to many machines, through Lightning Fabric."""

from __future__ import annotations

import logging
import os
import warnings

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from medseg.config import Hardware, Optim, TrainConfig
from medseg.errors import UserError
from medseg.hardware import keep_freed_memory, pick_accelerator, pick_precision, threads

_FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def world_of(config: Hardware) -> tuple[int, int]:
    """Devices per machine, and machines: torchrun's if it started this process, or the config's."""
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
    """A Fabric for the config, not yet launched, and its precision: "fp32", "bf16" or "fp16"."""
    accelerator = pick_accelerator(config.accelerator)
    precision = pick_precision(config.precision, accelerator)
    devices, nodes = world_of(config)
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise UserError(
            f"--devices {devices}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    if accelerator == "mps" and devices * nodes > 1:
        raise UserError(f"--devices {devices}: MPS has one device; use --devices 1")
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
    strategy = "auto"
    if devices * nodes > 1:
        strategy = DDPStrategy(gradient_as_bucket_view=True, broadcast_buffers=not config.sync_bn)
    # its information messages are for programmers
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
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


def can_fuse(fabric: Fabric, config: Optim) -> bool:
    """Whether one kernel may take the optimiser's whole step.

    Not on MPS. Not where float16's scaled gradients are clipped: a fused optimiser undoes the scale
    within its step, and clipping needs it undone before.
    """
    scaled = getattr(fabric.strategy.precision, "scaler", None) is not None
    return fabric.device.type != "mps" and not (scaled and config.clip)


def agree(fabric: Fabric, stop: bool, elapsed: float) -> tuple[bool, float]:
    """Whether any process wants to stop, and the longest time: the same in every process."""
    if fabric.world_size == 1:
        return stop, elapsed
    both = fabric.all_reduce(
        torch.tensor([float(stop), elapsed], device=fabric.device), reduce_op="max"
    )
    return bool(both[0] > 0), float(both[1])


def explain(error: RuntimeError, config: TrainConfig) -> Exception:
    """A `UserError` that says what to do about an error of PyTorch, or the error itself."""
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
