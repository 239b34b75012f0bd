"""Means over pixels: cross-entropy, its one-vs-rest form, hard-pixel mining and the focal loss.

All take logits [B, K, H, W] and class indices [B, H, W] (uint8 or int64) and return a scalar. The
mean runs over all pixels of the batch that count, as in `torch.nn.functional.cross_entropy`; it is
0 when none does. `divisor` makes it one over several batches: see `common.Divisor`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.losses.common import (
    Divisor,
    Weights,
    class_weights_of,
    log_odds,
    own,
    ratio,
    truth_maps,
    valid_pixels,
    working,
)

HARDEST = 16  # ohem keeps at least one pixel in so many


def ce(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    label_smoothing: float = 0.0,
    divisor: Divisor = own,
) -> Tensor:
    """Cross-entropy of the softmax: mean of -log p_true, weighted by the true class.

    Range 0 to infinity. Label smoothing e (Szegedy et al., arXiv 1512.00567) spreads a share e of
    each target over all K classes. Differs from `torch.nn.functional.cross_entropy` only where
    every pixel is ignored: 0, not NaN.
    """
    logits = working(logits, target)
    weights = class_weights_of(class_weights, logits)
    total = F.cross_entropy(
        logits,
        target.long(),
        weight=weights,
        ignore_index=ignore_index,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    pixels = _pixel_weights(target, weights, ignore_index, logits.dtype).sum()
    return ratio(total, divisor(pixels))


def bce(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int = 255,
    label_smoothing: float = 0.0,
    divisor: Divisor = own,
) -> Tensor:
    """Binary cross-entropy, one class against the rest: mean over pixels and classes.

    Range 0 to infinity. With two classes there is one question, answered by the foreground logit z1
    - z0, and the value is that of `ce`. With more, each of the K classes asks its own; the logit is
    the log-odds of its softmax probability, where the usual form takes a sigmoid of the raw logit.
    Label smoothing e moves the targets 0 and 1 to e / 2 and 1 - e / 2.
    """
    logits = working(logits, target)
    valid = valid_pixels(target, ignore_index)
    first = 1 if logits.shape[1] == 2 else 0
    odds = log_odds(logits, first)
    wrong = torch.where(truth_maps(target, first, logits.shape[1], valid), -odds, odds)
    losses = torch.where(valid, F.softplus(wrong) - label_smoothing / 2 * wrong, 0)
    return ratio(losses.sum(), divisor(valid.sum()) * odds.shape[1])


def ohem(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    ohem_threshold: float = 0.7,
    divisor: Divisor = own,
) -> Tensor:
    """Cross-entropy over hard pixels: those with p_true < threshold, at least the hardest 1 in 16.

    Range 0 to infinity. Online hard example mining (Shrivastava et al., arXiv 1604.03540) in the
    per-pixel form of BiSeNet (arXiv 1808.00897). Class weights enter the mean over the kept pixels,
    not the choice of them; pixels that tie with the last kept one are kept too. They are chosen
    among the pixels of `logits` alone: of several processes, and of accumulated batches, each
    chooses within its share, so that the choice is that of the whole only where the threshold alone
    decides it in every share. A pixel that improves past the threshold leaves the mean, which may
    then rise: the one term for which a better prediction can cost more.
    """
    logits = working(logits, target)
    losses = F.cross_entropy(logits, target.long(), ignore_index=ignore_index, reduction="none")
    weights = class_weights_of(class_weights, logits)
    pixel_weights = _pixel_weights(target, weights, ignore_index, logits.dtype)
    with torch.no_grad():
        hardest = losses.flatten().topk(max(1, losses.numel() // HARDEST)).values
        last = ((target != ignore_index).sum() // HARDEST - 1).clamp(min=0)
        cutoff = hardest.gather(0, last.view(1))  # an index would wait for the device
        hard = (losses > -math.log(ohem_threshold)) | (losses >= cutoff)
        pixel_weights = pixel_weights * hard
    return ratio((losses * pixel_weights).sum(), divisor(pixel_weights.sum()))


def focal(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    label_smoothing: float = 0.0,
    focal_gamma: float = 2.0,
    divisor: Divisor = own,
) -> Tensor:
    """Focal loss: mean of -(1 - p_true)^gamma log p_true, weighted by the true class.

    Range 0 to infinity. Lin et al., arXiv 1708.02002. Ours is over the softmax, not one sigmoid per
    class, its alpha is the class weights, and it divides by the pixels (or their weights), so that
    gamma 0 is `ce` for every option.
    """
    logits = working(logits, target)
    weights = class_weights_of(class_weights, logits)
    pixel_weights = _pixel_weights(target, weights, ignore_index, logits.dtype)
    log_p = logits.log_softmax(dim=1)
    true = log_p.gather(1, _safe_index(target, ignore_index).unsqueeze(1)).squeeze(1)
    losses = (1 - label_smoothing) * pixel_weights * _focused(true, focal_gamma)
    if label_smoothing:
        spread = _focused(log_p, focal_gamma)
        if weights is not None:
            spread = spread * weights.view(1, -1, 1, 1)
        share = label_smoothing / logits.shape[1]
        losses = losses + share * spread.sum(dim=1) * (target != ignore_index)
    return ratio(losses.sum(), divisor(pixel_weights.sum()))


def pixel_divisor(target: Tensor, class_weights: Tensor | None, ignore_index: int) -> Tensor:
    """What `ce` and `focal` divide by, a float32 scalar: the weights of the pixels that count."""
    return _pixel_weights(target, class_weights, ignore_index, torch.float32).sum()


def _focused(log_p: Tensor, gamma: float) -> Tensor:
    # 1 - p, exact near p = 1; clamped because at 0 a gamma below 1 has no gradient
    rest = (-torch.expm1(log_p)).clamp(min=1e-7)
    return -log_p * rest**gamma


def _safe_index(target: Tensor, ignore_index: int) -> Tensor:
    """Class indices to gather with: int64, 0 where the target is ignored."""
    return torch.where(target == ignore_index, 0, target).long()


def _pixel_weights(
    target: Tensor, weights: Tensor | None, ignore_index: int, dtype: torch.dtype
) -> Tensor:
    """[B, H, W]: the weight of each pixel's true class, 0 where the target is ignored.

    1 everywhere else without class weights.
    """
    valid = target != ignore_index
    if weights is None:
        return valid.to(dtype)
    return weights[_safe_index(target, ignore_index)] * valid
