"""Each term against its formula, written slowly in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from medseg.distill import FEATURE_TERMS, LOGIT_TERMS, TERMS, parse_kd
from medseg.distill.features import at_size, attention
from medseg.distill.logits import REACH, SHARED, boundary, cwd, dist, edge_weights, kl, mse
from medseg.errors import UserError

T = 3.0


def case(classes=3, seed=0, size=(6, 9)):
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        2 * torch.randn(2, classes, *size, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )


def probabilities(values, temperature):
    top = [math.exp(v / temperature) for v in values]
    return [v / sum(top) for v in top]


def divergence(student, teacher, temperature):
    """KL(teacher || student) of two lists of logits."""
    p, q = probabilities(teacher, temperature), probabilities(student, temperature)
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def pixels(x):
    """The logits of each pixel of one image [K, H, W], as lists in order."""
    return x.flatten(1).T.tolist()


def mean(values):
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize("classes", [2, 4])
def test_kl(classes):
    s, t = case(classes)
    slow = (
        mean(
            divergence(a, b, T)
            for i in range(2)
            for a, b in zip(pixels(s[i]), pixels(t[i]), strict=True)
        )
        * T**2
    )
    assert kl(s, t, temperature=T).item() == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_kl_is_the_original_toolkits_times_the_number_of_classes(classes):
    s, t = case(classes)
    original = (
        F.kl_div((s / T).log_softmax(1), (t / T).softmax(1), reduction="none").mean() * T**2
    )  # its default "mean"
    assert kl(s, t, temperature=T).item() == pytest.approx(classes * original.item(), rel=1e-12)


def test_mse():
    s, t = case()
    slow = mean(
        (a - b) ** 2 for a, b in zip(s.flatten().tolist(), t.flatten().tolist(), strict=True)
    )
    assert mse(s, t).item() == pytest.approx(slow, rel=1e-12)


def test_cwd():
    s, t = case()
    slow = (
        mean(
            divergence(s[i, k].flatten().tolist(), t[i, k].flatten().tolist(), T)
            for i in range(2)
            for k in range(3)
        )
        * T**2
    )
    assert cwd(s, t, temperature=T).item() == pytest.approx(slow, rel=1e-12)


def pearson(a, b):
    """With the shared pattern of `dist`."""
    a, b = [x - mean(a) for x in a], [x - mean(b) for x in b]
    covariance = mean(x * y for x, y in zip(a, b, strict=True))
    return (covariance + SHARED) / math.sqrt(
        (mean(x * x for x in a) + SHARED) * (mean(x * x for x in b) + SHARED)
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_dist(classes):
    s, t = case(classes)
    p, q = ([[probabilities(each, T) for each in pixels(x[i])] for i in range(2)] for x in (s, t))
    across = mean(
        pearson([each[k] for each in p[i]], [each[k] for each in q[i]])
        for i in range(2)
        for k in range(classes)
    )
    within = mean(pearson(a, b) for i in range(2) for a, b in zip(p[i], q[i], strict=True))
    slow = (1 - across + (1 - within if classes > 2 else 0)) * T**2
    assert dist(s, t, temperature=T).item() == pytest.approx(slow, rel=1e-9)


def slow_weights(logits):
    """Counted pixel by pixel."""
    classes = logits.argmax(0)
    height, width = classes.shape
    reach = max(1, round(min(height, width) / REACH))
    weights = torch.zeros(height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            window = classes[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            weights[y, x] = (window != classes[y, x]).double().mean()
    return weights


@pytest.mark.parametrize("size", [(6, 9), (33, 40)])
def test_boundary(size):
    s, t = case(size=size)
    per_image = []
    for i in range(2):
        weights = slow_weights(t[i])
        torch.testing.assert_close(edge_weights(t)[i], weights)
        each = torch.tensor(
            [divergence(a, b, T) for a, b in zip(pixels(s[i]), pixels(t[i]), strict=True)],
            dtype=torch.float64,
        )
        per_image.append((weights.flatten() * each).sum().item() / weights.sum().item())
    assert boundary(s, t, temperature=T).item() == pytest.approx(mean(per_image) * T**2, rel=1e-9)


def test_boundary_looks_at_the_edge_alone():
    teacher = torch.zeros(1, 2, 32, 32)
    teacher[:, 1, :, 16:] = 5
    teacher[:, 1, :, :16] = -5
    far = teacher.clone()
    far[:, 1, :, :10] = far[:, 1, :, 22:] = 0  # more than 2 pixels from the edge at column 16
    assert boundary(far, teacher).item() == 0
    assert boundary(torch.zeros_like(teacher), teacher).item() > 1
    empty = torch.zeros(1, 2, 8, 8)
    assert boundary(torch.randn(1, 2, 8, 8), empty).item() == 0


def test_attention():
    s, t = case(5)
    t = torch.cat([t, t[:, :2] ** 2], 1)  # another width
    slow = []
    for i in range(2):
        maps = []
        for x in (s[i], t[i]):
            energy = [mean(v * v for v in each) for each in pixels(x)]
            maps.append([v / math.sqrt(sum(e * e for e in energy)) for v in energy])
        slow.append(sum((a - b) ** 2 for a, b in zip(*maps, strict=True)))
    assert attention(s, t).item() == pytest.approx(mean(slow), rel=1e-12)
    larger = at_size(t, (12, 18))
    energy = larger.square().mean(1, keepdim=True)
    assert attention(s, larger).item() == pytest.approx(
        attention(s, at_size(energy, (6, 9)).sqrt()).item()
    )


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_student_equal_to_its_teacher_has_zero_loss(name, classes):
    _, t = case(classes, size=(16, 24))
    student = t.clone().requires_grad_()
    loss = TERMS[name](student, t)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max().item() < 1e-12


@pytest.mark.parametrize("name", TERMS)
def test_any_other_student_has_a_positive_loss_and_a_gradient_that_lowers_it(name):
    s, t = case(3, size=(16, 24))
    s.requires_grad_()
    loss = TERMS[name](s, t)
    (gradient,) = torch.autograd.grad(loss, s)
    assert loss.item() > 0
    step = 1e-4 * gradient / gradient.norm()
    with torch.no_grad():
        assert TERMS[name](s - step, t) < loss < TERMS[name](s + step, t)


@pytest.mark.parametrize("name", TERMS)
def test_flat_and_extreme_maps_have_finite_losses_and_gradients(name):
    flat = torch.zeros(2, 2, 8, 8)
    sharp = (
        torch.where(torch.arange(8) > 3, 200.0, -200.0).expand(2, 2, 8, 8)
        * torch.tensor([1.0, -1.0])[:, None, None]
    )
    for student, teacher in ((flat, sharp), (sharp, flat), (sharp, -sharp), (flat, flat)):
        student = student.clone().requires_grad_()
        loss = TERMS[name](student, teacher)
        loss.backward()
        assert loss.isfinite() and loss >= 0 and student.grad.isfinite().all()


@pytest.mark.parametrize("name", TERMS)
def test_half_precision_is_reduced_in_float32(name):
    s, t = (x.bfloat16() for x in case(3, size=(16, 24)))
    loss = TERMS[name](s, t)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(TERMS[name](s.float(), t.float()).item())


@pytest.mark.parametrize("name", TERMS)
def test_a_batch_is_the_mean_of_its_shards(name):
    s, t = case(3, size=(16, 24))
    shards = mean(TERMS[name](s[i : i + 1], t[i : i + 1]).item() for i in range(2))
    assert TERMS[name](s, t).item() == pytest.approx(shards, rel=1e-12)


def test_two_classes_have_no_relation_between_them():
    s, t = case(2)
    p, q = ((x / T).softmax(1) for x in (s, t))
    alone = 1 - mean(
        pearson(p[i, k].flatten().tolist(), q[i, k].flatten().tolist())
        for i in range(2)
        for k in range(2)
    )
    assert dist(s, t, temperature=T).item() == pytest.approx(alone * T**2, rel=1e-9)


def test_expressions():
    assert parse_kd("kl+0.5*cwd") == [(1.0, "kl"), (0.5, "cwd")]
    assert parse_kd("attention + 2*cwd-features") == [(1.0, "attention"), (2.0, "cwd-features")]
    assert LOGIT_TERMS.keys() | FEATURE_TERMS.keys() == TERMS.keys()
    for text, words in (
        ("kll", "unknown distillation term 'kll', did you mean kl"),
        ("kl+kl", "kl appears twice"),
        ("", "--kd '': a term is missing"),
        ("-1*kl", "the weight '-1' is not a number above 0"),
    ):
        with pytest.raises(UserError, match=words.replace("*", r"\*")):
            parse_kd(text)
