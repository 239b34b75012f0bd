"""The hybrid loss: a weighted sum of named terms, such as `0.5*focal+tversky+0.1*boundary`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from medseg.config import Loss
from medseg.errors import UserError
from medseg.losses.boundary import boundary
from medseg.losses.common import (
    IGNORE_INDEX,
    Divisor,
    class_weights_of,
    image_divisor,
    own,
    working,
)
from medseg.losses.expression import parse_sum
from medseg.losses.lovasz import lovasz
from medseg.losses.pixel import bce, ce, focal, ohem, pixel_divisor
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


# the terms that divide by pixels; all others divide by images
BY_PIXELS: dict[str, Callable[[Tensor, Tensor | None, int], Tensor]] = {
    "ce": pixel_divisor,
    "bce": lambda target, _, ignore_index: pixel_divisor(target, None, ignore_index),
    "focal": pixel_divisor,
}
BY_LOGITS = ("ohem",)  # which pixels it divides by is known when the network has answered


def parse_loss(expression: str) -> list[tuple[float, str]]:
    """`"0.5*focal+tversky"` to [(0.5, "focal"), (1.0, "tversky")]; errors as in `parse_sum`."""
    return parse_sum(
        expression, LOSSES, flag="--loss", what="loss", example="ce+dice or 0.5*focal+tversky"
    )


class HybridLoss:
    """A function of logits [B, K, H, W] and class indices [B, H, W] to the weighted sum of terms.

    Each option reaches the terms that have a parameter of its name. Raises `UserError` for a wrong
    expression, and for an option set to something no term of it uses.
    """

    def __init__(self, options: Loss) -> None:
        self.options, self.terms = options, parse_loss(options.loss)
        _check_options(options, self.terms)
        _check_class_weights(options.class_weights)
        self._arguments = {
            name: {option: getattr(options, option) for option in OPTIONS[name]}
            for _, name in self.terms
        }
        # class weights on each device: copied once, not in every step
        self._weights_on: dict[torch.device, Tensor] = {}

    def __call__(
        self, logits: Tensor, target: Tensor, divisors: Mapping[str, Divisor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, a scalar with gradient, and the terms {"ce": scalar, "dice": scalar}.

        The terms are without weight and gradient. All are float32 (float64 for float64 logits),
        also under autocast, and stay on the device. `divisors`, by term, are for a batch that is
        one of several; a term without one divides by what its own batch has.
        """
        divisors = divisors or {}
        with torch.autocast(logits.device.type, enabled=False):
            logits = working(logits, target)
            weights = self._class_weights(logits.device, logits.dtype)
            if weights is not None:
                _check_binary_weights(self.options.loss, self.terms, classes=logits.shape[1])
            parts = {}
            for _, name in self.terms:
                arguments = self._arguments[name] | {"divisor": divisors.get(name, own)}
                if weights is not None and "class_weights" in arguments:
                    arguments["class_weights"] = class_weights_of(weights, logits)
                parts[name] = LOSSES[name](logits, target, **arguments)
            total = sum(weight * parts[name] for weight, name in self.terms)
        return total, {name: part.detach() for name, part in parts.items()}

    def divisors(self, target: Tensor) -> dict[str, Tensor]:
        """What each term divides by on class indices [B, H, W]: float32 scalars on the device.

        Those that the masks alone decide, hence not that of `ohem`.
        """
        weights = self._class_weights(target.device, torch.float32)
        found = {}
        for _, name in self.terms:
            if name in BY_PIXELS:
                found[name] = BY_PIXELS[name](target, weights, IGNORE_INDEX)
            elif name not in BY_LOGITS:
                found[name] = image_divisor(target, IGNORE_INDEX)
        return found

    def _class_weights(self, device: torch.device, dtype: torch.dtype) -> Tensor | None:
        """The class weights on this device; None where there are none."""
        if self.options.class_weights is None:
            return None
        if device not in self._weights_on:
            weights = torch.tensor(self.options.class_weights, dtype=dtype)
            self._weights_on[device] = weights.to(device)
        return self._weights_on[device]


def hybrid_loss(options: Loss | None = None) -> HybridLoss:
    """The hybrid loss of these options, by default `ce+dice`; errors as in `HybridLoss`."""
    return HybridLoss(options or Loss())


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
