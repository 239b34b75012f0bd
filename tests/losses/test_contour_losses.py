from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medseg.errors import UserError
from medseg.losses.boundary import boundary, squared_distance
from medseg.losses.structure import structure, structure_legacy


def case(k: int = 2, size: tuple[int, int] = (40, 45)):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, k, *size, generator=generator, dtype=torch.float64)
    target = torch.zeros(2, *size, dtype=torch.long)
    target[0, 5:20, 8:30] = 1
    target[1, 25:, 30:] = k - 1
    return logits, target


def brute_force(mask: torch.Tensor, radius: int) -> torch.Tensor:
    places = mask.nonzero()
    grid = torch.stack(
        torch.meshgrid(*(torch.arange(n) for n in mask.shape), indexing="ij"), dim=-1
    )
    if not len(places):
        return torch.full(mask.shape, radius**2)
    return ((grid[:, :, None] - places) ** 2).sum(-1).amin(-1).clamp(max=radius**2)


@pytest.mark.parametrize("radius", [1, 4, 127])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_distances_are_exact_up_to_the_radius(radius: int, share: float) -> None:
    mask = torch.rand(3, 21, 13, generator=torch.Generator().manual_seed(1)) < share
    expected = torch.stack([brute_force(each, radius) for each in mask])
    assert torch.equal(squared_distance(mask, radius).long(), expected)


def test_boundary_is_kervadecs_up_to_a_constant() -> None:
    """Sum of p times the signed distance, negative inside, and the constant is that of p = t."""
    logits, target = case()
    p, inside = logits.softmax(dim=1)[:, 1], target == 1
    signed = torch.stack(
        [
            brute_force(i, 999).sqrt() - brute_force(~i, 999).sqrt() + i.double() - 0.5
            for i in inside
        ]
    )
    expected = (p * signed).mean() - (inside * signed).mean()
    assert boundary(logits, target, radius=60).item() == pytest.approx(expected.item())


def test_boundary_weight_stops_at_the_radius() -> None:
    target = torch.zeros(1, 50, 50, dtype=torch.uint8)
    target[:, 0, 0] = 1
    logits = torch.zeros(1, 2, 50, 50)
    logits[:, 1] = -50
    logits[:, 1, 0, 0] = logits[:, 1, 40, 40] = 50  # the polyp, and a false alarm far from it
    assert boundary(logits, target).item() * 2500 == pytest.approx(15.5)
    assert boundary(logits, target, radius=10).item() * 2500 == pytest.approx(9.5)
    assert boundary(logits, torch.zeros_like(target)).item() * 2500 == pytest.approx(31)
    with pytest.raises(UserError, match="radius"):
        boundary(logits, target, radius=0)


def test_boundary_takes_no_distance_to_ignored_pixels() -> None:
    """Around the polyp everything is ignored: its only neighbour of another class is four rows
    below.
    """
    target = torch.full((1, 9, 9), 255)
    target[0, 4, 4], target[0, 8, 4] = 1, 0
    logits = torch.zeros(1, 2, 9, 9)  # p = 1/2
    assert boundary(logits, target).item() == pytest.approx((4 - 0.5) / 2)


def structure_by_hand(logits, target, *, legacy: bool) -> float:
    """The formula on the foreground logit, with the window as one square mean."""
    z, t = (logits[:, 1] - logits[:, 0])[:, None], (target == 1).to(logits.dtype)[:, None]
    w = 1 + 5 * (F.avg_pool2d(t, 31, stride=1, padding=15) - t).abs()
    bce = F.binary_cross_entropy_with_logits(z, t, reduction="mean" if legacy else "none")
    weighted = (w * bce).sum((2, 3)) / w.sum((2, 3))
    inter, both = (z.sigmoid() * t * w).sum((2, 3)), ((z.sigmoid() + t) * w).sum((2, 3))
    return (weighted + 1 - (inter + 1) / (both - inter + 1)).mean().item()


def test_structure_by_hand() -> None:
    logits, target = case()
    assert structure(logits, target).item() == pytest.approx(
        structure_by_hand(logits, target, legacy=False)
    )
    assert structure_legacy(logits, target).item() == pytest.approx(
        structure_by_hand(logits, target, legacy=True)
    )


def test_the_two_structure_losses_differ() -> None:
    logits, target = case()
    logits[:, 1] += 3 * (target == 1)  # wrong in the background, where the weights are small
    assert abs(structure(logits, target) - structure_legacy(logits, target)) > 0.05


@pytest.mark.parametrize("term", [structure, structure_legacy, boundary])
def test_foreground_classes_are_taken_against_the_rest(term) -> None:
    """Three classes: the mean of two binary problems with the log-odds of each class as the
    foreground logit.
    """
    logits, target = case(k=3)
    p = logits.softmax(dim=1)
    binary = [
        term(torch.stack([torch.zeros_like(p[:, k]), p[:, k].logit()], dim=1), (target == k).long())
        for k in (1, 2)
    ]
    assert torch.allclose(term(logits, target), sum(binary) / 2)
    weighted = term(logits, target, class_weights=(1.0, 1.0, 3.0))
    assert torch.allclose(weighted, (binary[0] + 3 * binary[1]) / 4)


def test_the_published_code_has_its_contour_half_a_pixel_farther_in() -> None:
    """Its distances are d outside and d - 1 inside, ours d - 1/2 on both sides of the contour."""
    logits, target = case()
    truth = target == 1
    outside, inside = (
        torch.stack([brute_force(each, 127) for each in mask]).double().sqrt()
        for mask in (truth, ~truth)
    )
    published = torch.where(truth, 1 - inside, outside)
    p = (z := logits.clone().requires_grad_()).softmax(1)[:, 1]
    theirs = torch.autograd.grad((p * published).mean(), z)[0]
    p = (z := logits.clone().requires_grad_()).softmax(1)[:, 1]
    push = torch.autograd.grad(p.mean() / 2, z)[0]
    ours = torch.autograd.grad(
        boundary(w := logits.clone().requires_grad_(), target, radius=127), w
    )
    torch.testing.assert_close(ours[0] + push, theirs)
