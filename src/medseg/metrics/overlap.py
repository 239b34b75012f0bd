"""Overlap metrics of each class from confusion counts, and the ways to reduce them.

A metric is a value: calling it takes counts [..., K, K] (rows truth, columns prediction; numpy, or
a tensor in host memory) and returns float64 [..., K], one value per class in 0 to 1, NaN where its
denominator is 0. With TP, FP, FN and TN of a class against the rest. Reduce the counts first
(`pool`) or the values after (`mean_of_defined`): the two are different quantities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Term = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A ratio of two sums of TP, FP, FN and TN; `label` is its name in tables and charts."""

    name: str
    label: str
    numerator: Term
    denominator: Term

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """The value of each class, float64 [..., K]."""
        return _divide(*self.sums(counts))

    def sums(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of each class, int64 [..., K] each."""
        cells = parts(counts)
        return self.numerator(*cells), self.denominator(*cells)


# undefined where a class is in neither mask nor prediction
dice = Metric(
    "dice",
    "Dice",
    numerator=lambda tp, fp, fn, tn: 2 * tp,
    denominator=lambda tp, fp, fn, tn: 2 * tp + fp + fn,
)
# the Jaccard index; undefined where a class is in neither mask nor prediction
iou = Metric(
    "iou",
    "IoU",
    numerator=lambda tp, fp, fn, tn: tp,
    denominator=lambda tp, fp, fn, tn: tp + fp + fn,
)
# undefined where a class is not predicted
precision = Metric(
    "precision",
    "Precision",
    numerator=lambda tp, fp, fn, tn: tp,
    denominator=lambda tp, fp, fn, tn: tp + fp,
)
# the sensitivity; undefined where a class is not in the mask
recall = Metric(
    "recall",
    "Recall",
    numerator=lambda tp, fp, fn, tn: tp,
    denominator=lambda tp, fp, fn, tn: tp + fn,
)
# undefined where a class fills the mask
specificity = Metric(
    "specificity",
    "Specificity",
    numerator=lambda tp, fp, fn, tn: tn,
    denominator=lambda tp, fp, fn, tn: tn + fp,
)

METRICS = {metric.name: metric for metric in (dice, iou, precision, recall, specificity)}


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
    """Counts [..., K, K] to those of two classes [..., 2, 2]: all foreground classes as one."""
    counts = np.asarray(counts)
    rows = np.stack([counts[..., 0, :], counts[..., 1:, :].sum(axis=-2)], axis=-2)
    return np.stack([rows[..., 0], rows[..., 1:].sum(axis=-1)], axis=-1)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the values that are not NaN; NaN where there is none."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1))


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, np.float64), np.asarray(whole)
    undefined = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.divide(part, whole, out=undefined, where=whole != 0)
