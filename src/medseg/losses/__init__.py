"""The hybrid loss: a weighted sum of named terms, such as `0.5*focal+tversky+0.1*boundary`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from medseg.config import Loss
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


# the options of the config section `Loss` that each term takes
OPTIONS: dict[str, tuple[str, ...]] = {
    name: tuple(
        option.name for option in fields(Loss) if option.name in inspect.signature(term).parameters
    )
    for name, term in LOSSES.items()
}


def parse_loss(expression: str) -> list[tuple[float, str]]:
    """`"0.5*focal+tversky"` to [(0.5, "focal"), (1.0, "tversky")]; errors as in `parse_sum`."""
    return parse_sum(
        expression, LOSSES, flag="--loss", what="loss", example="ce+dice or 0.5*focal+tversky"
    )


def hybrid_loss(
    options: Loss | None = None,
) -> Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]:
    """A function of logits [B, K, H, W] and class indices [B, H, W] to the weighted sum of terms.

    It returns the sum, a scalar with gradient, and the terms {"ce": scalar, "dice": scalar} without
    weight and gradient. All are float32 (float64 for float64 logits), also under autocast, and stay
    on the device. Each option reaches the terms that have a parameter of its name. Raises
    `UserError` for a wrong expression, and for an option set to something no term of it uses.
    """
    options = options or Loss()
    class_weights = options.class_weights
    terms = parse_loss(options.loss)
    _check_options(options, terms)
    _check_class_weights(class_weights)
    arguments = {
        name: {option: getattr(options, option) for option in OPTIONS[name]} for _, name in terms
    }
    # class weights on each device: copied once, not in every step
    weights_on: dict[torch.device, Tensor] = {}

    def loss(logits: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(logits.device.type, enabled=False):
            logits = working(logits, target)
            if class_weights is not None:
                _check_binary_weights(options.loss, terms, classes=logits.shape[1])
                if logits.device not in weights_on:
                    weights_on[logits.device] = class_weights_of(class_weights, logits)
            parts = {}
            for _, name in terms:
                own = arguments[name]
                if class_weights is not None and "class_weights" in own:
                    own = own | {"class_weights": weights_on[logits.device]}
                parts[name] = LOSSES[name](logits, target, **own)
            total = sum(weight * parts[name] for weight, name in terms)
        return total, {name: part.detach() for name, part in parts.items()}

    return loss


def _check_options(options: Loss, terms: list[tuple[float, str]]) -> None:
    """An option that would change nothing is refused, not dropped."""
    used = {name for _, name in terms}
    default = Loss()
    for option in (field.name for field in fields(Loss)):
        takers = [name for name, taken in OPTIONS.items() if option in taken]
        changed = getattr(options, option) != getattr(default, option)
        if takers and changed and used.isdisjoint(takers):
            raise UserError(
                f"--{option.replace('_', '-')} applies to {', '.join(takers)}; the loss"
                f" {options.loss} uses none of them; leave the option out or add such a term"
            )


def _check_class_weights(weights: Sequence[float] | None) -> None:
    if weights is None:
        return
    in_range = all(0 <= weight < math.inf for weight in weights)
    if len(weights) > 1 and in_range and any(weights[1:]):
        return
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
