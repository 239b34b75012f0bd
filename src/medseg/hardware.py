"""Which device and which arithmetic: resolves `auto`, refuses what this machine lacks."""

from __future__ import annotations

import ctypes
import os
import platform

import torch
from loguru import logger

from medseg.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_accelerator(wanted: str = "auto") -> str:
    """`cpu`, `cuda` or `mps`; raises `UserError` if this machine lacks the wanted one."""
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if available[wanted]:
        return wanted
    reason = "PyTorch finds no such device"
    if wanted == "cuda" and not torch.version.cuda:
        reason = "this PyTorch is a CPU build; see the README for the CUDA one"
    names = ", ".join(name for name, is_here in available.items() if is_here)
    raise UserError(f"--accelerator {wanted}: {reason}; use --accelerator auto or one of: {names}")


def pick_precision(wanted: str, accelerator: str) -> str:
    """`fp32`, `bf16` or `fp16`; auto picks the one that trains fastest.

    That is bf16 on CUDA devices that multiply it, fp16 on older ones, bf16 on CPUs whose bf16
    multiplication is faster than fp32, and fp32 elsewhere (docs/log.md).
    """
    if wanted == "fp16" and accelerator == "cpu":
        raise UserError("--precision fp16: CPUs have no fp16 training; use bf16, fp32 or auto")
    if wanted != "auto":
        return wanted
    if accelerator == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if accelerator == "cpu" and _cpu_multiplies_bf16() else "fp32"


def _cpu_multiplies_bf16() -> bool:
    """Whether bf16 multiplication is faster than fp32: AMX, or AVX512-BF16 on AMD (since Zen 4).

    Intel CPUs have AVX512-BF16 too, but without AMX it is slower than fp32 there. This is a rule
    rather than a measurement, so that all processes of a training, and every resumed training,
    come to the same answer.
    """

    def has(feature: str) -> bool:
        check = getattr(torch.cpu, f"_is_{feature}_supported", None)
        return check is not None and check()

    return has("amx_tile") or (has("avx512_bf16") and "AuthenticAMD" in _cpu_vendor())


def _cpu_vendor() -> str:
    """The vendor's name as the CPU reports it; empty if the system does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                (line.split(":")[1].strip() for line in file if line.startswith("vendor_id")), ""
            )
    except OSError:
        return platform.processor()  # Windows: "AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD"


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next tensor.

    Memory returned to the system costs a page fault per 4 KiB when it is needed again: a tenth or
    more of a training step on the CPU (docs/log.md). For processes that only train; needs glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no mapping for each large block
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never shrink the heap


def autocast(accelerator: str, precision: str) -> torch.autocast:
    """The context in which a network runs at this precision."""
    return torch.autocast(
        accelerator,
        dtype=DTYPES[precision] if precision != "fp32" else None,
        enabled=precision != "fp32",
    )


def threads(processes: int = 1, wanted: int = 0) -> int:
    """Threads for arithmetic in each of `processes` on this machine.

    `wanted`, else OMP_NUM_THREADS, else an equal share of the cores. Never more than there are
    cores: threads that compete for a core are slower than fewer threads. torchrun sets
    OMP_NUM_THREADS=1 on its own, without the user asking for it, so under torchrun it is ignored.
    """
    if wanted > cores():
        logger.warning(f"--threads {wanted}: this machine has {cores()} cores; using {cores()}")
        return cores()
    variable = os.environ.get("OMP_NUM_THREADS", "")
    if not wanted and variable.isdecimal() and "TORCHELASTIC_RUN_ID" not in os.environ:
        wanted = min(int(variable), cores())
    return wanted or max(1, cores() // processes)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
