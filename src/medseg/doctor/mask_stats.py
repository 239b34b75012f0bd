"""Measurements of one decoded mask: everything that the faults need to know about its values."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from medseg.data.digests import pixel_digest
from medseg.data.masks import IGNORED, THRESHOLD, MaskCoding

SPECK_PIXELS = 10  # an island or hole with fewer pixels than this, or
SPECK_SHARE = 2e-5  # below this share of the mask, is a speck; the larger bound applies
CLEAN_SHARE = 0.1  # ringing leaves more than this share of the pixels along the edge at 0

MIDDLE = slice(64, 192)  # values that a 0/255 mask holds at its edges only,
MIDDLE_SHARE = 0.05  # in at most this share of its pixels
LARGEST_INDEX = 63  # larger values than this are no class indices, where nothing else tells

# The four neighbours, without the pixel itself.
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.uint8)


@dataclass(frozen=True)
class MaskStats:
    """A mask in numbers: the digest and the counts of its values, their coding, its foreground.

    `counts` is int64 [256], pixels by value; `kind` is that of a `MaskCoding`.
    `foreground` counts foreground pixels, and `border` is their share (0 to 1) of the outermost
    pixels. `isolated` counts pixels that differ from all four neighbours, `changes` counts
    neighbouring pairs that differ, and `specks` counts islands and holes below the speck size.
    `ringing` says whether there are values between 0 and 255 on both sides away from any edge.
    """

    digest: str
    counts: np.ndarray
    kind: str
    foreground: int
    border: float
    isolated: int
    changes: int
    specks: int
    ringing: bool

    @property
    def pixels(self) -> int:
        """The number of pixels of the mask."""
        return int(self.counts.sum())


def measure_mask(
    values: np.ndarray, *, lossy: bool = False, coding: MaskCoding | None = None
) -> MaskStats:
    """Measure the values of a mask, uint8 [H, W], by the `coding` of its set where it fits that.

    Else by what the mask alone looks like: in a `lossy` one, small values are noise.
    """
    counts = np.bincount(values.ravel(), minlength=256)
    by_itself = "binary-255" if lossy else _looks_like(counts > 0)
    kind = coding.kind if coding else by_itself
    binary = foreground(values, coding or kind)
    border = np.concatenate([binary[0], binary[-1], binary[:, 0], binary[:, -1]])
    changes_down = np.count_nonzero(binary[1:] != binary[:-1])
    changes_across = np.count_nonzero(binary[:, 1:] != binary[:, :-1])
    changes = int(changes_down + changes_across)
    return MaskStats(
        digest=pixel_digest(values),
        counts=counts,
        kind=kind,
        foreground=int(np.count_nonzero(binary)),
        border=float(border.mean()),
        isolated=int(np.count_nonzero(isolated_pixels(binary))),
        changes=changes,
        specks=count_specks(binary) if changes else 0,
        ringing=kind == "binary-255" and _has_ringing(values, counts),
    )


def _looks_like(present: np.ndarray) -> str:
    """The kind of coding that the values of one mask, bool [256], look like; empty as 0/255."""
    values = set(np.flatnonzero(present).tolist())
    if values <= {0, 255}:
        return "binary-255"
    if values <= {0, 1, 255}:
        return "binary-01"
    return "index" if max(values - {255}) <= LARGEST_INDEX else "binary-255"


def foreground(values: np.ndarray, kind: str | MaskCoding) -> np.ndarray:
    """uint8 [H, W]: 1 where a mask of this coding, or kind of coding, is not background.

    For a bare kind 255 means ignored, except in 0/255 masks.
    """
    if isinstance(kind, MaskCoding):
        classes = kind.class_of(np.arange(256))
        return ((classes > 0) & (classes != IGNORED)).astype(np.uint8)[values]
    if kind == "binary-255":
        return (values > THRESHOLD).view(np.uint8)
    return ((values > 0) & (values < 255)).view(np.uint8)


def fits_threshold(stats: MaskStats) -> bool:
    """Whether a threshold separates the values of a 0/255 mask.

    Only a small share of all pixels, and at most half of those above 0, may lie in the middle.
    """
    middle = stats.counts[MIDDLE].sum()
    few_of_all = middle <= MIDDLE_SHARE * stats.counts.sum()
    return bool(few_of_all and 2 * middle <= stats.counts[1:].sum())


def isolated_pixels(binary: np.ndarray) -> np.ndarray:
    """bool [H, W]: pixels of a 0/1 mask that differ from each of their four neighbours."""
    highest = cv2.dilate(binary, _CROSS)
    lowest = cv2.erode(binary, _CROSS)
    return (highest == lowest) & (highest != binary)


def small_components(binary: np.ndarray, connectivity: int) -> np.ndarray:
    """bool [H, W]: connected components of the ones in a 0/1 mask that are below the speck size.

    `connectivity` is 4 or 8.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        binary, connectivity=connectivity, ltype=cv2.CV_32S
    )
    small = stats[:, cv2.CC_STAT_AREA] < max(SPECK_PIXELS, SPECK_SHARE * binary.size)
    small[0] = False  # label 0 is the zeros
    return small[labels]


def count_specks(binary: np.ndarray) -> int:
    """The number of islands (8-connected) and holes (4-connected) below the speck size."""
    small = small_components(binary, 8) | small_components(1 - binary, 4)
    labels, _ = cv2.connectedComponents(small.view(np.uint8), connectivity=8)
    return labels - 1  # one label is the background


def _has_ringing(values: np.ndarray, counts: np.ndarray) -> bool:
    """Whether a 0/255 mask has the noise that a lossy codec leaves.

    That is values between 0 and 255 more than two pixels from any edge on both sides of it, with
    clean pixels between them and the edge. A soft edge falls off without such gaps.
    """
    if not counts[1:255].any():
        return False
    binary = foreground(values, "binary-255")
    square = np.ones((5, 5), np.uint8)
    inside = cv2.erode(binary, square) > 0
    near = cv2.dilate(binary, square) > 0
    noise_on_both_sides = (values[inside] < 255).any() and (values[~near] > 0).any()
    if not noise_on_both_sides:
        return False
    just_outside = near & (binary == 0)
    return bool((values[just_outside] == 0).mean() > CLEAN_SHARE)
