"""Laws that every loss term keeps, whatever its formula."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from medseg.config import Loss
from medseg.losses import LOSSES, hybrid_loss

TERMS = sorted(LOSSES)
PIXELWISE = {"ce", "bce", "ohem", "focal"}  # means over the pixels of the batch, not over images
CLASSES = (2, 3)
every_term = pytest.mark.parametrize("name", TERMS)
every_k = pytest.mark.parametrize("k", CLASSES)


def case(
    k: int,
    seed: int = 0,
    *,
    shape: tuple[int, int, int] = (2, 8, 9),
    scale: float = 2.0,
    ignored: float = 0.0,
):
    """Random logits [B, K, H, W] in float64 and a target [B, H, W] with blobs of each class, some
    of it ignored.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(shape[0], k, *shape[1:], generator=generator, dtype=torch.float64)
    target = torch.randint(0, k, (shape[0], 2, 2), generator=generator)
    target[:, 0, 0], target[:, 1, 1] = 0, k - 1
    target = torch.nn.functional.interpolate(target[:, None].double(), size=shape[1:])[:, 0].long()
    target[torch.rand(shape, generator=generator) < ignored] = 255
    return logits, target


def toward(target: torch.Tensor, k: int) -> torch.Tensor:
    """The direction in logits that raises the true class of every pixel, 0 where it is ignored."""
    return torch.stack([target == i for i in range(k)], dim=1).double()


def gradient(term, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    logits = logits.detach().clone().requires_grad_()
    term(logits, target).backward()
    return logits.grad


@every_term
@every_k
def test_perfect_prediction_is_the_minimum_and_zero(name: str, k: int) -> None:
    for seed in range(5):
        logits, target = case(k, seed)
        perfect = LOSSES[name](40 * toward(target, k), target)
        assert 0 <= perfect < 1e-9
        assert LOSSES[name](logits, target) > perfect + 0.01


@every_term
@every_k
@pytest.mark.parametrize("start", ["random", "opposite"])
def test_improving_every_pixel_lowers_the_loss(name: str, k: int, start: str) -> None:
    options = (
        {"ohem_threshold": 1.0} if name == "ohem" else {}
    )  # its choice of pixels must not change: see below
    for seed in range(8):
        logits, target = case(k, seed, ignored=0.1)
        direction = toward(target, k)
        logits = logits if start == "random" else logits - 5 * direction
        values = [
            LOSSES[name](logits + step * direction, target, **options)
            for step in (0, 0.25, 0.5, 1, 2, 4, 8)
        ]
        assert all(later < earlier for earlier, later in pairwise(values)), values


@every_term
@every_k
def test_improving_a_single_pixel_lowers_the_loss(name: str, k: int) -> None:
    options = {"ohem_threshold": 1.0} if name == "ohem" else {}
    logits, target = case(k, 3)
    before = LOSSES[name](logits, target, **options)
    for image, row, column in ((0, 0, 0), (0, 7, 8), (1, 3, 4), (1, 4, 5)):
        better = logits.clone()
        better[image, target[image, row, column], row, column] += 1
        assert LOSSES[name](better, target, **options) < before


def test_ohem_is_the_exception_a_better_prediction_can_cost_more() -> None:
    """A pixel that is no longer hard leaves the mean, which the harder ones then have to
    themselves.
    """
    target = torch.zeros(1, 1, 2, dtype=torch.long)
    before = LOSSES["ohem"](
        torch.tensor([[[[0.0, 0.0]], [[5.0, -0.8]]]], dtype=torch.float64), target
    )
    after = LOSSES["ohem"](
        torch.tensor([[[[0.0, 0.0]], [[4.9, -0.9]]]], dtype=torch.float64), target
    )
    assert after > before + 1


@every_term
@every_k
@pytest.mark.parametrize("ignored", [0.0, 0.2])
def test_gradient_agrees_with_finite_differences(name: str, k: int, ignored: float) -> None:
    logits, target = case(k, 1, shape=(2, 4, 5), scale=1.0, ignored=ignored)
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, target), logits.requires_grad_())


@pytest.mark.parametrize("name", ["ce", "bce", "focal"])
@every_k
def test_gradient_with_options(name: str, k: int) -> None:
    logits, target = case(k, 1, shape=(1, 4, 5), scale=1.0, ignored=0.2)
    options = {"label_smoothing": 0.1} | (
        {} if name == "bce" else {"class_weights": (0.5, 2.0, 3.0)[:k]}
    )
    assert torch.autograd.gradcheck(
        lambda z: LOSSES[name](z, target, **options), logits.requires_grad_()
    )


@every_term
@every_k
def test_ignored_pixels_change_neither_value_nor_gradient(name: str, k: int) -> None:
    logits, target = case(k, 2, ignored=0.3)
    ignored = (target == 255)[:, None].expand_as(logits)
    other = torch.where(ignored, 50 * torch.randn_like(logits), logits)
    assert ignored.any()
    assert LOSSES[name](other, target) == LOSSES[name](logits, target)
    grad, other_grad = gradient(LOSSES[name], logits, target), gradient(LOSSES[name], other, target)
    assert (grad[ignored] == 0).all() and (other_grad[ignored] == 0).all()
    assert torch.equal(grad[~ignored], other_grad[~ignored])


@every_term
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_class_can_be_the_ignored_one(name: str, index: int) -> None:
    logits, target = case(3, 2)
    assert (target == index).any()
    usual = torch.where(target == index, 255, target)
    assert torch.equal(
        LOSSES[name](logits, target, ignore_index=index), LOSSES[name](logits, usual)
    )


@every_term
@every_k
def test_an_ignored_image_counts_for_nothing(name: str, k: int) -> None:
    logits, target = case(k, 4, shape=(3, 8, 9))
    target[1] = 255
    alone = LOSSES[name](logits[[0, 2]], target[[0, 2]])
    assert torch.allclose(LOSSES[name](logits, target), alone, rtol=1e-12, atol=0)


@every_term
@every_k
def test_everything_ignored_is_zero_without_gradient(name: str, k: int) -> None:
    logits, target = case(k)
    target[:] = 255
    assert LOSSES[name](logits, target) == 0
    assert (gradient(LOSSES[name], logits, target) == 0).all()


@every_term
@every_k
def test_all_foreground_on_an_empty_mask_is_pushed_back_everywhere(name: str, k: int) -> None:
    """At p = .9 each pixel's background logit is raised by at least a hundredth of the even share 1
    / pixels.
    """
    target = torch.zeros(1, 64, 64, dtype=torch.uint8)
    logits = torch.zeros(1, k, 64, 64)
    logits[:, 1] = 3
    assert LOSSES[name](logits, target) > 0.1
    assert (gradient(LOSSES[name], logits, target)[:, 0] * target.numel()).max() < -0.01


@pytest.mark.parametrize("confidence", [1.0, 5.0, 20.0])
def test_default_loss_on_an_empty_mask_has_a_useful_gradient_however_sure_the_prediction(
    confidence: float,
) -> None:
    target = torch.zeros(2, 64, 64, dtype=torch.uint8)
    logits = torch.zeros(2, 2, 64, 64)
    logits[:, 1] = confidence
    loss = hybrid_loss()
    grad = gradient(lambda z, t: loss(z, t)[0], logits, target) * target.numel()
    assert grad[:, 1].min() > 0.5 and grad[:, 0].max() < -0.5
    step = logits - 0.1 * grad
    assert loss(step, target)[0] < loss(logits, target)[0]


@every_term
@every_k
@pytest.mark.parametrize("logit", [-200.0, 200.0])
@pytest.mark.parametrize("empty", [True, False])
def test_saturated_logits_give_finite_values_and_gradients(
    name: str, k: int, logit: float, empty: bool
) -> None:
    logits, target = case(k)
    logits = logits.float()
    logits[:, 1] = logit
    target = target * (not empty)
    assert LOSSES[name](logits, target).isfinite()
    assert gradient(LOSSES[name], logits, target).isfinite().all()


@pytest.mark.parametrize("name", [name for name in TERMS if name not in PIXELWISE])
@every_k
def test_shards_of_a_batch_average_to_the_batch(name: str, k: int) -> None:
    logits, target = case(k, 5, shape=(4, 8, 9), ignored=0.2)
    shards = [LOSSES[name](logits[i : i + 2], target[i : i + 2]) for i in (0, 2)]
    assert torch.allclose(sum(shards) / 2, LOSSES[name](logits, target), rtol=1e-12, atol=0)


@every_term
@every_k
def test_a_common_shift_of_the_logits_changes_nothing(name: str, k: int) -> None:
    logits, target = case(k, 6, ignored=0.1)
    assert torch.allclose(
        LOSSES[name](logits + 7, target), LOSSES[name](logits, target), rtol=1e-12, atol=0
    )


@every_term
def test_foreground_classes_are_equal(name: str) -> None:
    logits, target = case(3, 7, ignored=0.1)
    swapped = torch.where(target == 1, 2, torch.where(target == 2, 1, target))
    assert torch.allclose(
        LOSSES[name](logits[:, [0, 2, 1]], swapped),
        LOSSES[name](logits, target),
        rtol=1e-12,
        atol=0,
    )


@every_term
@every_k
def test_mask_type_and_memory_format_change_nothing(name: str, k: int) -> None:
    logits, target = case(k, 8, ignored=0.1)
    value = LOSSES[name](logits, target)
    assert torch.equal(LOSSES[name](logits, target.to(torch.uint8)), value)
    last = logits.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(LOSSES[name](last, target), value, rtol=1e-12, atol=0)


@every_term
@every_k
def test_reduced_in_float32_even_under_autocast(name: str, k: int) -> None:
    logits, target = case(k, 9, ignored=0.1)
    half = logits.bfloat16()
    value = LOSSES[name](half, target)
    assert value.dtype == torch.float32 and value.shape == ()
    assert LOSSES[name](logits, target).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(LOSSES[name](half, target), value)
        total, parts = hybrid_loss(Loss(loss=name))(half, target)
    assert (
        total.dtype == torch.float32
        and torch.equal(total, value)
        and torch.equal(parts[name], value)
    )


@every_term
@every_k
def test_nothing_waits_for_the_device(name: str, k: int) -> None:
    """Meta tensors have no values: to read one on the host, as a wait would, raises."""
    logits = torch.empty(2, k, 40, 40, device="meta", requires_grad=True)
    target = torch.empty(2, 40, 40, dtype=torch.uint8, device="meta")
    weights = {} if name == "bce" else {"class_weights": torch.empty(k, device="meta")}
    LOSSES[name](logits, target, **weights).backward()
    assert logits.grad.shape == logits.shape
