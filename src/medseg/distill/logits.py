"""Distillation terms on logits.

All take the student's and the teacher's logits, [B, K, H, W] both, and return a scalar, reduced in
float32 (float64 stays). Each is computed per image and averaged over images, so that the average
over the shards of a batch is that of the batch, and each is 0 where the two are equal. Ignored
pixels take part: the teacher has a prediction where the mask has no label.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.losses.common import ratio, wide

# variance that `dist` adds to both of two maps alike, beside at most 1/4 of a map of probabilities
SHARED = 1e-6
REACH = 16  # the boundary term looks as far as a side of the image divided by this


def divergence(student: Tensor, teacher: Tensor, temperature: float, dim: int) -> Tensor:
    """KL(teacher || student) of the softmax over `dim` at `temperature`, in nats.

    The shape is [B, K, H, W] without `dim`.
    """
    log_s = (wide(student) / temperature).log_softmax(dim)
    log_t = (wide(teacher) / temperature).log_softmax(dim)
    return (log_t.exp() * (log_t - log_s)).sum(dim)


def kl(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Mean over pixels of KL(teacher || student) of the classes at `temperature` T, times T^2.

    Range 0 to infinity, in nats. Hinton et al., arXiv 1503.02531. T^2 keeps the size of the
    gradient for any T. The paper's loss is the cross-entropy, which is this plus a constant.
    Toolkits that take PyTorch's `kl_div` with its default mean divide by K as well.
    """
    return divergence(student, teacher, temperature, 1).mean() * temperature**2


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over pixels and classes of the squared difference of logits. Range 0 to infinity.

    Ba & Caruana, arXiv 1312.6184, on each pixel. The shift that a softmax does not see is learned
    too.
    """
    return (wide(student) - wide(teacher)).square().mean()


def cwd(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Channel-wise distillation: KL(teacher || student) of each channel's softmax over the pixels.

    Shu et al., arXiv 2011.13256: at T, times T^2, mean over channels, in nats. Range 0 to infinity.
    It compares places, not classes: a constant added to a channel changes nothing. Takes feature
    maps [B, C, h, w] of equal width as well.
    """
    each = divergence(student.flatten(2), teacher.flatten(2), temperature, 2)
    return each.mean() * temperature**2


def dist(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """1 - Pearson's correlation of the probabilities at T, between classes and between pixels.

    The first relation is between the classes at each pixel, the second between the pixels of each
    class. Huang et al., arXiv 2205.10536, both relations with weight 1 and T^2 before each. Range 0
    to 4 T^2. Differs in three things: the second relation is over the pixels of an image, not of
    the batch; both maps share an independent pattern of variance `SHARED`, so that maps without
    variance have a value, and a finite gradient; and with two classes the first relation is left
    out, since two numbers are always correlated by 1 or -1, which teaches nothing.
    """
    p, q = ((wide(x) / temperature).softmax(1) for x in (student, teacher))
    loss = 1 - correlation(p.flatten(2), q.flatten(2), 2).mean()
    if student.shape[1] > 2:
        loss = loss + 1 - correlation(p, q, 1).mean()
    return loss * temperature**2


def correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Pearson's correlation over `dim`: exactly 1 for equals.

    `SHARED` is added to both variances and to the covariance.
    """
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    spread = ((a * a).mean(dim) + SHARED).sqrt() * ((b * b).mean(dim) + SHARED).sqrt()
    return ((a * b).mean(dim) + SHARED) / spread


def boundary(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """`kl` near the teacher's edges: its mean over pixels weighted by `edge_weights`.

    Range 0 to infinity, in nats. Ours; the weight has the shape of that in PraNet's loss (arXiv
    2006.11392), taken from the teacher and not from the mask, and without the 1 for all other
    pixels. An image to which the teacher gives one class alone counts as 0.
    """
    weights = edge_weights(wide(teacher))
    each = divergence(student, teacher, temperature, 1)
    return ratio((weights * each).sum((1, 2)), weights.sum((1, 2))).mean() * temperature**2


def edge_weights(logits: Tensor) -> Tensor:
    """The share of the window around each pixel that has another class: [B, K, H, W] to [B, H, W].

    Range 0 to 1. The window reaches 1/16 of the shorter side (at least a pixel) to each side; the
    part outside the image does not count. Away from a straight edge the weight falls about linearly
    from 1/2 to 0.
    """
    classes = logits.max(1).indices  # argmax takes 30 times as long on a CPU
    reach = max(1, round(min(logits.shape[2:]) / REACH))
    same = torch.zeros_like(classes, dtype=torch.int32)
    for k in range(logits.shape[1]):
        inside = classes == k
        same = torch.where(inside, window_sums(inside, reach), same)
    return 1 - same.to(logits.dtype) / window_sums(torch.ones_like(same[:1]), reach)


def window_sums(maps: Tensor, reach: int) -> Tensor:
    """The sum over the part of the square window around each pixel that is inside the image.

    [B, H, W] of whole numbers to int32 [B, H, W]. By cumulative sums, whose cost does not grow with
    the window, and in integers, which are exact.
    """
    for dim in (1, 2):
        place = torch.arange(maps.shape[dim], device=maps.device)
        one_before = (1, 0) if dim == 2 else (0, 0, 1, 0)
        sums = F.pad(maps.cumsum(dim, dtype=torch.int32), one_before)
        first, behind = (place - reach).clamp(0), (place + reach + 1).clamp(max=len(place))
        maps = sums.index_select(dim, behind) - sums.index_select(dim, first)
    return maps
