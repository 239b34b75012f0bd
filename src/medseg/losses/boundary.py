"""The boundary term: errors weighted by their distance to the contour of the mask."""

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


def boundary(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Weights = None,
    ignore_index: int = 255,
    radius: int = 16,
    divisor: Divisor = own,
) -> Tensor:
    """Mean over pixels of |t - p| times the distance in pixels to the mask's contour.

    Range 0 to radius - 1/2. Kervadec et al., arXiv 1812.07032, take the mean of p times the signed
    distance, which differs from this by a constant for the same distances: here a perfect
    prediction is 0. The distances differ by half a pixel. Ours are exact Euclidean ones between
    pixel centres, less the half pixel to a contour between the pixels: d - 1/2 on both sides. In
    their code a pixel outside has d and one inside d - 1, 0 at the mask's own border, which is
    ours with the contour half a pixel farther in: their gradient has half of that of mean p on top,
    a steady push towards background. Ours stop at `radius`, so that they can be found on the device
    and an empty mask has the even weight radius - 1/2, where theirs has none. Per image and
    foreground class, then averaged as the region terms are. Meant as a small addition to one of
    those, such as dice+0.1*boundary. Logits [B, K, H, W] and class indices [B, H, W] in, a scalar
    out.
    """
    if not 1 <= radius <= 127:
        raise UserError(f"radius {radius} of the boundary term: expected 1 to 127 pixels")
    logits = working(logits, target)
    valid = valid_pixels(target, ignore_index)
    truth = truth_maps(target, 1, logits.shape[1], valid)
    to_truth = squared_distance(truth, radius)
    to_rest = squared_distance(valid & ~truth, radius)
    far = to_truth + to_rest  # one of the two is 0
    p = logits.softmax(dim=1)[:, 1:]
    losses = torch.where(truth, 1 - p, p) * (far.to(p.dtype).sqrt() - 0.5)
    losses = ratio(torch.where(valid, losses, 0).sum(dim=(2, 3)), valid.sum(dim=(2, 3)))
    return foreground_mean(losses, valid, class_weights_of(class_weights, logits), divisor)


def squared_distance(mask: Tensor, radius: int) -> Tensor:
    """int16 [..., H, W]: the squared distance from each pixel to the nearest true one.

    `mask` is bool [..., H, W]; the distance stops at `radius`. One sweep along the rows and one
    along the columns: the squared distance is separable.
    """
    distance = torch.where(mask, 0, radius**2).to(torch.int16)
    for dim in (-1, -2):
        start = distance
        distance = start.clone()
        for step in range(1, min(radius, start.shape[dim] - 1) + 1):
            length = start.shape[dim] - step
            for here, there in ((0, step), (step, 0)):  # towards either end
                part = distance.narrow(dim, here, length)
                torch.minimum(part, start.narrow(dim, there, length) + step**2, out=part)
    return distance
