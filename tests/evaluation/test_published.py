"""The conventions of published tables against pysodmetrics' numbers and plain loops over thresholds
and pixels.
"""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.evaluation.published import PUBLISHED
from medseg.evaluation.saliency import e_measure

GOLDEN = Path(__file__).parent / "golden"
CASES = runpy.run_path(str(GOLDEN / "make.py"))["cases"]()
FACTS = json.loads((GOLDEN / "pysodmetrics.json").read_text())["values"]
PAIRS = {name: (values / np.float64(255), mask > 127) for name, (values, mask) in CASES.items()}


def of(name: str, *pairs: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    convention = PUBLISHED[name]
    return convention.summarise([convention.measure(*pair) for pair in pairs])


@pytest.mark.parametrize("convention", ["pranet", "uacanet"])
@pytest.mark.parametrize("case", CASES)
def test_pysodmetrics_says_the_same(convention: str, case: str) -> None:
    found = of(convention, PAIRS[case])
    assert found.keys() == FACTS[case][convention].keys()
    for key, value in FACTS[case][convention].items():
        assert found[key] == pytest.approx(value, abs=1e-9), key


def by_threshold(values: np.ndarray, mask: np.ndarray) -> tuple[list[float], list[float]]:
    """Dice and IoU at the 256 thresholds, as the MATLAB and Python sources write them down: 0 where
    nothing is hit.
    """
    dice, iou = [], []
    for k in range(256):
        predicted = values >= k / 255
        hit = int((predicted & mask).sum())
        dice.append(2 * hit / (mask.sum() + predicted.sum()) if hit else 0.0)
        iou.append(hit / (predicted | mask).sum() if hit else 0.0)
    return dice, iou


@pytest.mark.parametrize(
    "case", ["waves 1", "binary 2", "empty mask", "full mask", "empty prediction"]
)
def test_curves_by_hand(case: str) -> None:
    values, mask = PAIRS[case]
    for name, shown in (
        ("uacanet", values),
        ("pranet", (values - values.min()) / (np.ptp(values) or 1)),
    ):
        dice, iou = by_threshold(np.floor(shown * 255) / 255 + 1e-9, mask)
        found = of(name, (values, mask))
        assert found["dice"] == pytest.approx(np.mean(dice)) and found["iou"] == pytest.approx(
            np.mean(iou)
        )
        assert found["max_dice"] == pytest.approx(max(dice)) and found["max_iou"] == pytest.approx(
            max(iou)
        )


def test_the_highest_point_is_that_of_the_mean_curve() -> None:
    pairs = [PAIRS["waves 0"], PAIRS["waves 1"], PAIRS["faint prediction"]]
    curve = np.mean([by_threshold(np.floor(v * 255) / 255 + 1e-9, m)[0] for v, m in pairs], axis=0)
    assert of("uacanet", *pairs)["max_dice"] == pytest.approx(curve.max())
    assert curve.max() < np.mean([of("uacanet", pair)["max_dice"] for pair in pairs]) - 0.01


def test_stretching_invents_a_foreground() -> None:
    """The reason to print both: a map that is nearly certain there is nothing."""
    faint, mask = np.full((20, 20), 0.01), np.zeros((20, 20), bool)
    faint[5:8, 5:8] = 0.02
    assert of("pranet", (faint, mask))["mae"] == pytest.approx(9 / 400)
    assert of("uacanet", (faint, mask))["mae"] == pytest.approx(faint.mean())
    mask[5:8, 5:8] = True
    assert of("pranet", (faint, mask))["dice"] > 0.99 > 0.1 > of("uacanet", (faint, mask))["dice"]


def test_e_measure_pixel_by_pixel() -> None:
    values, mask = PAIRS["waves 3"]
    predicted = (values > 0.5).astype(float)
    a, b = predicted - predicted.mean(), mask - mask.mean()
    wanted = ((1 + 2 * a * b / (a**2 + b**2)) ** 2 / 4).sum() / (mask.size - 1)
    tp = int((predicted * mask).sum())
    assert e_measure(
        np.array(tp), np.array(int(predicted.sum()) - tp), int(mask.sum()), mask.size
    ) == pytest.approx(wanted)


def test_soft_dice_of_the_polyp_pvt_log() -> None:
    values, mask = PAIRS["waves 0"]
    low, high = min(values.ravel()), max(values.ravel())
    shown = [(v - low) / (high - low + 1e-8) for v in values.ravel()]
    common = sum(v for v, m in zip(shown, mask.ravel(), strict=True) if m)
    assert of("polyp-pvt-soft", (values, mask))["dice"] == pytest.approx(
        (2 * common + 1) / (sum(shown) + mask.sum() + 1)
    )
    assert of("polyp-pvt-soft", (values, mask & False))["dice"] == pytest.approx(
        1 / (sum(shown) + 1)
    )
    nothing = np.zeros((8, 8))
    assert of("polyp-pvt-soft", (nothing, nothing > 1))["dice"] == 1.0


def sampled(values: np.ndarray) -> np.ndarray:
    """Bilinear resize to 352 x 352, pixel centres aligned, edges repeated: one pixel at a time in
    each direction.
    """
    for axis in (0, 1):
        count = values.shape[axis]
        at = np.clip((np.arange(352) + 0.5) * count / 352 - 0.5, 0, count - 1)
        low = np.floor(at).astype(int)
        share = np.expand_dims(at - low, 1 - axis)
        values = (
            np.take(values, low, axis) * (1 - share)
            + np.take(values, np.minimum(low + 1, count - 1), axis) * share
        )
    return values


def counts(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.array(
        [(predicted & truth).sum(), (predicted & ~truth).sum(), (~predicted & truth).sum()]
    )


def test_fcbformer_is_a_mean_over_images_at_352() -> None:
    pairs = [PAIRS["waves 0"], PAIRS["waves 2"]]
    wanted = []
    for values, mask in pairs:
        tp, fp, fn = counts(sampled(values) > 0.5, sampled(mask.astype(float)) > 0.5)
        wanted.append(
            (2 * tp / (2 * tp + fp + fn), tp / (tp + fp + fn), tp / (tp + fp), tp / (tp + fn))
        )
    found = of("fcbformer-352", *pairs)
    assert tuple(found) == ("dice", "iou", "precision", "recall")
    assert list(found.values()) == pytest.approx(np.mean(wanted, axis=0).tolist(), abs=2e-4)
    nothing = np.zeros((8, 8))
    assert set(of("fcbformer-352", (nothing, nothing > 1)).values()) == {0.0}


def test_ducknet_pools_pixels_at_352() -> None:
    pairs = [PAIRS["waves 0"], PAIRS["waves 2"], PAIRS["empty mask"]]
    total = np.zeros(3)
    for values, mask in pairs:
        picture = Image.fromarray(mask.astype(np.uint8) * 255).resize(
            (352, 352), resample=Image.LANCZOS
        )
        total += counts(sampled(values) > 0.5, np.array(picture) >= 127)
    tp, fp, fn = total
    found = of("ducknet-352", *pairs)
    assert found["dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=2e-4)
    assert found["iou"] == pytest.approx(found["dice"] / (2 - found["dice"]))
    nothing = np.zeros((8, 8))
    assert of("ducknet-352", (nothing, nothing > 1))["dice"] == 0.0


def test_a_perfect_mask_has_full_marks() -> None:
    for mask in (PAIRS["waves 0"][1], PAIRS["waves 3"][1]):
        for name in PUBLISHED:
            found = of(name, (mask.astype(np.float32), mask))
            best = "max_dice" if "max_dice" in found else "dice"
            assert found[best] == pytest.approx(1, abs=1e-7) or (
                name.endswith("352") and found[best] > 0.97
            )
            assert all(math.isfinite(value) for value in found.values())
