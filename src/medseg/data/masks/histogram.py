"""One plane of a mask file in numbers: areas, insides, soft edges and numbered objects."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

FEW_LEVELS = 16  # with more, values between others are many, and refused as noise
OBJECTS = 63  # up to here values may number the objects of an image
REACH = np.ones((7, 7), np.uint8)  # a soft edge is up to 3 pixels wide
NEXT = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Histogram:
    """The `levels` that a plane holds, ascending, and how many pixels hold each.

    `solid` counts the pixels whose four neighbours hold the same level: what is drawn has an
    inside, while the noise of a codec and the soft edge of a shape do not. `rim` counts those that
    lie in a thin line between a lower and a higher level, as at a soft edge, and `bare` what speaks
    against one: places where the level is wide, or where a lower and a higher one meet without it.
    `apart` counts the pixels with no higher level next to them. int64 [levels] each. `objects` is k
    where the levels above 0 are 1 to k, each one object, else 0; `in_rows` says that these do not
    touch, and are numbered in the order of their first pixels.
    """

    levels: np.ndarray
    counts: np.ndarray
    solid: np.ndarray
    rim: np.ndarray
    bare: np.ndarray
    apart: np.ndarray
    objects: int = 0
    in_rows: bool = False

    @property
    def pixels(self) -> int:
        """The number of pixels of the plane."""
        return int(self.counts.sum())

    def turned(self, top: int) -> Histogram:
        """That of the plane with each value subtracted from `top`."""
        parts = (self.counts, self.solid, self.rim, self.bare, self.apart)
        return Histogram(top - self.levels[::-1], *(part[::-1] for part in parts))


def histogram_of(values: np.ndarray) -> Histogram:
    """The histogram of a plane of integers [H, W]."""
    levels, counts = count_levels(values)
    none = np.zeros_like(counts)
    if min(values.shape) < 3:
        return Histogram(levels, counts, counts, none, none, none)
    solid = counts if len(levels) <= 2 else solid_of(values, levels)
    edges = (none, none, none)
    if 2 < len(levels) <= FEW_LEVELS:
        edges = _edges(values, levels)
    return Histogram(levels, counts, solid, *edges, *_objects(values, levels))


def count_levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, ascending, and how often each does, int64 [levels]."""
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        levels = np.flatnonzero(counts)
        return levels, counts[levels]
    levels, counts = np.unique(values, return_counts=True)
    return levels.astype(np.int64), counts.astype(np.int64)


def solid_of(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """int64 [levels]: the pixels of each level whose four neighbours hold it as well."""
    inside = values[1:-1, 1:-1]
    same = (inside == values[:-2, 1:-1]) & (inside == values[2:, 1:-1])
    same &= (inside == values[1:-1, :-2]) & (inside == values[1:-1, 2:])
    solid = np.zeros(len(levels), np.int64)
    at, found = count_levels(inside[same])
    solid[np.searchsorted(levels, at)] = found
    return solid


def _edges(values: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Histogram.rim`, `bare` and `apart` of a plane of few levels."""
    ranks = np.searchsorted(levels, values).astype(np.uint8)
    apart = np.bincount(ranks[cv2.dilate(ranks, NEXT) == ranks], minlength=len(levels))
    if levels[-1] == 255 and levels[-2] < 192:  # ignored pixels, if these are class indices
        ranks[ranks == len(levels) - 1] = 0
    many = len(levels)
    touch = cv2.dilate(ranks, NEXT) > ranks
    thin = touch & (cv2.erode(ranks, REACH) < ranks)
    rim = np.bincount(ranks[thin], minlength=many)
    bare = np.bincount(ranks[touch], minlength=many) - rim
    for one, other in ((ranks[1:], ranks[:-1]), (ranks[:, 1:], ranks[:, :-1])):
        low, high = np.minimum(one, other), np.maximum(one, other)
        jump = high - low > 1
        pairs = low[jump].astype(np.int64) * many + high[jump]
        met = np.bincount(pairs, minlength=many * many).reshape(many, many)
        for level in range(1, many - 1):
            bare[level] += met[:level, level + 1 :].sum()
    rim[[0, -1]] = 0
    return rim, bare, apart


def _objects(values: np.ndarray, levels: np.ndarray) -> tuple[int, bool]:
    """`Histogram.objects` and `in_rows`."""
    drawn = levels[(levels > 0) & (levels != 255)].tolist()
    if drawn != list(range(1, len(drawn) + 1)) or not 0 < len(drawn) <= OBJECTS:
        return 0, False
    plane = values.astype(np.uint8)
    if any(cv2.connectedComponents((plane == value).astype(np.uint8))[0] > 2 for value in drawn):
        return 0, False
    shown = (plane > 0) & (plane < 255)
    low = cv2.erode(np.where(shown, plane, np.uint8(255)), NEXT)
    high = cv2.dilate(np.where(shown, plane, np.uint8(0)), NEXT)
    first = [int((plane == value).argmax()) for value in drawn]
    return len(drawn), first == sorted(first) and not (shown & (low != high)).any()
