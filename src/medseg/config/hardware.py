"""Devices, processes and arithmetic of a training."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.config.choices import ACCELERATORS, PRECISIONS
from medseg.config.fields import option


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Devices, processes and arithmetic."""

    accelerator: str = option("auto", "hardware", choices=ACCELERATORS)
    devices: int = option(1, "devices (processes) on each machine", at_least=1)
    num_nodes: int = option(1, "machines", at_least=1)
    precision: str = option(
        "auto",
        "arithmetic of the forward pass; auto: the fastest that the hardware trains well with",
        choices=PRECISIONS,
    )
    sync_bn: bool = option(True, "batch norm over the images of all processes")
    compile: bool = option(False, "compile the network with torch.compile")
    profile: bool = option(
        False, "write a trace of six steps into the run folder and name the slowest stage"
    )
    deterministic: bool = option(False, "only deterministic kernels (always the case on CPU)")
    threads: int = option(
        0, "CPU threads for arithmetic in each process; 0: an equal share of the cores", at_least=0
    )
