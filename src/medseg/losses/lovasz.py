"""The Lovász extension of the Jaccard loss."""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.losses.common import (
    Divisor,
    Weights,
    class_weights_of,
    foreground_mean,
    own,
    ratio,
    truth_maps,
    valid_pixels,
    working,
)


def lovasz(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    divisor: Divisor = own,
) -> Tensor:
    """Lovász-softmax: errors |t - p|, largest first, each times what it adds to the Jaccard loss.

    Range 0 to 1. Berman et al., arXiv 1705.08790. Per image and foreground class, then averaged as
    the region terms are; with two classes this is the softmax form on the foreground, not the
    hinge. The paper leaves out a class with no pixel in the mask; here its loss is mean p, as in
    `region`, so that false alarms cost something. Logits [B, K, H, W] and class indices [B, H, W]
    in, a scalar out. Sorts every image, which costs several times the other terms.
    """
    logits = working(logits, target)
    valid = valid_pixels(target, ignore_index)
    truth = truth_maps(target, 1, logits.shape[1], valid)
    p = torch.where(valid, logits.softmax(dim=1)[:, 1:], 0)
    errors = torch.where(truth, 1 - p, p).flatten(2)  # 0 where ignored, hence sorted to the end
    errors, order = errors.sort(dim=2, descending=True)
    gain = _jaccard_gain(truth.flatten(2).gather(2, order).to(p.dtype))
    present = truth.flatten(2).any(dim=2)
    false_share = ratio(p.sum(dim=(2, 3)), valid.sum(dim=(2, 3)))
    losses = torch.where(present, (errors * gain).sum(dim=2), false_share)
    return foreground_mean(losses, valid, class_weights_of(class_weights, logits), divisor)


def _jaccard_gain(truth: Tensor) -> Tensor:
    """[B, C, N]: what each pixel adds to the Jaccard loss of those before it.

    `truth` is 0 or 1, [B, C, N], in order of falling error.
    """
    seen = truth.cumsum(dim=2)
    total = seen[:, :, -1:]
    rank = torch.arange(1, truth.shape[2] + 1, dtype=truth.dtype, device=truth.device)
    loss = 1 - (total - seen) / (total + rank - seen)
    return loss.diff(dim=2, prepend=torch.zeros_like(total))
