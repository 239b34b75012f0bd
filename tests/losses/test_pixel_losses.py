from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from medseg.losses.pixel import bce, ce, focal, ohem

WEIGHTS = (0.5, 2.0, 3.0)


def case(k: int = 3, seed: int = 0, shape: tuple[int, int, int] = (2, 9, 7)):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape[0], k, *shape[1:], generator=generator, dtype=torch.float64)
    target = torch.randint(0, k, shape, generator=generator)
    target[:, 0] = 255
    return logits, target


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ce_is_torchs(weights, smoothing: float) -> None:
    logits, target = case()
    given = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    expected = F.cross_entropy(
        logits, target, weight=given, ignore_index=255, label_smoothing=smoothing
    )
    assert torch.allclose(
        ce(logits, target, class_weights=weights, label_smoothing=smoothing), expected, rtol=1e-12
    )


def test_bce_of_two_classes_is_ce() -> None:
    logits, target = case(k=2)
    for smoothing in (0.0, 0.2):
        assert torch.allclose(
            bce(logits, target, label_smoothing=smoothing),
            ce(logits, target, label_smoothing=smoothing),
        )


def test_bce_of_three_classes_asks_each_against_the_rest() -> None:
    logits, target = case()
    p, total, pixels = logits.softmax(dim=1), 0.0, 0
    for b, y, x in (target != 255).nonzero().tolist():
        pixels += 1
        for k in range(3):
            t = 0.9 if target[b, y, x] == k else 0.1  # smoothing .2
            total -= (t * p[b, k, y, x].log() + (1 - t) * (1 - p[b, k, y, x]).log()).item()
    assert bce(logits, target, label_smoothing=0.2).item() == pytest.approx(total / pixels / 3)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_without_focus_is_ce(weights, smoothing: float) -> None:
    logits, target = case()
    options = {"class_weights": weights, "label_smoothing": smoothing}
    assert torch.allclose(
        focal(logits, target, focal_gamma=0, **options), ce(logits, target, **options)
    )


def test_focal_by_hand() -> None:
    logits, target = case()
    p = logits.softmax(dim=1)
    true = [
        (p[b, target[b, y, x], y, x].item(), WEIGHTS[target[b, y, x]])
        for b, y, x in (target != 255).nonzero().tolist()
    ]
    expected = sum(w * (1 - q) ** 2 * -math.log(q) for q, w in true) / sum(w for _, w in true)
    assert focal(logits, target, class_weights=WEIGHTS).item() == pytest.approx(expected)


def test_focal_of_a_sure_prediction() -> None:
    logits = torch.tensor([0.0, 8.0]).view(1, 2, 1, 1)
    target, q = torch.ones(1, 1, 1, dtype=torch.uint8), 1 / (1 + math.exp(8))
    assert focal(logits, target).item() == pytest.approx(q**2 * -math.log1p(-q), rel=1e-3)
    logits = (100 * logits).requires_grad_()
    focal(logits, target, focal_gamma=0.5).backward()  # a power below 1 has no slope at 0
    assert logits.grad.isfinite().all()


def original_ohem(logits, target, threshold: float) -> float:
    losses = F.cross_entropy(logits, target, ignore_index=255, reduction="none")[
        target != 255
    ].tolist()
    hard = [loss for loss in losses if loss > -math.log(threshold)]
    least = max(1, len(losses) // 16)
    kept = hard if len(hard) >= least else sorted(losses)[-least:]
    return sum(kept) / len(kept)


@pytest.mark.parametrize(
    "threshold", [0.7, 0.3, 1e-9]
)  # many hard pixels, some, none: the hardest sixteenth
@pytest.mark.parametrize("seed", range(3))
def test_ohem_is_the_originals(threshold: float, seed: int) -> None:
    logits, target = case(seed=seed, shape=(2, 20, 20))
    assert ohem(logits, target, ohem_threshold=threshold).item() == pytest.approx(
        original_ohem(logits, target, threshold)
    )


def test_ohem_keeps_a_pixel_where_few_count() -> None:
    logits, target = case()
    target[:] = 255
    target[0, 3, 3:6] = 1
    assert ohem(logits, target, ohem_threshold=1e-9).item() == pytest.approx(
        original_ohem(logits, target, 1e-9)
    )


def test_ohem_class_weights_enter_the_mean_only() -> None:
    logits, target = case()
    losses = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
    kept = losses > -math.log(0.7)
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)[target[kept]]
    expected = (losses[kept] * weights).sum() / weights.sum()
    assert torch.allclose(ohem(logits, target, class_weights=WEIGHTS), expected)


@pytest.mark.parametrize("decides", ["the threshold", "the hardest"])
def test_ohem_of_shares_is_that_of_the_whole_where_the_threshold_decides(decides: str) -> None:
    """Two processes, one with pixels that are easier: what docs/losses.md says of them."""
    threshold = 0.7 if decides == "the threshold" else 1e-6
    logits, target = case(shape=(4, 16, 16))
    logits[2:] *= 0.1
    whole = ohem(logits, target, ohem_threshold=threshold)
    shares = [(logits[:2], target[:2]), (logits[2:], target[2:])]
    found: list[torch.Tensor] = []
    for each in shares:
        ohem(*each, ohem_threshold=threshold, divisor=lambda own: found.append(own) or own)
    mean = torch.stack(found).mean()
    losses = [ohem(*each, ohem_threshold=threshold, divisor=lambda own: mean) for each in shares]
    same = torch.allclose(torch.stack(losses).mean(), whole, rtol=1e-9)
    assert same == (decides == "the threshold")
