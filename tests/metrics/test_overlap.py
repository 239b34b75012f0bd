from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medseg.metrics import overlap


def random_counts(classes: int = 3, images: int = 6) -> np.ndarray:
    return np.random.default_rng(classes).integers(0, 50, (images, classes, classes))


@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_by_hand(classes: int) -> None:
    counts = random_counts(classes)
    for n in range(len(counts)):
        for k in range(classes):
            pairs = [(t, p, int(counts[n, t, p])) for t in range(classes) for p in range(classes)]
            tp = sum(c for t, p, c in pairs if t == k and p == k)
            fp = sum(c for t, p, c in pairs if t != k and p == k)
            fn = sum(c for t, p, c in pairs if t == k and p != k)
            tn = sum(c for t, p, c in pairs if t != k and p != k)
            assert overlap.dice(counts)[n, k] == pytest.approx(2 * tp / (2 * tp + fp + fn))
            assert overlap.iou(counts)[n, k] == pytest.approx(tp / (tp + fp + fn))
            assert overlap.precision(counts)[n, k] == pytest.approx(tp / (tp + fp))
            assert overlap.recall(counts)[n, k] == pytest.approx(tp / (tp + fn))
            assert overlap.specificity(counts)[n, k] == pytest.approx(tn / (tn + fp))


@pytest.mark.filterwarnings("error")
def test_undefined_is_nan() -> None:
    background_only = np.array([[7, 0], [0, 0]])
    foreground_only = np.array([[0, 0], [0, 7]])
    missed = np.array([[5, 0], [2, 0]])
    false_alarm = np.array([[5, 2], [0, 0]])
    nan = math.nan
    np.testing.assert_array_equal(overlap.dice(background_only), [1, nan])
    np.testing.assert_array_equal(overlap.iou(foreground_only), [nan, 1])
    np.testing.assert_array_equal(overlap.precision(missed), [5 / 7, nan])
    np.testing.assert_array_equal(overlap.recall(missed), [1, 0])
    np.testing.assert_array_equal(overlap.recall(false_alarm), [5 / 7, nan])
    np.testing.assert_array_equal(overlap.specificity(foreground_only), [1, nan])


def test_tensors_in_host_memory_are_taken() -> None:
    counts = random_counts()
    np.testing.assert_array_equal(overlap.dice(torch.from_numpy(counts)), overlap.dice(counts))
    assert overlap.dice(counts).dtype == np.float64


def test_reductions() -> None:
    counts = random_counts(3)
    np.testing.assert_array_equal(overlap.pool(counts), counts.sum(axis=0))
    np.testing.assert_array_equal(
        overlap.mean_of_defined(np.array([[1, np.nan, 3], [np.nan] * 3])), [2, np.nan]
    )
    joined = overlap.foreground_against_background(counts[0])
    c = counts[0]
    np.testing.assert_array_equal(
        joined,
        [[c[0, 0], c[0, 1] + c[0, 2]], [c[1, 0] + c[2, 0], c[1, 1] + c[1, 2] + c[2, 1] + c[2, 2]]],
    )
