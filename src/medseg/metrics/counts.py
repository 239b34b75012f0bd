"""Confusion counts of each image: everything else about overlap follows from them."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion(
    prediction: Tensor, target: Tensor, classes: int, *, ignore_index: int = 255
) -> Tensor:
    """Pixel counts int64 [N, K, K] of class index maps [N, H, W]: rows truth, columns prediction.

    Pixels whose target is `ignore_index` drop out. Both maps may be of any integer type and device;
    nothing waits for the device, so that all other values must be below `classes` already: masks
    are checked where they are read.
    """
    images = len(target)
    bins = images * classes**2
    image = torch.arange(images, device=target.device).view(-1, 1, 1)
    pair = (image * classes + target) * classes + prediction
    pair = torch.where(target != ignore_index, pair, bins).flatten()
    counts = torch.zeros(
        bins + 1, dtype=torch.int64, device=target.device
    )  # the last one takes the ignored
    return counts.scatter_add_(0, pair, torch.ones_like(pair))[:-1].view(images, classes, classes)
