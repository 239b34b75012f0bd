"""Whether a foreground probability of 0.7 is right in 70 % of cases, and a temperature that helps.

Counts per image add up over a set: a pixel counts the same in every image, so that large images
weigh more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from medseg.evaluation.distances import band_width, outline
from medseg.statistics.bootstrap import Sums

BINS = 15


def bins(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 [15, 4] in equal bins of probability, from probability (0 to 1) and truth (bool).

    Columns: pixels, sum of probability, foreground pixels, sum of squared error. A bin holds its
    lower end; the last one holds 1 too.
    """
    p = np.asarray(probability, np.float64).ravel()
    y = np.asarray(truth).ravel().astype(np.float64)
    at = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    columns = (np.ones_like(p), p, y, (p - y) ** 2)
    return np.stack([np.bincount(at, weights=each, minlength=BINS) for each in columns], axis=1)


def near_boundary(truth: np.ndarray) -> np.ndarray:
    """Pixels within 2 % of the image diagonal of the reference's outline, bool [H, W].

    On either side of it; none if the reference is empty.
    """
    if not truth.any():
        return np.zeros(truth.shape, bool)
    elsewhere = (~outline(truth)).astype(np.uint8)
    away = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return away <= band_width(truth.shape)


def summarise(table: np.ndarray) -> dict[str, float]:
    """{"ece", "brier", "pixels"} of summed `bins`, NaN without pixels.

    ECE is the mean over pixels of |mean probability - share of foreground| of their bin: of the
    foreground probability in 15 bins over 0..1, not of the winning class's confidence over 0.5..1
    (Guo et al. 2017, arXiv:1706.04599).
    """
    pixels = table[:, 0].sum()
    if not pixels:
        return {"ece": math.nan, "brier": math.nan, "pixels": 0}
    return {
        "ece": float(np.abs(table[:, 1] - table[:, 2]).sum() / pixels),
        "brier": float(table[:, 3].sum() / pixels),
        "pixels": int(pixels),
    }


def quantities(tables: Sequence[np.ndarray]) -> dict[str, Sums]:
    """Numerators and denominators of ECE and Brier score, from the `bins` of each image.

    A bin of the whole set is over- or underconfident; each image counts in the direction of its
    bin, so that the sum is the ECE of the set.
    """
    each = np.array(tables)
    side = np.sign(each[..., 1].sum(axis=0) - each[..., 2].sum(axis=0))
    pixels = each[..., 0].sum(axis=1)
    return {
        "ece": ((each[..., 1] - each[..., 2]) @ side, pixels),
        "brier": (each[..., 3].sum(axis=1), pixels),
    }


def diagram(table: np.ndarray) -> list[dict[str, float]]:
    """Mean probability, share of foreground and pixels of each used bin: a reliability diagram."""
    return [
        {"probability": float(p / n), "foreground": float(y / n), "pixels": int(n)}
        for n, p, y, _ in table
        if n
    ]


def fit_temperature(
    margins: np.ndarray, truth: np.ndarray, *, low: float = 0.05, high: float = 20.0
) -> float:
    """The T in `low`..`high` for which softmax(logits / T) makes the reference most likely.

    Guo et al. 2017. margins [N, K] logits, or [N, 1] of two classes the second minus the first;
    truth int [N]. The negative log-likelihood is convex in 1 / T: its slope is brought to zero by
    bisection.
    """
    logits = np.asarray(margins, np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    own = np.take_along_axis(logits, np.asarray(truth, np.int64)[:, None], axis=1)[:, 0].mean()
    small, large = 1 / high, 1 / low
    for _ in range(40):
        middle = math.sqrt(small * large)
        scaled = logits * middle
        weight = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        slope = ((weight * logits).sum(axis=1) / weight.sum(axis=1)).mean() - own
        small, large = (small, middle) if slope > 0 else (middle, large)
    return 1 / math.sqrt(small * large)


def likelihood(probability: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log-likelihood of the true classes: probability [N, K], truth int [N]."""
    own = np.take_along_axis(
        np.asarray(probability, np.float64), np.asarray(truth, np.int64)[:, None], axis=1
    )
    return float(-np.log(np.clip(own, 1e-12, 1)).mean())


def summary_of(whole: Sequence[np.ndarray], band: Sequence[np.ndarray]) -> dict[str, Any]:
    """The calibration block of summary.json, from the `bins` of each image and of its boundary."""
    tables = {"all": np.sum(whole, axis=0), "boundary": np.sum(band, axis=0)}
    found = {name: summarise(table) | {"diagram": diagram(table)} for name, table in tables.items()}
    within = "2 % of the image diagonal of the reference's outline"
    return found | {"bins": BINS, "boundary_within": within}
