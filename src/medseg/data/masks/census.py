"""The values of all masks of a set: how much each covers, where, and in how many files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.data.masks.histogram import Histogram

BRIGHT = 192  # values from here on are 255 with noise
NOISE_LEVELS = 3  # more values without an inside than two slips of a brush
NOISE_SHARE = 0.01  # of the area of 255: fewer pixels than this beside it are noise
SOLID_SHARE = 0.05  # a value with a smaller share of its pixels inside shapes is noise
SLIP = 10  # pixels in the whole set: fewer of an odd value are a slip
NEARLY_ALL, MOST = 0.9, 0.75


@dataclass(frozen=True)
class Plane:
    """A mask file in the layout of its set."""

    path: Path
    histogram: Histogram
    lossy: bool


class Census:
    """The values of all masks of a set: how many pixels, how many inside shapes, in which files."""

    def __init__(
        self, planes: Sequence[Plane], ignored: Sequence[int] = (), *, indexed: bool = False
    ) -> None:
        self.planes = planes
        self.indexed = indexed  # the files themselves say that their values are indices
        self.ignored = list(ignored)
        found = [plane.histogram.levels for plane in planes]
        levels = np.unique(np.concatenate(found)) if found else np.array([], np.int64)
        self.every_level = levels
        dropped = [value for value in ignored if value]  # 0 is the background, if one that is void
        self.levels = levels[~np.isin(levels, dropped)]
        shape = len(planes), len(self.levels)
        self.counts, self.solid = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, plane in enumerate(planes):
            histogram = plane.histogram
            keep = ~np.isin(histogram.levels, dropped)
            at = np.searchsorted(self.levels, histogram.levels[keep])
            self.counts[row, at] = histogram.counts[keep]
            self.solid[row, at] = histogram.solid[keep]
        self.size = np.array([plane.histogram.pixels for plane in planes])

    def within(self, low: int, high: int) -> np.ndarray:
        """bool [levels]: those from `low` up to, without, `high`."""
        return (self.levels >= low) & (self.levels < high)

    def area(self, which: np.ndarray) -> np.ndarray:
        """int64 [files]: pixels that hold one of the levels."""
        return self.counts[:, which].sum(1)

    def inside(self, which: np.ndarray) -> np.ndarray:
        """int64 [files]: pixels inside shapes of one of the levels."""
        return self.solid[:, which].sum(1)

    def file(self, which: np.ndarray) -> Path:
        """The first file of a bool [files]."""
        return self.planes[int(which.argmax())].path

    def text(self, row: int) -> str:
        """The values of one file, for a message."""
        return listed(self.planes[row].histogram.levels)

    def noise_levels(self) -> int:
        """How many values are hardly ever inside a shape."""
        total, solid = self.counts.sum(0), self.solid.sum(0)
        noisy = (solid <= SOLID_SHARE * total) & (self.levels > 0) & (self.levels < 255)
        return int(noisy.sum())

    def slips(self) -> np.ndarray:
        """bool [levels]: values of a few pixels in the whole set, none of them inside a shape."""
        return (self.counts.sum(0) <= SLIP) & (self.solid.sum(0) == 0) & (self.levels > 0)

    def apart(self, which: np.ndarray) -> int:
        """How many pixels of some levels, in the whole set, have no higher one next to them."""
        wanted = self.levels[which]
        found = (
            plane.histogram.apart[np.isin(plane.histogram.levels, wanted)].sum()
            for plane in self.planes
        )
        return int(sum(found))

    def soft(self) -> np.ndarray:
        """bool [levels]: values that part lower from higher ones in a thin line, and mostly do."""
        rim, bare = np.zeros(len(self.levels)), np.zeros(len(self.levels))
        for plane in self.planes:
            histogram = plane.histogram
            keep = np.isin(histogram.levels, self.levels)
            at = np.searchsorted(self.levels, histogram.levels[keep])
            rim[at] += histogram.rim[keep]
            bare[at] += histogram.bare[keep]
        total, solid = self.counts.sum(0), self.solid.sum(0)
        only = (rim >= MOST * total) & (solid <= 2 * SOLID_SHARE * total)
        return (only & (rim > 0)) | ((rim > SLIP) & (bare <= rim))

    def numbering(self) -> float | None:
        """How likely the values are numbered so by chance, where 1, 2, ... are one object each.

        None where they are not, or the masks show equally many. 1 where only their number tells.
        """
        drawn = [plane.histogram for plane in self.planes if plane.histogram.levels[-1] > 0]
        found = [histogram for histogram in drawn if histogram.objects]
        varies = len({histogram.objects for histogram in found}) > 1
        if not varies or len(found) < NEARLY_ALL * len(drawn):
            return None
        if not all(histogram.in_rows for histogram in found):
            return 1.0
        return math.prod(1 / math.factorial(histogram.objects) for histogram in found)


def listed(levels: Sequence[int] | np.ndarray) -> str:
    """Values for a message, the first 8 of many."""
    text = ", ".join(str(int(level)) for level in levels[:8])
    return f"{text}, ... ({len(levels)} values)" if len(levels) > 8 else text
