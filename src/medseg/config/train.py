"""The options of `medseg train`: all sections together."""

from __future__ import annotations

from dataclasses import dataclass, field

from medseg.config.augment import Augment
from medseg.config.data import Data
from medseg.config.distill import Distill
from medseg.config.hardware import Hardware
from medseg.config.loss import Loss
from medseg.config.model import Model
from medseg.config.optim import Optim
from medseg.config.output import Output
from medseg.config.training import Training


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a network; evaluate the best weights on validation and, once, on test."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    distill: Distill = field(default_factory=Distill)
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    training: Training = field(default_factory=Training)
    hardware: Hardware = field(default_factory=Hardware)
    output: Output = field(default_factory=Output)
