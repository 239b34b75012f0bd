"""Overlap metrics of each class from confusion counts, and the named ways to reduce them.

Each metric takes counts [..., K, K] (rows truth, columns prediction; numpy, or a tensor in host
memory) and returns float64 [..., K], one value a class in 0 to 1, and NaN where its denominator is
0. With TP, FP, FN and TN of a class against the rest. Reduce the counts first (`pool`) or the
values after (`mean_of_defined`): the two are different quantities.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def dice(counts: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN); undefined where a class is in neither mask nor prediction."""
    tp, fp, fn, _ = parts(counts)
    return _divide(2 * tp, 2 * tp + fp + fn)


def iou(counts: np.ndarray) -> np.ndarray:
    """TP / (TP + FP + FN), the Jaccard index; undefined where a class is in neither mask nor
    prediction.
    """
    tp, fp, fn, _ = parts(counts)
    return _divide(tp, tp + fp + fn)


def precision(counts: np.ndarray) -> np.ndarray:
    """TP / (TP + FP); undefined where a class is not predicted."""
    tp, fp, _, _ = parts(counts)
    return _divide(tp, tp + fp)


def recall(counts: np.ndarray) -> np.ndarray:
    """TP / (TP + FN), the sensitivity; undefined where a class is not in the mask."""
    tp, _, fn, _ = parts(counts)
    return _divide(tp, tp + fn)


def specificity(counts: np.ndarray) -> np.ndarray:
    """TN / (TN + FP); undefined where a class fills the mask."""
    _, fp, _, tn = parts(counts)
    return _divide(tn, tn + fp)


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dice": dice,
    "iou": iou,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
}


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of all pixels with the right class, [...]: one value for all classes together."""
    counts = np.asarray(counts)
    return _divide(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def parts(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """TP, FP, FN and TN of each class against the rest, int64 [..., K] each."""
    counts = np.asarray(counts)
    tp = np.diagonal(counts, axis1=-2, axis2=-1)
    fp = counts.sum(axis=-2) - tp
    fn = counts.sum(axis=-1) - tp
    return tp, fp, fn, counts.sum(axis=(-2, -1))[..., None] - tp - fp - fn


def pool(counts: np.ndarray) -> np.ndarray:
    """Counts of images [N, K, K] to those of all their pixels together, [K, K]."""
    return np.asarray(counts).sum(axis=0)


def foreground_against_background(counts: np.ndarray) -> np.ndarray:
    """Counts of K classes [..., K, K] to those of two, [..., 2, 2]: all foreground classes as one."""
    counts = np.asarray(counts)
    rows = np.stack([counts[..., 0, :], counts[..., 1:, :].sum(axis=-2)], axis=-2)
    return np.stack([rows[..., 0], rows[..., 1:].sum(axis=-1)], axis=-1)


def mean_of_defined(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean over `axis` of the values that are not NaN; NaN where there is none."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0).sum(axis=axis), defined.sum(axis=axis))


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, np.float64), np.asarray(whole)
    return np.divide(
        part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole != 0
    )
