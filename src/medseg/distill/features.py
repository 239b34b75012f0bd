"""Distillation between feature maps: which maps of two networks belong together, how one becomes as
wide as the other, and attention transfer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medseg.errors import UserError
from medseg.losses.common import wide
from medseg.models.blocks import SegmentationNetwork


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of two attention maps of unit length: the mean over channels of the squared
    activations. Range 0 to 2.

    Zagoruyko & Komodakis, arXiv 1612.03928, sum over pixels, mean over images. Features [B, C, h,
    w] and [B, D, h', w']: widths may differ, and the teacher's map is resized (bilinear) to the
    student's. The published code divides by the number of pixels as well, and then needs its weight
    of 1000.
    """
    a, b = (wide(x).square().mean(1, keepdim=True) for x in (student, teacher))
    a, b = (F.normalize(x.flatten(1), dim=1) for x in (a, at_size(b, a.shape[2:])))
    return (a - b).square().sum(1).mean()


def at_size(x: Tensor, size: Sequence[int]) -> Tensor:
    """[B, C, h, w] at another size: bilinear, averaged when shrinking; the same tensor where the
    size is right.
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    shrinks = x.shape[2] > size[0] or x.shape[3] > size[1]
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False, antialias=shrinks)


@dataclass(frozen=True)
class Pair:
    """A feature map of the student and one of the teacher at the same fraction of the image.

    Names, channels, and what of each map shows the image (height and width; the rest is padding).
    """

    stride: int
    student: str
    teacher: str
    channels: tuple[int, int]
    shown: tuple[tuple[int, int], tuple[int, int]]

    def of(self, student: dict[str, Tensor], teacher: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Both maps without their padding."""
        maps = student[self.student], teacher[self.teacher]
        return tuple(
            x[..., :height, :width] for x, (height, width) in zip(maps, self.shown, strict=True)
        )


def pair_features(
    student: SegmentationNetwork, teacher: SegmentationNetwork, images: tuple[Tensor, Tensor]
) -> list[Pair]:
    """For each stride that both networks have, the last map at it of each, the finest first;
    `images` are of their input sizes.

    The last map of a stride is the one that most of the network has worked on: the decoder's where
    there is one. Raises `UserError` where the two have no stride in common.
    """
    ours, theirs = (
        _last_of_stride(net, image) for net, image in zip((student, teacher), images, strict=True)
    )
    pairs = [
        Pair(
            stride,
            ours[stride][0],
            theirs[stride][0],
            (ours[stride][1], theirs[stride][1]),
            (ours[stride][2], theirs[stride][2]),
        )
        for stride in sorted(ours.keys() & theirs.keys())
    ]
    if not pairs:
        raise UserError(
            f"--kd: the student's feature maps are at 1/{', 1/'.join(map(str, sorted(ours)))} of"
            f" the image, the teacher's at 1/{', 1/'.join(map(str, sorted(theirs)))}: none in"
            " common; use terms on logits"
        )
    return pairs


def _last_of_stride(
    net: SegmentationNetwork, image: Tensor
) -> dict[int, tuple[str, int, tuple[int, int]]]:
    """stride: (name, channels, height and width that show the image)."""
    training = net.training
    with torch.no_grad():
        fitted = net.eval().fit(image).shape[2:]
        maps = net.features(image)
    net.train(training)
    padded = (
        getattr(net, "only_size", None) is None
    )  # else it has been resized, and all of it is image
    found = {}
    for name, y in maps.items():
        stride = 2 ** round(math.log2(fitted[0] / y.shape[2]))
        shown = [
            math.ceil(side * have / whole) if padded else side
            for side, have, whole in zip(y.shape[2:], image.shape[2:], fitted, strict=True)
        ]
        found[stride] = name, y.shape[1], tuple(shown)
    return found


class Projections(nn.Module):
    """1x1 convolutions from the student's widths to those of each teacher, nothing where they are
    equal. Trained beside the student, and no part of it.
    """

    def __init__(self, channels: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Identity() if ours == theirs else nn.Conv2d(ours, theirs, 1, bias=False)
            for ours, theirs in channels
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Each map [B, ours, h, w] as [B, theirs, h, w]."""
        return [project(x) for project, x in zip(self.layers, maps, strict=True)]
