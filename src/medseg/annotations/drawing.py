"""Shapes to class indices, by named policies for overlaps, crowds and ignored labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medseg.annotations.raster import bounds, cover
from medseg.annotations.shapes import Annotations, Picture, Shape
from medseg.data.masks import IGNORED
from medseg.errors import UserError

BACKGROUND = ("background", "_background_", "__background__")
IGNORE = ("__ignore__",)


@dataclass(frozen=True)
class Policy:
    """What a user decided; `indices` gives the class of each label, None for one left out."""

    indices: dict[str, int | None]
    overlap: str
    crowd: str
    centres: bool


@dataclass
class Drawn:
    """The mask uint8 [H, W] of a picture, and what happened on the way."""

    mask: np.ndarray
    objects: int = 0
    overlapped: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    annotated: bool = False


def draw(
    picture: Picture, annotations: Annotations, policy: Policy, size: tuple[int, int]
) -> Drawn:
    """The class indices of a picture of `size` (width, height), 255 for ignored pixels."""
    drawn = Drawn(np.zeros(size[::-1], np.uint8), dropped=Counter(picture.left_out))
    if picture.classes:
        return _of_map(picture, annotations.classes, policy, drawn)
    covered = []
    for at, shape in enumerate(picture.shapes):
        index = policy.indices[shape.label]
        if shape.crowd and policy.crowd != "foreground":
            index = IGNORED if policy.crowd == "ignore" else None
        if index is None:
            drawn.dropped["crowd" if shape.crowd else f"class {shape.label}"] += 1
            drawn.annotated = True
            continue
        region = _region(shape, picture, policy, size, drawn)
        if region:
            covered.append((shape, at, index, *region))
    for shape, _, index, pixels, left, top in _in_order(covered, policy.overlap):
        _paint(drawn, shape, index, pixels, (left, top), policy)
    return drawn


def _paint(
    drawn: Drawn,
    shape: Shape,
    index: int,
    pixels: np.ndarray,
    corner: tuple[int, int],
    policy: Policy,
) -> None:
    left, top = corner
    below = drawn.mask[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    other = pixels & (below != 0) & (below != index) & (below != IGNORED)
    count = int(other.sum())
    if count and policy.overlap == "error":
        raise UserError(
            f"{shape.where}: covers {count} pixels of another class; choose who wins by --overlap"
            " last, first, larger or smaller"
        )
    drawn.overlapped += count
    drawn.objects += 1
    drawn.annotated = True
    below[pixels] = index


def _in_order(covered: list[tuple[Any, ...]], overlap: str) -> Iterator[tuple[Any, ...]]:
    """From the lowest to the highest; ignored regions below all objects."""

    def key(each: tuple[Any, ...]) -> tuple[Any, ...]:
        shape, at, index, pixels = each[:4]
        area = int(pixels.sum()) if overlap in ("larger", "smaller") else 0
        rank = {"larger": (area, at), "smaller": (-area, at), "first": (-shape.order, -at)}
        return (index != IGNORED, *rank.get(overlap, (shape.order, at)))

    yield from sorted(covered, key=key)


def _region(
    shape: Shape, picture: Picture, policy: Policy, size: tuple[int, int], drawn: Drawn
) -> tuple[np.ndarray, int, int] | None:
    """The pixels within the image that a shape covers, and their left and top; None for none."""
    width, height = size
    if shape.bitmap:
        bitmap = shape.bitmap()
        pixels = bitmap.pixels[: max(0, height - bitmap.top), : max(0, width - bitmap.left)]
        left, top = bitmap.left, bitmap.top
        if left < 0 or top < 0:
            pixels = pixels[max(0, -top) :, max(0, -left) :]
            left, top = max(0, left), max(0, top)
        if pixels.size < bitmap.pixels.size:
            drawn.noted["clipped at the border"] += 1
    else:
        scale = np.array(size) if picture.relative else 1
        parts = [tuple(ring * scale for ring in part if len(ring) > 2) for part in shape.parts]
        parts = [part for part, given in zip(parts, shape.parts, strict=True) if len(given[0]) > 2]
        if not parts:
            drawn.dropped["fewer than 3 points"] += 1
            return None
        rings = [ring for part in parts for ring in part]
        points = np.concatenate(rings)
        if points.min() < -1 or (points > np.array(size) + 1).any():
            drawn.noted["clipped at the border"] += 1
        box = bounds(rings, width, height)
        left, top = box[:2]
        pixels = np.zeros((box[3] - top, box[2] - left), bool)
        crosses = False
        for part in parts:
            inside, crossed = cover(part, box, centres=policy.centres)
            pixels |= inside
            crosses |= crossed
        drawn.noted["crosses itself"] += crosses
    if not pixels.any():
        drawn.dropped["outside the image or smaller than a pixel"] += 1
        return None
    return pixels, left, top


def _of_map(picture: Picture, classes: tuple[str, ...], policy: Policy, drawn: Drawn) -> Drawn:
    """A picture whose format has a map of classes."""
    positions = picture.classes()
    if positions.shape != drawn.mask.shape:
        raise UserError(
            f"{picture.source}: is {positions.shape[1]}x{positions.shape[0]} pixels, its image"
            f" {picture.image.name} {drawn.mask.shape[1]}x{drawn.mask.shape[0]}"
        )
    table = np.full(256, IGNORED, np.uint8)
    for position, name in enumerate(classes):
        table[position] = policy.indices.get(name) or 0
    drawn.mask[:] = table[positions]
    drawn.annotated = True
    drawn.objects = len(np.unique(drawn.mask[(drawn.mask > 0) & (drawn.mask != IGNORED)]))
    return drawn
