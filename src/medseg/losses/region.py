"""Overlap of the predicted probability and the mask: Dice, Jaccard, Tversky, focal Tversky.

With p the softmax probability of a foreground class in one image, TP = sum p t, FP = sum p (1 - t)
and FN = sum (1 - p) t over the pixels that count, all four rest on the Tversky index TP / (TP +
alpha FP + beta FN). They are taken per image and foreground class, then averaged: over classes (by
their weights), then over images. The background is left out because it is large and easy: with it,
missing every lesion still scores about a half.

There is no smoothing constant. A class with a pixel in the mask never divides by 0; a class with
none has no overlap to speak of, and its loss is the share of the image wrongly given to it, mean p.
So an empty mask costs 0 for an empty prediction and 1 for an all-foreground one, with the same
gradient at every pixel, where the usual smoothing of 1 leaves hardly any. Range of all: 0 (perfect)
to 1. Logits [B, K, H, W] and class indices [B, H, W] in, a scalar out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.errors import UserError
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

EPSILON = 1e-6


def dice(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    divisor: Divisor = own,
) -> Tensor:
    """1 - 2 TP / (2 TP + FP + FN), the soft Dice loss.

    Milletari et al., arXiv 1606.04797, who square the probabilities in the denominator; ours does
    not, and so equals the Dice coefficient of the mask when the prediction is certain.
    """
    return _region(logits, target, 0.5, 0.5, class_weights, ignore_index, divisor=divisor)


def jaccard(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    divisor: Divisor = own,
) -> Tensor:
    """1 - TP / (TP + FP + FN), the soft intersection over union (Rahman and Wang, ISVC 2016)."""
    return _region(logits, target, 1.0, 1.0, class_weights, ignore_index, divisor=divisor)


def tversky(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    tversky_alpha: float = 0.3,
    tversky_beta: float = 0.7,
    divisor: Divisor = own,
) -> Tensor:
    """1 - TP / (TP + alpha FP + beta FN); with beta > alpha, misses cost more.

    Salehi et al., arXiv 1706.05721, with their preferred 0.3 and 0.7; ours is per image. alpha =
    beta = 1/2 is `dice`.
    """
    return _region(
        logits, target, tversky_alpha, tversky_beta, class_weights, ignore_index, divisor=divisor
    )


def focal_tversky(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    tversky_alpha: float = 0.3,
    tversky_beta: float = 0.7,
    exponent: float = 0.75,
    divisor: Divisor = own,
) -> Tensor:
    """The Tversky loss of each image and class to the power of `exponent`, 1 / gamma of the paper.

    Abraham and Khan, arXiv 1810.07842: gamma = 4/3; their alpha weighs missed pixels and beta false
    ones, here the names are Tversky's. Shifted by 1e-6 before the power, which has no gradient at 0
    otherwise, and by its value there after.
    """
    return _region(
        logits, target, tversky_alpha, tversky_beta, class_weights, ignore_index, exponent, divisor
    )


def _region(
    logits: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    class_weights: Weights,
    ignore_index: int,
    exponent: float = 1.0,
    divisor: Divisor = own,
) -> Tensor:
    """The Tversky loss with weights `alpha` and `beta`, to the power of `exponent`."""
    if alpha < 0 or beta < 0 or alpha + beta == 0:
        raise UserError(
            f"--tversky-alpha {alpha:g} and --tversky-beta {beta:g}: expected two numbers of at"
            " least 0, not both 0"
        )
    logits = working(logits, target)
    valid = valid_pixels(target, ignore_index)
    truth = truth_maps(target, 1, logits.shape[1], valid)
    p = logits.softmax(dim=1)[:, 1:]
    hit = torch.where(truth, p, 0).sum(dim=(2, 3))
    predicted = torch.where(valid, p, 0).sum(dim=(2, 3))
    true = truth.sum(dim=(2, 3))
    present = true > 0
    whole = hit + alpha * (predicted - hit) + beta * (true - hit)
    index = hit / torch.where(present, whole, 1).clamp(min=EPSILON)
    false_share = ratio(predicted, valid.sum(dim=(2, 3)))
    losses = torch.where(present, 1 - index, false_share)
    if exponent != 1:
        shifted = losses.clamp(min=0) + EPSILON  # rounding may leave -1e-7
        losses = shifted**exponent - EPSILON**exponent
    return foreground_mean(losses, valid, class_weights_of(class_weights, logits), divisor)
