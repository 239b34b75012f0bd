"""What several terms need: checked logits, one-vs-rest maps and the mean over classes and images.

B images, K classes with the background (class 0), C maps of a one-vs-rest view. Nothing here waits
for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from medseg.errors import UserError

Weights = Sequence[float] | Tensor | None

# From what a term divides its sum by (pixels, their weights or images of this batch; a scalar) to
# what it shall divide by: the mean of the same number over all batches that make one update, those
# of other processes and those that are accumulated. Then the gradients, averaged over them, are the
# gradient of the term on all of their images at once.
Divisor = Callable[[Tensor], Tensor]

IGNORE_INDEX = 255  # in memory, whatever the value that a file has for such pixels


def own(divisor: Tensor) -> Tensor:
    """A batch by itself: the divisor that it has."""
    return divisor


def working(logits: Tensor, target: Tensor) -> Tensor:
    """`logits` [B, K, H, W] in float32; float64 stays.

    Raises `UserError` for shapes that do not fit; the values of the target are not read.
    """
    if logits.ndim != 4 or logits.shape[1] < 2:
        raise UserError(
            f"logits of shape {tuple(logits.shape)}: expected [B, K, H, W] with K of at least 2;"
            " give the network one output for the background and one for each class"
        )
    if target.shape != (logits.shape[0], *logits.shape[2:]):
        raise UserError(
            f"mask of shape {tuple(target.shape)} for logits of shape {tuple(logits.shape)}:"
            " expected class indices [B, H, W]; resize one to the other"
        )
    return wide(logits)


def wide(x: Tensor) -> Tensor:
    """float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def class_weights_of(weights: Weights, logits: Tensor) -> Tensor | None:
    """The K class weights as a tensor beside the logits; no copy when they are there already."""
    if weights is None:
        return None
    if len(weights) != logits.shape[1]:
        raise UserError(
            f"--class-weights: {len(weights)} given for {logits.shape[1]} classes; give one for"
            " each class, background first"
        )
    return torch.as_tensor(weights, dtype=logits.dtype, device=logits.device)


def valid_pixels(target: Tensor, ignore_index: int) -> Tensor:
    """bool [B, 1, H, W]: pixels that count."""
    return target.unsqueeze(1) != ignore_index


def truth_maps(target: Tensor, first: int, classes: int, valid: Tensor) -> Tensor:
    """bool [B, C, H, W]: where the target is class `first`, `first` + 1, ... `classes` - 1.

    False where the target is ignored.
    """
    index = torch.arange(first, classes, dtype=target.dtype, device=target.device)
    return (target.unsqueeze(1) == index.view(1, -1, 1, 1)) & valid


def log_odds(logits: Tensor, first: int) -> Tensor:
    """log(p / (1 - p)) of the softmax probability p of class `first` and each later one.

    [B, K - first, H, W]. With two classes this is z1 - z0, the foreground logit. Unlike a sigmoid
    on each raw logit, it keeps what training minimises and what the softmax predicts one quantity
    for any K.
    """
    odds = []
    for k in range(first, logits.shape[1]):
        others = torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)
        rest = others[:, 0] if others.shape[1] == 1 else others.logsumexp(dim=1)
        odds.append(logits[:, k] - rest)
    return torch.stack(odds, dim=1)


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and `part` itself (0 in every use here) where `whole` is 0."""
    return part / (whole + (whole == 0))


def foreground_mean(
    losses: Tensor, valid: Tensor, weights: Tensor | None, divisor: Divisor = own
) -> Tensor:
    """[B, K - 1] losses of the foreground classes per image to a scalar.

    First the (weighted) mean over classes, then the mean over images, so that the average over the
    shards of a batch is that of the batch. An image without any pixel that counts is left out.
    """
    if weights is None:
        per_image = losses.mean(dim=1)
    else:
        per_image = (losses * weights[1:]).sum(dim=1) / weights[1:].sum()
    counts = valid.flatten(1).any(dim=1).to(losses.dtype)
    return ratio((per_image * counts).sum(), divisor(counts.sum()))


def image_divisor(target: Tensor, ignore_index: int) -> Tensor:
    """What `foreground_mean` divides by, a float32 scalar: the images with a pixel that counts."""
    return (target != ignore_index).flatten(1).any(dim=1).float().sum()
