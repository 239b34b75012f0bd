"""Optimisers, learning-rate schedules as functions of progress, moving averages of weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from medseg.config import Optim


def make_optimizer(model: nn.Module, config: Optim, *, fused: bool) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters.

    Biases and norm weights (one dimension) get no weight decay. Parameters below `encoder.` take
    the learning rate times `encoder_lr`. Each group keeps its factor under "factor".
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            encoder = ".encoder." in f".{name}"
            groups.setdefault((encoder, parameter.ndim > 1), []).append(parameter)
    described = [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decays else 0.0,
            "factor": config.encoder_lr if encoder else 1.0,
        }
        for (encoder, decays), parameters in groups.items()
    ]
    lr, momentum = config.lr, config.momentum
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(
                described, lr, momentum=momentum, nesterov=momentum > 0, fused=fused
            )
        case "adam":
            return torch.optim.Adam(described, lr, betas=(momentum, 0.999), fused=fused)
        case "adamw":
            return torch.optim.AdamW(described, lr, betas=(momentum, 0.999), fused=fused)
        case _:
            return torch.optim.RMSprop(described, lr, momentum=momentum, foreach=True)


def lr_factor(config: Optim, progress: float, epochs: float) -> float:
    """Learning rate over its peak, at `progress` (0 to 1) of a training of `epochs`.

    onecycle: cosine up from 1/25, cosine down to 1/10,000 (Smith and Topin 2017, arXiv 1708.07120;
    momentum stays as it is). poly, cosine, step, constant: linear warm-up, then (1 - t) ** power,
    half a cosine, a factor every `step_epochs`, 1. A warm-up longer than half of the training is
    cut to half.
    """
    warmup = min(config.warmup_epochs / epochs, 0.5)
    rising = progress < warmup
    t = progress / warmup if rising else (progress - warmup) / (1 - warmup)
    t = min(max(t, 0.0), 1.0)
    if config.schedule == "onecycle":
        low, high, at = (1 / 25, 1.0, t) if rising else (1e-4, 1.0, 1 - t)
        return low + (high - low) * (1 - math.cos(math.pi * at)) / 2
    if rising:
        return max(t, 1e-3)
    match config.schedule:
        case "poly":
            return (1 - t) ** config.poly_power
        case "cosine":
            return (1 + math.cos(math.pi * t)) / 2
        case "step":
            # rounding may leave progress * epochs just below the whole epoch that it is
            return config.step_factor ** math.floor(progress * epochs / config.step_epochs + 1e-9)
        case _:
            return 1.0


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group the learning rate times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


class MovingAverage:
    """An exponential moving average of weights and batch-norm statistics, as its own network.

    The decay rises as (1 + n) / (10 + n) up to its value, so that the average does not stay near
    the first weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights of `model`; one fused kernel for all floats."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        ours, theirs = self.model.state_dict(), model.state_dict()
        floats = [key for key, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[key] for key in floats], [theirs[key] for key in floats], weight)
        for key in ours.keys() - set(floats):
            ours[key].copy_(theirs[key])
