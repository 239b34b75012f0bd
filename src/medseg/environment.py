"""Versions and hardware: what environment.json and a report say about where numbers come from."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch

from medseg.hardware import cores
from medseg.version import __version__

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "lightning-fabric",
    "numpy",
    "opencv-python-headless",
)


def environment() -> dict[str, Any]:
    """Versions of Python and of the packages that numbers depend on, and the hardware."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "medseg": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": cores(),
        "gpu": gpus,
        **{name: version(name) for name in PACKAGES},
    }
