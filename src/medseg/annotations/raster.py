"""Which pixels an outline covers, exactly: those whose centre lies inside it.

pycocotools rounds outlines to a grid of fifths of a pixel, and OpenCV adds every pixel that an edge
touches; both move the border of a lesion by up to half a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from medseg.annotations.shapes import Part

BLOCK = 1 << 21  # crossings of edges and rows at once, about 100 MB
GRID = 64  # where whole numbers are centres, coordinates count in 64ths: files round them
Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two are outside


def cover(part: Part, box: Box, *, centres: bool = False) -> tuple[np.ndarray, bool]:
    """bool [H, W] of the pixels in `box` that an outline with holes covers; whether it crosses.

    A pixel is covered where its centre is inside the outline by the even-odd rule and in none of
    the holes. Whole numbers are corners of pixels, and a centre on an edge belongs to the pixels
    right of and below it, so that shapes with a common edge share no pixel. With `centres`, whole
    numbers are centres, and those on the outline are covered: outlines of `cv2.findContours` give
    back the mask that they were taken from. The second value says whether the outline crosses or
    overlaps itself.
    """
    inside, crosses = _inside(part[0], box, centres)
    if centres:
        inside |= _on_edges(_local(part[0], box, centres), inside.shape)
    for hole in part[1:]:
        within, crossed = _inside(hole, box, centres)
        if centres:
            within &= ~_on_edges(_local(hole, box, centres), inside.shape)
        inside &= ~within
        crosses |= crossed
    return inside, crosses


def bounds(rings: Part | list[np.ndarray], width: int, height: int) -> Box:
    """The smallest box of pixels that holds the rings, within an image; empty if they are beyond.

    A pixel wider than needed on each side.
    """
    points = np.concatenate(rings)
    left, top = np.floor(points.min(0)).astype(int) - 1
    right, bottom = np.ceil(points.max(0)).astype(int) + 1
    left, top = min(max(left, 0), width), min(max(top, 0), height)
    return left, top, max(left, min(right, width)), max(top, min(bottom, height))


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0
) -> np.ndarray:
    """float64 [N, 2]: an outline at most 0.005 pixels from the ellipse."""
    largest = max(radius_x, radius_y, 1e-6)
    count = max(16, math.ceil(math.pi * math.sqrt(largest / 0.01)))
    angle = np.arange(count) * (2 * math.pi / count)
    across, along = radius_x * np.cos(angle), radius_y * np.sin(angle)
    return turned(np.stack([across, along], 1), degrees) + np.array([x, y])


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """float64 [4, 2]: the outline of a box."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Points turned about 0, 0, clockwise as seen on the screen."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return points @ np.array([(cos, sin), (-sin, cos)])


def _local(ring: np.ndarray, box: Box, centres: bool) -> np.ndarray:
    """The points relative to the centre of the first pixel of a box."""
    if centres:
        return np.rint(ring * GRID) / GRID - box[:2]
    return ring - box[:2] - 0.5


def _inside(ring: np.ndarray, box: Box, centres: bool) -> tuple[np.ndarray, bool]:
    """bool [H, W] by the even-odd rule, and whether the ring crosses or overlaps itself."""
    left, top, right, bottom = box
    start = _local(ring, box, centres)
    end = np.roll(start, -1, 0)
    width = right - left
    steps = np.zeros((bottom - top, width + 1), np.int32)
    for edge, row, x in _crossings(start, end, bottom - top, closed=False):
        column = np.clip(np.ceil(x), 0, width).astype(np.int64)
        down = np.where(end[edge, 1] > start[edge, 1], 1, -1).astype(np.int32)
        np.add.at(steps, (row, column), down)
    winding = np.cumsum(steps, 1, out=steps)[:, :-1]
    low, high = int(winding.min(initial=0)), int(winding.max(initial=0))
    return (winding & 1).astype(bool), high - low > 1


def _on_edges(start: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool [H, W]: the pixels whose centre lies on an edge of the ring."""
    found = np.zeros(shape, bool)
    height, width = shape
    end = np.roll(start, -1, 0)
    flat = start[:, 1] == end[:, 1]
    for (first, y), (last, _) in zip(start[flat], end[flat], strict=True):
        if y == int(y) and 0 <= y < height:
            low, high = sorted((first, last))
            found[int(y), max(0, math.ceil(low)) : max(0, math.floor(high) + 1)] = True
    for _, row, x in _crossings(start[~flat], end[~flat], height, closed=True):
        column = np.rint(x)
        exact = (np.abs(x - column) < 1e-6) & (column >= 0) & (column < width)
        found[row[exact], column[exact].astype(np.int64)] = True
    return found


def _crossings(
    start: np.ndarray, end: np.ndarray, height: int, *, closed: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Every edge [N], row [N] and x [N] where an edge crosses the centre line of a row.

    The lower end of an edge counts with `closed` only, else neighbours would count twice.
    """
    several = max(1, BLOCK // (height + 1))
    for first_edge in range(0, len(start), several):
        some = slice(first_edge, first_edge + several)
        (x, y), slope = start[some].T, end[some] - start[some]
        highest = np.maximum(y, end[some, 1])
        first = np.clip(np.ceil(np.minimum(y, end[some, 1])), 0, height).astype(np.int64)
        last = np.floor(highest) + 1 if closed else np.ceil(highest)
        counts = np.maximum(np.clip(last, 0, height).astype(np.int64) - first, 0)
        edge = np.repeat(np.arange(len(counts)), counts)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        yield first_edge + edge, row, x[edge] + (row - y[edge]) * slope[edge, 0] / slope[edge, 1]
