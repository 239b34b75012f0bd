from __future__ import annotations

import pytest
import torch

from medseg.config import Loss
from medseg.errors import UserError
from medseg.losses import LOSSES, hybrid_loss, parse_loss


def case(k: int = 2):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, k, 8, 8, generator=generator), torch.randint(
        0, k, (2, 8, 8), generator=generator
    ).to(torch.uint8)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("ce+dice", [(1.0, "ce"), (1.0, "dice")]),
        ("0.5*focal+tversky+0.1*boundary", [(0.5, "focal"), (1.0, "tversky"), (0.1, "boundary")]),
        ("  2 * structure-legacy +1e-2*ce ", [(2.0, "structure-legacy"), (0.01, "ce")]),
    ],
)
def test_expressions(text: str, terms: list) -> None:
    assert parse_loss(text) == terms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a term is missing"),
        ("ce+", "a term is missing"),
        ("0.5*", "a term is missing"),
        ("ce+dise", "unknown loss 'dise', did you mean dice"),
        ("focal*2", "unknown loss '2'"),
        ("ce+2*ce", "ce appears twice"),
        ("0*ce", "the weight '0' is not a number above 0"),
        ("-1*ce", "the weight '-1'"),
        ("nan*ce", "the weight 'nan'"),
        ("inf*ce", "the weight 'inf'"),
        ("half*ce", "the weight 'half'"),
        ("*ce", "the weight ''"),
    ],
)
def test_wrong_expressions(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("*", r"\*")) as caught:
        parse_loss(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("k", [2, 3])
def test_sum_of_weighted_terms_each_reported_alone(k: int) -> None:
    logits, target = case(k)
    logits.requires_grad_()
    options = Loss(loss="0.5*focal+tversky+0.1*boundary", focal_gamma=3.0)
    total, parts = hybrid_loss(options)(logits, target)
    assert list(parts) == ["focal", "tversky", "boundary"]
    assert torch.equal(parts["focal"], LOSSES["focal"](logits, target, focal_gamma=3.0))
    assert torch.allclose(total, 0.5 * parts["focal"] + parts["tversky"] + 0.1 * parts["boundary"])
    assert total.requires_grad and not any(part.requires_grad for part in parts.values())


def test_default_is_ce_and_dice() -> None:
    total, parts = hybrid_loss()(*case())
    assert list(parts) == ["ce", "dice"] and torch.allclose(total, parts["ce"] + parts["dice"])


@pytest.mark.parametrize(
    ("expression", "option", "value"),
    [
        ("ce+dice", "class_weights", (1.0, 4.0, 2.0)),
        ("dice", "class_weights", (1.0, 4.0, 2.0)),
        ("bce+dice", "label_smoothing", 0.2),
        ("dice+ohem", "ohem_threshold", 0.2),
        ("focal", "focal_gamma", 1.0),
        ("tversky", "tversky_alpha", 0.9),
        ("focal-tversky+ce", "tversky_beta", 0.2),
    ],
)
def test_options_reach_their_terms(expression: str, option: str, value) -> None:
    logits, target = case(3)
    plain, changed = (
        hybrid_loss(Loss(loss=expression, **options))(logits, target)[0]
        for options in ({}, {option: value})
    )
    assert abs(plain - changed) > 1e-4


@pytest.mark.parametrize(
    ("expression", "option", "value", "message"),
    [
        (
            "dice",
            "label_smoothing",
            0.1,
            "--label-smoothing applies to ce, bce, focal; the loss dice uses none of them",
        ),
        ("bce", "class_weights", (1.0, 2.0), "--class-weights applies to ce, ohem, dice"),
        (
            "ce+dice",
            "focal_gamma",
            1.0,
            "--focal-gamma applies to focal; the loss ce.dice uses none",
        ),
        ("ce", "ohem_threshold", 0.5, "--ohem-threshold applies to ohem"),
        ("dice", "tversky_alpha", 0.5, "--tversky-alpha applies to tversky, focal-tversky"),
        ("ce", "class_weights", (1.0, -1.0), "--class-weights 1.0 -1.0: expected"),
        ("ce", "class_weights", (1.0, 0.0), "one above 0 for some other class"),
        ("ce", "class_weights", (1.0, float("nan")), "finite"),
    ],
)
def test_options_that_do_nothing_or_are_wrong(
    expression: str, option: str, value, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        hybrid_loss(Loss(loss=expression, **{option: value}))


def test_class_weights_and_the_number_of_classes() -> None:
    with pytest.raises(UserError, match="3 given for 2 classes"):
        hybrid_loss(Loss(loss="ce", class_weights=(1.0, 2.0, 3.0)))(*case())
    with pytest.raises(UserError, match="with two classes they act on ce, ohem, focal only"):
        hybrid_loss(Loss(loss="dice+lovasz", class_weights=(1.0, 2.0)))(*case())
    hybrid_loss(Loss(loss="dice+ce", class_weights=(1.0, 2.0)))(*case())


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        ((2, 1, 8, 8), (2, 8, 8), "K of at least 2"),
        ((2, 8, 8), (2, 8, 8), "expected .B, K, H, W."),
        ((2, 2, 8, 8), (2, 1, 8, 8), "expected class indices"),
        ((2, 2, 8, 8), (2, 4, 4), "resize one to the other"),
    ],
)
def test_wrong_shapes(logits: tuple, target: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hybrid_loss()(torch.zeros(logits), torch.zeros(target, dtype=torch.uint8))
