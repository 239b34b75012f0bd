"""From logits to probabilities and class maps at each image's native size.

Validation, evaluation and prediction share this path, so that they agree to the last pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.errors import UserError
from medseg.preprocessing import Preprocessing

Size = tuple[int, int]


def margins(logits: Tensor, natives: Sequence[Size], preprocessing: Preprocessing) -> list[Tensor]:
    """Logits of each image at its native size, float32 [K, H, W]; of two classes their difference.

    The difference is [1, H, W]. Resizing is linear, so the difference of the resized logits is the
    resized difference, at half the cost.
    """
    with torch.inference_mode():
        if logits.shape[1] == 2:
            logits = logits[:, 1:].float() - logits[:, :1].float()
        return [
            preprocessing.restore(logits[i : i + 1], native)[0] for i, native in enumerate(natives)
        ]


def classify(margin: Tensor, threshold: float = 0.5, temperature: float = 1.0) -> Tensor:
    """uint8 [H, W] class map of what `margins` gives.

    Of two classes foreground where its probability is at least `threshold`, of more the likeliest.
    `temperature` moves the edge of thresholds other than 0.5, and neither that one nor the
    likeliest class. At a threshold of 1 that is where `probabilities` are 1 in float32.
    """
    if margin.shape[0] > 1:
        return margin.max(0).indices.to(torch.uint8)  # argmax takes 5 to 30 times as long on a CPU
    if not 0 < threshold <= 1:
        raise UserError(f"threshold {threshold}: expected a probability above 0, up to 1")
    if threshold == 1:
        return (torch.sigmoid(margin[0] / temperature) == 1).to(torch.uint8)
    edge = temperature * math.log(threshold / (1 - threshold))
    return (margin[0] >= edge).to(torch.uint8)


def probabilities(margin: Tensor, temperature: float = 1.0) -> Tensor:
    """float32 [K, H, W] class probabilities of what `margins` gives, at `temperature`."""
    if temperature != 1:
        margin = margin / temperature
    if margin.shape[0] > 1:
        return margin.softmax(0)
    foreground = torch.sigmoid(margin)
    return torch.cat([1 - foreground, foreground])
