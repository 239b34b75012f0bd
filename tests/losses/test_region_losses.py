from __future__ import annotations

import pytest
import torch

from medseg.errors import UserError
from medseg.losses.lovasz import lovasz
from medseg.losses.region import dice, focal_tversky, jaccard, tversky


def case(k: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, k, 6, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(0, k, (2, 6, 7), generator=generator)
    target[:, 0] = 255
    target[1][target[1] == 1] = 0  # class 1 is absent from the second image
    return logits, target


def by_hand(logits, target, index, weights=(1.0, 1.0, 1.0)) -> float:
    """The mean over images of the weighted mean over foreground classes of 1 - index(TP, FP, FN),
    or of mean p.
    """
    p, images = logits.softmax(dim=1), []
    for b in range(len(target)):
        counts = target[b] != 255
        losses = []
        for k in range(1, logits.shape[1]):
            t, q = (target[b] == k)[counts].double(), p[b, k][counts]
            tp, fp, fn = (t * q).sum(), ((1 - t) * q).sum(), (t * (1 - q)).sum()
            losses.append((1 - index(tp, fp, fn) if t.any() else q.mean()).item())
        given = weights[1 : logits.shape[1]]
        images.append(sum(w * loss for w, loss in zip(given, losses, strict=True)) / sum(given))
    return sum(images) / len(images)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(
    ("term", "index"),
    [
        (dice, lambda tp, fp, fn: 2 * tp / (2 * tp + fp + fn)),
        (jaccard, lambda tp, fp, fn: tp / (tp + fp + fn)),
        (tversky, lambda tp, fp, fn: tp / (tp + 0.3 * fp + 0.7 * fn)),
    ],
)
def test_region_terms_by_hand(term, index, k: int) -> None:
    logits, target = case(k)
    assert term(logits, target).item() == pytest.approx(by_hand(logits, target, index))


def test_class_weights_weigh_the_mean_over_classes() -> None:
    logits, target = case()
    expected = by_hand(
        logits, target, lambda tp, fp, fn: 2 * tp / (2 * tp + fp + fn), (5.0, 1.0, 3.0)
    )
    assert dice(logits, target, class_weights=(5.0, 1.0, 3.0)).item() == pytest.approx(expected)


def test_focal_tversky_is_a_power_of_tversky() -> None:
    logits, target = case(k=2)
    logits, target = logits[:1], target[:1]
    assert focal_tversky(logits, target).item() == pytest.approx(
        tversky(logits, target).item() ** 0.75, abs=1e-4
    )
    assert torch.equal(focal_tversky(logits, target, exponent=1.0), tversky(logits, target))


def test_empty_mask_costs_the_share_of_false_foreground() -> None:
    target = torch.zeros(1, 10, 10, dtype=torch.uint8)
    logits = torch.zeros(1, 2, 10, 10)
    logits[:, 1] = -50.0
    logits[:, 1, :2, :5] = 50.0
    for term in (dice, jaccard, tversky, lovasz):
        assert term(logits, target).item() == pytest.approx(0.1)


def test_tversky_needs_a_weight() -> None:
    logits, target = case()
    assert tversky(logits, target, tversky_alpha=1.0, tversky_beta=0.0).isfinite()
    with pytest.raises(UserError, match="not both 0"):
        tversky(logits, target, tversky_alpha=0.0, tversky_beta=0.0)


def test_lovasz_of_a_certain_prediction_is_the_jaccard_loss() -> None:
    logits, target = case(k=2)
    certain = 200 * (logits == logits.amax(dim=1, keepdim=True)).double()
    assert lovasz(certain, target).item() == pytest.approx(jaccard(certain, target).item())


@pytest.mark.parametrize("seed", range(3))
def test_lovasz_by_hand(seed: int) -> None:
    """Sum of the sorted errors times the growth of the Jaccard loss of the set of the pixels so
    far.
    """
    logits, target = case(k=2, seed=seed)
    logits, target = logits[:1], target[:1]
    p, t = logits.softmax(dim=1)[0, 1], target[0] == 1
    pixels = [
        (abs(int(t[i, j]) - p[i, j].item()), bool(t[i, j]))
        for i, j in (target[0] != 255).nonzero().tolist()
    ]
    total, expected, before, wrong = sum(true for _, true in pixels), 0.0, 0.0, []
    for error, true in sorted(pixels, reverse=True):
        wrong.append(true)
        missed, false = wrong.count(True), wrong.count(False)
        loss = 1 - (total - missed) / (total + false)
        expected, before = expected + error * (loss - before), loss
    assert lovasz(logits, target).item() == pytest.approx(expected)
