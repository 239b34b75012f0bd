"""What one training step minimises, as values: a function (network, image, mask) -> (loss, terms).

Where teachers' logits are kept (`--kd-cache`), those of the batch are a fourth argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightning_fabric import is_wrapped
from torch import Tensor, nn

from medseg.config import TrainConfig
from medseg.distill.lessons import Lessons
from medseg.losses import hybrid_loss

Terms = dict[str, Tensor]
LossFunction = Callable[[Tensor, Tensor], tuple[Tensor, Terms]]
Objective = Callable[..., tuple[Tensor, Terms]]


def supervised(loss: LossFunction) -> Objective:
    """The loss of the network's logits against the mask."""

    def objective(model: nn.Module, image: Tensor, mask: Tensor) -> tuple[Tensor, Terms]:
        return loss(model(image), mask)

    return objective


def deep_supervised(loss: LossFunction, weights: Sequence[float] | None = None) -> Objective:
    """The loss of the main output plus that of each auxiliary head times its weight (1 each by
    default).

    All heads of our networks are at full resolution, so the mask needs no resizing.
    """

    def objective(model: nn.Module, image: Tensor, mask: Tensor) -> tuple[Tensor, Terms]:
        outputs = ask(model, "multiscale", image)
        total, terms = loss(outputs.pop("main"), mask)
        for weight, (name, logits) in zip(
            weights or [1.0] * len(outputs), outputs.items(), strict=True
        ):
            extra, _ = loss(logits, mask)
            total = total + weight * extra
            terms = terms | {name: extra.detach()}
        return total, terms

    return objective


class Seen:
    """What a network has said of the images already, in the network's place."""

    def __init__(self, heads: dict[str, Tensor]) -> None:
        self.heads = heads

    def __call__(self, image: Tensor) -> Tensor:
        return self.heads["main"]

    def multiscale(self, image: Tensor) -> dict[str, Tensor]:
        return dict(self.heads)


def distilled(
    task: Objective, lessons: Lessons, weight: float, *, auxiliary: bool = False
) -> Objective:
    """The loss of another objective plus `weight` times what teachers add, from one pass of the
    student.

    Any objective will do for `task`: it is asked about logits that are there already. The main
    logits alone are distilled, also of a student with `auxiliary` heads. At weight 0 this is the
    task's loss, with the terms for looking at. The objective takes the teachers' logits as a fourth
    argument where they are known.
    """

    def objective(
        model: nn.Module, image: Tensor, mask: Tensor, recalled: Tensor | None = None
    ) -> tuple[Tensor, Terms]:
        features: dict[str, Tensor] = {}
        if lessons.names:
            heads, features = ask(model, "observe", image, lessons.names)
        else:
            heads = ask(model, "multiscale", image) if auxiliary else {"main": model(image)}
        loss, terms = task(Seen(heads), image, mask)
        added, more = lessons(heads["main"], features, image, recalled)
        return loss + weight * added, terms | more

    return objective


def ask(model: nn.Module, method: str, *arguments: Any) -> Any:
    """The answer of a method of the network by way of its forward: what wraps that (precision,
    processes, compiled code) applies.

    Fabric's `mark_forward_method` does so only where several processes share the network.
    """
    if not isinstance(model, nn.Module):
        return getattr(model, method)(*arguments)
    network = model.module if is_wrapped(model) else model
    network.forward = getattr(network, method)
    try:
        return model(*arguments)
    finally:
        del network.forward


def make_objective(config: TrainConfig) -> Objective:
    """The objective that a config asks for. Raises `UserError` for loss options that no term uses."""
    loss = hybrid_loss(config.loss)
    return (
        deep_supervised(loss, config.model.auxiliary_weights)
        if config.model.auxiliary
        else supervised(loss)
    )
