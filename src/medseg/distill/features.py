"""Distillation between feature maps.

Which maps of two networks belong together, how one becomes as wide as the other, and attention
transfer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medseg.errors import UserError
from medseg.losses.common import wide
from medseg.models.blocks import SegmentationNetwork


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of two attention maps of unit length. Range 0 to 2.

    An attention map is the mean over channels of the squared activations. Zagoruyko & Komodakis,
    arXiv 1612.03928, sum over pixels, mean over images. Features [B, C, h, w] and [B, D, h', w']:
    widths may differ, and the teacher's map is resized (bilinear) to the student's. The published
    code divides by the number of pixels as well, and then needs its weight of 1000.
    """
    ours = wide(student).square().mean(1, keepdim=True)
    theirs = at_size(wide(teacher).square().mean(1, keepdim=True), ours.shape[2:])
    ours, theirs = F.normalize(ours.flatten(1), dim=1), F.normalize(theirs.flatten(1), dim=1)
    return (ours - theirs).square().sum(1).mean()


def at_size(x: Tensor, size: Sequence[int]) -> Tensor:
    """[B, C, h, w] at another size (height, width): bilinear, averaged when shrinking.

    The same tensor where the size is right already.
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    shrinks = x.shape[2] > size[0] or x.shape[3] > size[1]
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False, antialias=shrinks)


@dataclass(frozen=True)
class Pair:
    """A feature map of the student and one of the teacher at the same fraction of the image.

    Names, channels, and the part of each map that shows the image (height and width; the rest is
    padding).
    """

    stride: int
    student: str
    teacher: str
    channels: tuple[int, int]
    shown: tuple[tuple[int, int], tuple[int, int]]

    def of_student(self, maps: dict[str, Tensor]) -> Tensor:
        """The student's map without its padding."""
        height, width = self.shown[0]
        return maps[self.student][..., :height, :width]

    def of_teacher(self, maps: dict[str, Tensor]) -> Tensor:
        """The teacher's map without its padding."""
        height, width = self.shown[1]
        return maps[self.teacher][..., :height, :width]


@dataclass(frozen=True)
class _Map:
    """A feature map of a network: name, channels, height and width that show the image."""

    name: str
    channels: int
    shown: tuple[int, int]


def pair_features(
    student: SegmentationNetwork, teacher: SegmentationNetwork, images: tuple[Tensor, Tensor]
) -> list[Pair]:
    """For each stride that both networks have, the last map of each at it, the finest first.

    `images` are of the networks' input sizes. The last map of a stride is the one that most of the
    network has worked on: the decoder's where there is one. Raises `UserError` where the two have
    no stride in common.
    """
    ours, theirs = _last_maps(student, images[0]), _last_maps(teacher, images[1])
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        raise UserError(
            f"--kd: the student's feature maps are at {_fractions(ours)} of the image, the"
            f" teacher's at {_fractions(theirs)}: none in common; use terms on logits"
        )
    pairs = []
    for stride in common:
        a, b = ours[stride], theirs[stride]
        pairs.append(Pair(stride, a.name, b.name, (a.channels, b.channels), (a.shown, b.shown)))
    return pairs


def _fractions(strides: Iterable[int]) -> str:
    return ", ".join(f"1/{stride}" for stride in sorted(strides))


def _last_maps(net: SegmentationNetwork, image: Tensor) -> dict[int, _Map]:
    """The last feature map of each stride."""
    training = net.training
    with torch.no_grad():
        fitted = net.eval().fit(image).shape[2:]
        maps = net.features(image)
    net.train(training)
    # a network that takes one size has resized the image, and all of its maps show it
    padded = getattr(net, "only_size", None) is None
    found = {}
    for name, y in maps.items():
        stride = 2 ** round(math.log2(fitted[0] / y.shape[2]))
        height, width = y.shape[2:]
        if padded:
            height = math.ceil(height * image.shape[2] / fitted[0])
            width = math.ceil(width * image.shape[3] / fitted[1])
        found[stride] = _Map(name, y.shape[1], (height, width))
    return found


class Projections(nn.Module):
    """1x1 convolutions from the student's widths to those of each teacher.

    Nothing where the two are equal. Trained with the student, and no part of it.
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
