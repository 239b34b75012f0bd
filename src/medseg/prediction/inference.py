"""From uint8 images to class maps at each image's native size: the one path that validation,
evaluation and prediction share, so that they agree to the last pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg import checkpoint
from medseg.checkpoint import Input
from medseg.data.geometry import unfit
from medseg.models.fold import fold_batch_norm

Size = tuple[int, int]


def load_network(stored: dict[str, Any], device: torch.device | str) -> nn.Module:
    """The network of a checkpoint, ready to predict: in eval mode, channels-last, its batch norms
    folded.
    """
    network = fold_batch_norm(checkpoint.network(stored), stored["network"].get("in_channels", 3))
    return network.to(device, memory_format=torch.channels_last)


def forward(model: nn.Module, image: Tensor, mean: Tensor, std: Tensor, precision: str) -> Tensor:
    """Logits [B, K, h, w] of uint8 images [B, h, w, C], at `precision` ("fp32", "bf16", "fp16") and
    channels-last.
    """
    from medseg.augment.batch import normalise
    from medseg.hardware import autocast

    with torch.inference_mode(), autocast(image.device.type, precision):
        return model(normalise(image, mean, std).contiguous(memory_format=torch.channels_last))


def margins(logits: Tensor, natives: Sequence[Size], given: Input) -> list[Tensor]:
    """Logits of each image at its native size, float32 [K, H, W]; for two classes their difference,
    [1, H, W].

    Resizing is linear, so the difference of the resized logits is the resized difference, at half
    the cost.
    """
    with torch.inference_mode():
        if logits.shape[1] == 2:
            logits = logits[:, 1:].float() - logits[:, :1].float()
        return [
            unfit(logits[i : i + 1], native, given.size, given.resize)[0]
            for i, native in enumerate(natives)
        ]


def classify(margin: Tensor, threshold: float = 0.5, temperature: float = 1.0) -> Tensor:
    """uint8 [H, W] class map of what `margins` gives: foreground from probability `threshold` on,
    or the likeliest class.

    `temperature` moves the edge of thresholds other than .5, and neither that one nor the likeliest
    class.
    """
    if margin.shape[0] == 1:
        edge = temperature * math.log(threshold / (1 - threshold)) if threshold < 1 else math.inf
        return (margin[0] > edge).to(torch.uint8)
    return margin.max(0).indices.to(torch.uint8)  # argmax takes 5 to 30 times as long on a CPU


def probabilities(margin: Tensor, temperature: float = 1.0) -> Tensor:
    """float32 [K, H, W] class probabilities of what `margins` gives, divided by the `temperature`
    of `medseg calibrate`.
    """
    margin = margin / temperature if temperature != 1 else margin
    if margin.shape[0] == 1:
        foreground = torch.sigmoid(margin)
        return torch.cat([1 - foreground, foreground])
    return margin.softmax(0)
