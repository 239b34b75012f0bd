"""Four measures of salient object detection that polyp papers use, on one image.

All take a map float64 [H, W] in 0 to 1 and a mask bool [H, W], and follow the authors' MATLAB code;
`pysodmetrics` gives the same numbers (tests/evaluation/golden). MATLAB's `eps` keeps divisions
defined.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

EPS = np.spacing(1)
LEVELS = 256


def counts_by_threshold(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives int64 [256] of `values` >= k / 255, for k = 0 to 255."""
    level = (values * (LEVELS - 1)).astype(np.uint8)
    every = np.bincount(level.ravel(), minlength=LEVELS)
    inside = np.bincount(level[mask], minlength=LEVELS)
    return (np.cumsum(each[::-1])[::-1] for each in (inside, every - inside))


def e_measure(tp: np.ndarray, fp: np.ndarray, positives: int, pixels: int) -> np.ndarray:
    """Enhanced-alignment measure of binary maps, from counts of any shape.

    Fan et al. 2018, arXiv:1805.10421. An empty mask gives the share of pixels left as background, a
    full one that of foreground; over pixels - 1, as there.
    """
    predicted = tp + fp
    if positives == 0:
        return (pixels - predicted) / (pixels - 1 + EPS)
    if positives == pixels:
        return predicted / (pixels - 1 + EPS)
    total = np.zeros(np.shape(tp))
    mean_map, mean_mask = predicted / pixels, positives / pixels
    cells = (
        (tp, 1, 1),
        (fp, 1, 0),
        (positives - tp, 0, 1),
        (pixels - predicted - positives + tp, 0, 0),
    )
    for count, in_map, in_mask in cells:
        a, b = in_map - mean_map, in_mask - mean_mask
        total += count * (1 + 2 * a * b / (a**2 + b**2 + EPS)) ** 2 / 4
    return total / (pixels - 1 + EPS)


def s_measure(values: np.ndarray, mask: np.ndarray) -> float:
    """Structure measure, half object-aware and half region-aware.

    Fan et al. 2017, arXiv:1708.00786. An empty mask gives 1 - mean(map), a full one mean(map).
    """
    share = mask.mean()
    if share in (0, 1):
        return float(values.mean() if share else 1 - values.mean())
    objects = share * _alike(values[mask]) + (1 - share) * _alike(1 - values[~mask])
    rows, columns = np.nonzero(mask)
    y, x = round(float(rows.mean())) + 1, round(float(columns.mean())) + 1
    above, below, left, right = slice(0, y), slice(y, None), slice(0, x), slice(x, None)
    quarters = ((above, left), (above, right), (below, left), (below, right))
    regions = sum(
        mask[at].size / mask.size * _ssim(values[at], mask[at]) for at in quarters if mask[at].size
    )
    return float(max(0.0, (objects + regions) / 2))


def weighted_f(values: np.ndarray, mask: np.ndarray) -> float:
    """Weighted F-beta with beta 1: errors weigh less beside other errors and far from the object.

    Margolin et al. 2014. An empty mask gives 0. Of equally near mask pixels the leftmost lends its
    error, as in SciPy's distance transform; MATLAB may choose another, which moves the value by
    about 1e-4.
    """
    if not mask.any():
        return 0.0
    error = np.abs(values - mask)
    outside = (~mask).astype(np.uint8)
    away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    spread = _spread(error, mask, away)
    smooth = cv2.filter2D(spread, -1, _gaussian(), borderType=cv2.BORDER_CONSTANT)
    least = np.where(mask, np.minimum(error, smooth), error * (2 - np.exp(np.log(0.5) / 5 * away)))
    inside = least[mask]
    tp, fp = mask.sum() - inside.sum(), least[~mask].sum()
    recall, precision = 1 - inside.mean(), tp / (tp + fp + EPS)
    return float(2 * recall * precision / (recall + precision + EPS))


def _spread(error: np.ndarray, mask: np.ndarray, away: np.ndarray) -> np.ndarray:
    """The error, where background pixels near the mask take that of the nearest mask pixel."""
    near = np.nonzero(~mask & (away < 4.3))  # pixels further off share no window with the mask
    padded = np.pad(mask, 4)
    source = np.zeros((2, len(near[0])), np.int64)
    waiting = np.arange(len(near[0]))
    for y, x in _offsets():
        rows, columns = near[0][waiting] + y, near[1][waiting] + x
        hit = padded[rows + 4, columns + 4]
        source[:, waiting[hit]] = rows[hit], columns[hit]
        waiting = waiting[~hit]
    out = error.copy()
    out[near] = error[source[0], source[1]]
    return out


@cache
def _offsets() -> list[tuple[int, int]]:
    """Steps to the pixels around, the nearest first, then the leftmost."""
    steps = [(y, x) for y in range(-4, 5) for x in range(-4, 5) if 0 < y * y + x * x <= 18]
    return sorted(steps, key=lambda at: (at[0] ** 2 + at[1] ** 2, at[1]))


@cache
def _gaussian() -> np.ndarray:
    """MATLAB's fspecial("gaussian", 7, 5)."""
    line = np.exp(-(np.arange(-3, 4) ** 2) / 50)
    return np.outer(line, line) / np.outer(line, line).sum()


def _alike(values: np.ndarray) -> float:
    mean = values.mean()
    return 2 * mean / (mean**2 + 1 + (values.std(ddof=1) if values.size > 1 else 0) + EPS)


def _ssim(values: np.ndarray, mask: np.ndarray) -> float:
    x, y = values.mean(), mask.mean()
    apart_x, apart_y = values - x, mask - y
    alpha = 4 * x * y * (apart_x * apart_y).sum()
    beta = (x**2 + y**2) * ((apart_x**2).sum() + (apart_y**2).sum())
    count = values.size - 1 + EPS
    if alpha != 0:
        return alpha / count / (beta / count + EPS)
    return 1.0 if beta == 0 else 0.0
