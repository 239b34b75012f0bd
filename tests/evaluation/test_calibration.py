"""Bins by a plain loop, a temperature that was hidden in the data, and a boundary band by
distances.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medseg.evaluation.calibration import (
    bins,
    diagram,
    fit_temperature,
    likelihood,
    near_boundary,
    summarise,
)
from medseg.inference.postprocess import classify, probabilities


def test_bins_by_hand() -> None:
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.uniform(0, 1, 500), [0.0, 1.0, 1 / 15]])
    y = rng.uniform(0, 1, len(p)) < p**2
    groups: dict[int, list] = {}
    for each, truth in zip(p, y, strict=True):
        groups.setdefault(min(14, int(each * 15)), []).append((each, float(truth)))
    gap = sum(
        abs(sum(a for a, _ in group) - sum(b for _, b in group)) for group in groups.values()
    ) / len(p)
    found = summarise(bins(p[:200], y[:200]) + bins(p[200:], y[200:]))
    assert found["ece"] == pytest.approx(gap) and found["ece"] > 0.1
    assert found["brier"] == pytest.approx(
        sum((a - b) ** 2 for a, b in zip(p, y, strict=True)) / len(p)
    )
    points = diagram(bins(p, y))
    assert len(points) == len(groups) and points[3]["pixels"] == len(groups[3])
    assert points[3]["foreground"] == pytest.approx(np.mean([b for _, b in groups[3]]))


def test_the_extremes() -> None:
    y = np.array([True, False, True])
    assert summarise(bins(y.astype(float), y)) == {"ece": 0.0, "brier": 0.0, "pixels": 3}
    assert summarise(bins(1.0 - y, y))["ece"] == summarise(bins(1.0 - y, y))["brier"] == 1
    assert math.isnan(summarise(bins(y[:0].astype(float), y[:0]))["ece"])


def test_near_the_boundary() -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    edge = [(y, x) for y in range(20, 40) for x in range(20, 40) if y in (20, 39) or x in (20, 39)]
    wanted = [
        [min(math.hypot(y - a, x - b) for a, b in edge) <= 2 for x in range(64)] for y in range(64)
    ]  # 2 % of 90.5
    assert np.array_equal(near_boundary(mask), wanted)
    assert not near_boundary(mask & False).any()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("hidden", [0.5, 1.0, 3.0])
def test_a_hidden_temperature_is_found(hidden: float, classes: int) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (40_000, classes))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (rng.uniform(size=(len(logits), 1)) > shares.cumsum(1)).sum(1).clip(max=classes - 1)
    margins = (logits if classes > 2 else logits[:, 1:] - logits[:, :1]) * hidden
    found = fit_temperature(margins, truth)
    assert found == pytest.approx(hidden, rel=0.04)

    def nll(temperature: float) -> float:
        given = torch.from_numpy(margins.T[:, None])
        return likelihood(probabilities(given, temperature)[:, 0].T.numpy(), truth)

    assert (
        nll(found) <= min(nll(found * 1.01), nll(found / 1.01))
        and nll(hidden * 4) > nll(found) + 0.01
    )


def test_certain_pixels_run_to_the_bound() -> None:
    assert fit_temperature(np.array([[5.0], [-5.0]]), np.array([1, 0])) == pytest.approx(
        0.05, rel=1e-3
    )
    assert fit_temperature(np.array([[5.0], [-5.0]]), np.array([0, 1])) == pytest.approx(
        20, rel=1e-3
    )


@pytest.mark.parametrize("temperature", [0.3, 1.7, 19.0])
def test_the_mask_stays_what_it_was(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for count in (1, 3):
        margin = torch.randn((count, 60, 60), generator=generator) * 3
        assert torch.equal(classify(margin, 0.5, temperature), classify(margin))
    binary = torch.randn((1, 60, 60), generator=generator) * 3
    moved = classify(binary, 0.3, temperature)
    assert torch.equal(moved, (probabilities(binary, temperature)[1] > 0.3).to(torch.uint8))
    assert not torch.equal(moved, classify(binary, 0.3))
    assert torch.allclose(
        probabilities(binary, temperature)[1], torch.sigmoid(binary[0] / temperature)
    )
