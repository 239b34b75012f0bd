"""Optimiser and learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.config.fields import option


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Optimiser and learning-rate schedule."""

    optimizer: str = option("adamw", "optimiser", choices=("sgd", "adam", "adamw", "rmsprop"))
    lr: float = option(1e-3, "peak learning rate", above=0)
    encoder_lr: float = option(
        1.0, "smp: learning rate of the encoder, as a multiple of --lr", at_least=0
    )
    weight_decay: float = option(
        1e-2, "weight decay (decoupled for adamw); not applied to biases and norms", at_least=0
    )
    momentum: float = option(
        0.9, "momentum of sgd and rmsprop, beta1 of adam and adamw", at_least=0, at_most=0.9999
    )
    schedule: str = option(
        "onecycle",
        "learning-rate schedule",
        choices=("onecycle", "poly", "cosine", "step", "constant"),
    )
    warmup_epochs: float = option(
        3.0, "epochs over which the learning rate rises, for every schedule", at_least=0
    )
    poly_power: float = option(0.9, "poly: exponent", above=0)
    step_epochs: float = option(30.0, "step: epochs between two reductions", above=0)
    step_factor: float = option(0.1, "step: factor of each reduction", above=0, at_most=1)
    ema: float = option(
        0.0,
        "decay of the exponential moving average of the weights, such as 0.999; 0: no average",
        at_least=0,
        at_most=0.99999,
    )
    clip: float = option(0.0, "largest norm of the gradient; 0: no clipping", at_least=0)
    accumulate: int = option(
        1, "batches whose gradients are accumulated before an optimiser step", at_least=1
    )
