"""The structure loss of the polyp literature, as it was meant and as it was copied."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.losses.common import (
    Divisor,
    Weights,
    class_weights_of,
    foreground_mean,
    log_odds,
    own,
    ratio,
    truth_maps,
    valid_pixels,
    working,
)

WINDOW = 31


def structure(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    divisor: Divisor = own,
) -> Tensor:
    """Weighted binary cross-entropy plus weighted IoU; weights 1 + 5 |mean of t over 31x31 - t|.

    Range 0 to infinity. The pixel position aware loss of F3Net (Wei et al., arXiv 1911.11445),
    known as the structure loss of PraNet (arXiv 2006.11392): sum(w bce) / sum(w) + 1 - (sum(w p t)
    + 1) / (sum(w (p + t - p t)) + 1), per image, mean over images. This is the formula of the
    papers; most published code computes `structure_legacy`. Outside of the image, and where the
    mask is ignored, t counts as 0 in the window. With more than two classes each foreground class
    is taken against the rest, by the log-odds of its softmax probability. Logits [B, K, H, W] and
    class indices [B, H, W] in, a scalar out.
    """
    return _structure(logits, target, class_weights, ignore_index, divisor, legacy=False)


def structure_legacy(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    divisor: Divisor = own,
) -> Tensor:
    """`structure` with a plain mean for the weighted cross-entropy, to reproduce published numbers.

    Range 0 to infinity. The copied code asks for unreduced losses through an argument that torch
    reads as a request for their mean, and a constant weighted by w is the constant. Only the IoU is
    weighted.
    """
    return _structure(logits, target, class_weights, ignore_index, divisor, legacy=True)


def _structure(
    logits: Tensor,
    target: Tensor,
    class_weights: Weights,
    ignore_index: int,
    divisor: Divisor,
    *,
    legacy: bool,
) -> Tensor:
    logits = working(logits, target)
    valid = valid_pixels(target, ignore_index)
    truth = truth_maps(target, 1, logits.shape[1], valid)
    odds = log_odds(logits, 1)
    weight = torch.where(valid, _contour_weight(truth.to(odds.dtype)), 0)
    bce_weight = valid.to(odds.dtype).expand_as(weight) if legacy else weight
    bce = F.softplus(torch.where(truth, -odds, odds))
    p = odds.sigmoid()
    both = torch.where(truth, p, 0)
    either = torch.where(truth, 1, p)
    pixels = (2, 3)
    iou = ((both * weight).sum(pixels) + 1) / ((either * weight).sum(pixels) + 1)
    losses = ratio((bce * bce_weight).sum(pixels), bce_weight.sum(pixels)) + 1 - iou
    return foreground_mean(losses, valid, class_weights_of(class_weights, logits), divisor)


def _contour_weight(truth: Tensor) -> Tensor:
    """1 far from the contour, up to 6 at it.

    Two one-dimensional means: ten times faster on a CPU than the square one.
    """
    half = WINDOW // 2
    mean = F.avg_pool2d(truth, (WINDOW, 1), stride=1, padding=(half, 0))
    mean = F.avg_pool2d(mean, (1, WINDOW), stride=1, padding=(0, half))
    return 1 + 5 * (mean - truth).abs()
