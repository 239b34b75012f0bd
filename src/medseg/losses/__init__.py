"""The hybrid loss: a weighted sum of named terms, written as `ce+dice` or
`0.5*focal+tversky+0.1*boundary`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from medseg.errors import UserError
from medseg.losses.boundary import boundary
from medseg.losses.common import class_weights_of, working
from medseg.losses.expression import parse_sum
from medseg.losses.lovasz import lovasz
from medseg.losses.pixel import bce, ce, focal, ohem
from medseg.losses.region import dice, focal_tversky, jaccard, tversky
from medseg.losses.structure import structure, structure_legacy

LOSSES: dict[str, Callable[..., Tensor]] = {
    "ce": ce,
    "bce": bce,
    "ohem": ohem,
    "dice": dice,
    "jaccard": jaccard,
    "focal": focal,
    "tversky": tversky,
    "focal-tversky": focal_tversky,
    "lovasz": lovasz,
    "boundary": boundary,
    "structure": structure,
    "structure-legacy": structure_legacy,
}


def parse_loss(expression: str) -> list[tuple[float, str]]:
    """`"0.5*focal+tversky"` to [(0.5, "focal"), (1.0, "tversky")]; errors as in `parse_sum`."""
    return parse_sum(
        expression, LOSSES, flag="--loss", what="loss", example="ce+dice or 0.5*focal+tversky"
    )


def hybrid_loss(
    expression: str = "ce+dice",
    *,
    class_weights: Sequence[float] | None = None,
    ignore_index: int = 255,
    label_smoothing: float = 0.0,
    ohem_threshold: float = 0.7,
    focal_gamma: float = 2.0,
    tversky_alpha: float = 0.3,
    tversky_beta: float = 0.7,
) -> Callable[[Tensor, Tensor], tuple[Tensor, dict]]:
    """A function of logits [B, K, H, W] and class indices [B, H, W] to the weighted sum and its
    terms.

    The sum is a scalar with gradient, the terms {"ce": scalar, "dice": scalar} are bare: without
    weight and gradient. All are float32 (float64 for float64 logits), also under autocast, and stay
    on the device. Each option reaches the terms that have a parameter of its name. Raises
    `UserError` for a wrong expression, and for an option set to something no term of it uses.
    """
    options = {
        "class_weights": class_weights,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "ohem_threshold": ohem_threshold,
        "focal_gamma": focal_gamma,
        "tversky_alpha": tversky_alpha,
        "tversky_beta": tversky_beta,
    }
    terms = parse_loss(expression)
    _check_options(expression, terms, options)
    _check_class_weights(class_weights)
    placed: dict[
        torch.device, Tensor
    ] = {}  # class weights on each device: copied once, not every step

    def loss(logits: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(logits.device.type, enabled=False):
            logits = working(logits, target)
            given = options
            if class_weights is not None:
                _check_binary_weights(expression, terms, classes=logits.shape[1])
                if logits.device not in placed:
                    placed[logits.device] = class_weights_of(class_weights, logits)
                given = options | {"class_weights": placed[logits.device]}
            parts = {
                name: LOSSES[name](logits, target, **{key: given[key] for key in OPTIONS[name]})
                for _, name in terms
            }
            total = sum(weight * parts[name] for weight, name in terms)
        return total, {name: part.detach() for name, part in parts.items()}

    return loss


# the options of `hybrid_loss` that each term takes
OPTIONS = {
    name: tuple(
        inspect.signature(term).parameters.keys() & inspect.signature(hybrid_loss).parameters.keys()
    )
    for name, term in LOSSES.items()
}


def _check_options(
    expression: str, terms: list[tuple[float, str]], options: dict[str, Any]
) -> None:
    """An option that would change nothing is refused, not dropped."""
    defaults = inspect.signature(hybrid_loss).parameters
    for key, value in options.items():
        takers = [name for name, keys in OPTIONS.items() if key in keys]
        if value != defaults[key].default and not any(name in takers for _, name in terms):
            raise UserError(
                f"--{key.replace('_', '-')} applies to {', '.join(takers)}; the loss {expression}"
                " uses none of them; leave the option out or add such a term"
            )


def _check_class_weights(weights: Sequence[float] | None) -> None:
    if weights is not None and not (
        len(weights) > 1 and all(0 <= w < math.inf for w in weights) and any(weights[1:])
    ):
        raise UserError(
            f"--class-weights {' '.join(map(str, weights))}: expected one finite number of at least"
            " 0 for each class, background first, and one above 0 for some other class"
        )


def _check_binary_weights(expression: str, terms: list[tuple[float, str]], classes: int) -> None:
    pixelwise = ("ce", "ohem", "focal")
    if classes == 2 and not any(name in pixelwise for _, name in terms):
        raise UserError(
            f"--class-weights: with two classes they act on {', '.join(pixelwise)} only, for all"
            f" other terms are of the foreground alone; the loss {expression} uses none of them;"
            " leave the option out"
        )
