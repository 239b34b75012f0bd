"""What one training step minimises, as values: a function (network, image, mask) -> (loss, terms)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from medseg.config import TrainConfig
from medseg.losses import hybrid_loss

Terms = dict[str, Tensor]
LossFunction = Callable[[Tensor, Tensor], tuple[Tensor, Terms]]
Objective = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Terms]]


def supervised(loss: LossFunction) -> Objective:
    """The loss of the network's logits against the mask."""
    def objective(model: nn.Module, image: Tensor, mask: Tensor) -> tuple[Tensor, Terms]:
        return loss(model(image), mask)

    return objective


def deep_supervised(loss: LossFunction, weights: Sequence[float] | None = None) -> Objective:
    """The loss of the main output plus that of each auxiliary head times its weight (1 each by default).

    All heads of our networks are at full resolution, so the mask needs no resizing.
    """
    def objective(model: nn.Module, image: Tensor, mask: Tensor) -> tuple[Tensor, Terms]:
        outputs = model.multiscale(image)
        total, terms = loss(outputs.pop("main"), mask)
        for weight, (name, logits) in zip(weights or [1.0] * len(outputs), outputs.items(), strict=True):
            extra, _ = loss(logits, mask)
            total = total + weight * extra
            terms = terms | {name: extra.detach()}
        return total, terms

    return objective


def make_objective(config: TrainConfig) -> Objective:
    """The objective that a config asks for. Raises `UserError` for loss options that no term uses."""
    given = config.loss
    loss = hybrid_loss(given.loss, class_weights=given.class_weights, ignore_index=given.ignore_index,
                       label_smoothing=given.label_smoothing, ohem_threshold=given.ohem_threshold,
                       focal_gamma=given.focal_gamma, tversky_alpha=given.tversky_alpha, tversky_beta=given.tversky_beta)
    return deep_supervised(loss, config.model.auxiliary_weights) if config.model.auxiliary else supervised(loss)
