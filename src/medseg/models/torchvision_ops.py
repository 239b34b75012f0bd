"""A torchvision built for CUDA, imported beside a CPU-only PyTorch.

Its compiled extension does not load there, and `import torchvision` stops with "operator
torchvision::nms does not exist", which takes timm and segmentation-models-pytorch with it.
Segmentation needs none of its operators, so declaring the schemas it looks for is enough. Nothing
is declared where the extension loads or where PyTorch has CUDA or ROCm.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_LIBRARY: list[torch.library.Library] = []  # the declarations live as long as this object


def declare_missing() -> None:
    """Make `import torchvision` work.

    To be called before the first import of timm or segmentation-models-pytorch.
    """
    if _LIBRARY or torch.version.cuda or torch.version.hip or hasattr(torch.ops.torchvision, "nms"):
        return
    if _extension_loads():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        library.define(schema)
    _LIBRARY.append(library)


def _extension_loads() -> bool:
    """Load torchvision's compiled operators, if it has any that fit this PyTorch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.origin:
        return False
    for extension in Path(spec.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(extension)
        except OSError:
            continue
        return True
    return False
