"""What a training changes: the network, its moving average, the optimiser, the projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from loguru import logger
from torch import nn

from medseg.config import TrainConfig
from medseg.distill.teacher import Teacher
from medseg.models import create_model, network_arguments
from medseg.runs import Checkpoint, load_weights
from medseg.training.distillation import Distillation, make_distillation
from medseg.training.optim import MovingAverage, make_optimizer
from medseg.training.parts import Parts
from medseg.training.runtime import can_fuse
from medseg.training.state import State
from medseg.training.sync_batch_norm import synchronise_batch_norm
from medseg.training.tasks import DistilledTask, SupervisedTask, make_task


@dataclass
class Learner:
    """All that learns, on its device, before Fabric wraps the task and the optimiser."""

    fabric: Fabric
    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    distillation: Distillation | None
    task: SupervisedTask | DistilledTask

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and saved: the moving average where there is one."""
        return self.average.model if self.average else self.network

    def training_state(self, state: State) -> dict[str, Any]:
        """What last.pt needs besides the evaluated weights."""
        kept = {
            "state": state.plain(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "raw": self.network.state_dict() if self.average else None,
            "average_updates": self.average.updates if self.average else 0,
        }
        if self.distillation:
            kept["distill"] = self.distillation.state()
        return kept

    def restore(self, stored: Checkpoint) -> None:
        """Put back what last.pt holds."""
        kept = stored.training
        load_weights(self.network, kept["raw"] or stored.weights, "last.pt")
        self.optimizer.load_state_dict(kept["optimizer"])
        self.fabric.strategy.precision.load_state_dict(kept["scaler"])
        if self.distillation:
            self.distillation.restore(kept["distill"])
        if self.average:
            load_weights(self.average.model, stored.weights, "last.pt")
            self.average.updates = kept["average_updates"]


def make_network(config: TrainConfig, classes: int, *, resumed: bool) -> nn.Module:
    """The network with its first weights: random, of ImageNet, or of --init.

    A resumed run gets random ones, which last.pt replaces.
    """
    arguments = network_arguments(config, classes)
    pretrained = None
    if arguments["name"] == "smp" and not resumed:
        pretrained = config.model.encoder_weights
    torch.manual_seed(config.training.seed)
    network = create_model(**arguments, encoder_weights=pretrained)
    if config.model.init is not None and not resumed:
        start_from(
            network, Checkpoint.load(config.model.init), f"--init {config.model.init}", classes
        )
    return network


def start_from(network: nn.Module, checkpoint: Checkpoint, source: str, classes: int) -> None:
    """Copy a checkpoint's weights into the network of so many `classes`.

    From a network of another number of classes all is taken over but what has one output per class:
    the heads keep their first values, and are named. Any other difference is a `UserError` that
    begins with `source`.
    """
    own, weights = network.state_dict(), dict(checkpoint.weights)
    heads = []
    if checkpoint.classes != classes:
        heads = [
            key
            for key in own.keys() & weights.keys()
            if own[key].shape != weights[key].shape
            and own[key].shape == (classes, *weights[key].shape[1:])
            and weights[key].shape[0] == checkpoint.classes
        ]
    load_weights(network, weights | {key: own[key] for key in heads}, source)
    if heads:
        logger.info(
            f"{source}: knows {checkpoint.classes} classes, the data set has {classes}: all weights"
            f" are taken over but those of {', '.join(sorted(heads))}, which start anew"
        )


def make_learner(
    config: TrainConfig,
    parts: Parts,
    network: nn.Module,
    teachers: Sequence[Teacher],
    fabric: Fabric,
) -> Learner:
    """The learner of this process on its device, after `fabric.launch()`."""
    device = fabric.device
    network = network.to(device, memory_format=torch.channels_last)
    if config.hardware.sync_bn and fabric.world_size > 1:
        network = synchronise_batch_norm(network, device.type)
    average = MovingAverage(network, config.optim.ema) if config.optim.ema else None
    optimizer = make_optimizer(network, config.optim, fused=can_fuse(fabric, config.optim))
    distillation = make_distillation(config, parts, teachers, network, device)
    if distillation:
        distillation.add_to(optimizer, config.optim)
    task = make_task(config, network, distillation.loss if distillation else None)
    return Learner(fabric, network, optimizer, average, distillation, task)
