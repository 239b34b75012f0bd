"""Distances of shapes with known answers, and of random ones against every pair of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.evaluation.distances import boundary_iou, distances, inner_band, outline, summarise


def square(top: int, left: int, side: int, size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def blobs(seed: int) -> np.ndarray:
    y, x = np.mgrid[:40, :52]
    rng = np.random.default_rng(seed)
    return (
        sum(np.sin(x * a + b) * np.cos(y * c) for a, b, c in rng.uniform(0.05, 0.4, (3, 3))) > 0.7
    )


def slow_outline(mask: np.ndarray) -> list[tuple[int, int]]:
    def inside(y: int, x: int) -> bool:
        return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])

    return [
        (y, x)
        for y, x in np.argwhere(mask).tolist()
        if not all(inside(*at) for at in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)))
    ]


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.5), (0.3, 1.2)])
@pytest.mark.parametrize("seed", range(3))
def test_against_every_pair_of_outline_pixels(seed: int, spacing: tuple[float, float]) -> None:
    a, b = blobs(seed), blobs(seed + 10)
    points = [slow_outline(mask) for mask in (a, b)]
    assert sorted(map(tuple, np.argwhere(outline(a)).tolist())) == points[0]
    there, back = (
        [
            min(math.hypot((p[0] - q[0]) * spacing[0], (p[1] - q[1]) * spacing[1]) for q in goal)
            for p in start
        ]
        for start, goal in (points, points[::-1])
    )
    found = distances(a, b, spacing=spacing, tolerance=1.5)
    assert found["hd95"] == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-5
    )
    assert found["assd"] == pytest.approx(sum(there + back) / len(there + back), abs=1e-5)
    assert found["surface_dice"] == sum(each < 1.5 + 1e-9 for each in there + back) / len(
        there + back
    )


def test_a_shifted_square() -> None:
    a, b = square(10, 10, 20), square(10, 14, 20)
    assert distances(a, b)["hd95"] == 4
    assert distances(a, b, spacing=(1.0, 0.25))["hd95"] == 1
    assert distances(a, b, tolerance=4)["surface_dice"] == 1
    same = distances(a, a)
    assert (same["hd95"], same["assd"], same["surface_dice"], same["boundary_iou"]) == (0, 0, 1, 1)


def test_the_image_edge_is_an_edge() -> None:
    full = np.ones((30, 40), bool)
    assert outline(full).sum() == 2 * 30 + 2 * 38
    assert inner_band(full).sum() == 30 * 40 - 28 * 38  # 2 % of a diagonal of 50 pixels


def test_boundary_iou_by_hand() -> None:
    """Width 2 of a 64 pixel square image: 2 % of 90.5."""
    a, b = square(10, 10, 20), square(10, 12, 20)
    rings = [mask & ~square(12, left, 16) for mask, left in ((a, 12), (b, 14))]
    assert boundary_iou(a, b) == (rings[0] & rings[1]).sum() / (rings[0] | rings[1]).sum()
    assert boundary_iou(a, square(40, 40, 10)) == 0


def test_misses_are_never_dropped() -> None:
    a, none = square(10, 10, 20), np.zeros((64, 64), bool)
    pairs = [(a, a), (none, a), (a, none), (none, none)]  # prediction, truth
    found = [distances(*pair) for pair in pairs]
    assert (
        found[1]
        == found[2]
        == {
            "hd95": 64 * 2**0.5,
            "assd": 64 * 2**0.5,
            "surface_dice": 0.0,
            "boundary_iou": 0.0,
        }
    )
    assert math.isnan(found[3]["hd95"]) and found[3]["surface_dice"] == 1
    empty = np.array([[not p.any(), not t.any()] for p, t in pairs])
    summary = summarise(found, empty[:, 0], empty[:, 1])
    assert (summary["missed"], summary["false_alarms"], summary["both_empty"]) == (1, 1, 1)
    assert summary["hd95"] == pytest.approx(2 * 64 * 2**0.5 / 3) and summary["hd95_detected"] == 0
    assert summary["surface_dice"] == 0.5 and "diagonal" in summary["policy"]
