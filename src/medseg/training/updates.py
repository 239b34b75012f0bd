"""Which batches make one update of the weights, and what their losses divide by.

The batches of an update are those that are accumulated, in every process. A term of the loss that
is a mean, over pixels say, is to be the mean over all of their pixels, also where some batches have
fewer that count (ignored ones, the borders of letterbox) or lighter ones (class weights). So each
batch divides its sum by the mean divisor of all: then the mean of their gradients is the gradient
of the whole. The masks alone decide the divisors (but for `ohem`), and are warped before the first
pass. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
import torch.distributed as dist
from torch import Tensor

from medseg.augment.batch import Parameters, follow_mask, neutral, sample
from medseg.config import TrainConfig
from medseg.data.batches import Batch, TrainBatches
from medseg.losses import HybridLoss
from medseg.losses.common import Divisor
from medseg.training.state import State


@dataclass(frozen=True)
class Share:
    """One batch of an update, and how it is augmented.

    `count` is the number of batches that this process accumulates for the update. `divisors` are
    those of the update, by term of the loss; none where the update is this one batch.
    """

    batch: Batch
    parameters: Parameters
    count: int
    last: bool  # of the update, whose gradients are complete after it
    divisors: Mapping[str, Divisor]


def shares(
    config: TrainConfig, batches: TrainBatches, loss: HybridLoss, world: int, state: State
) -> Iterator[Share]:
    """The batches of an epoch from where `state` is, which has to be the start of an update.

    `world` is the number of processes, all of which have to ask. The last update of an epoch may
    have fewer batches than --accumulate.
    """
    waiting = batches.epoch(state.epoch, state.step)
    while group := list(islice(waiting, config.optim.accumulate)):
        parameters = [_parameters(config, state.epoch, batch) for batch in group]
        divisors: dict[str, Divisor] = {}
        if world > 1 or len(group) > 1:
            masks = (
                follow_mask(batch.mask, each, config.augment, config.data.size)
                for batch, each in zip(group, parameters, strict=True)
            )
            divisors = _divisors(loss, masks, world)
        for number, (batch, each) in enumerate(zip(group, parameters, strict=True), 1):
            yield Share(batch, each, len(group), number == len(group), divisors)


def _parameters(config: TrainConfig, epoch: int, batch: Batch) -> Parameters:
    """How the images of a batch are augmented in this epoch."""
    if config.augment.augment:
        return sample(config.augment, config.training.seed, epoch, batch.keys)
    return neutral(len(batch.names))


def _divisors(loss: HybridLoss, masks: Iterator[Tensor], world: int) -> dict[str, Divisor]:
    """What the terms divide by in an update of batches with these masks, uint8 [B, H, W] each."""
    each = [loss.divisors(mask) for mask in masks]
    divisors: dict[str, Divisor] = {}
    if each[0]:
        table = torch.stack([torch.stack(list(found.values())) for found in each])
        means = mean_of_processes(table.mean(dim=0), world)
        divisors = {name: _always(mean) for name, mean in zip(each[0], means, strict=True)}
    for _, name in loss.terms:
        if name not in divisors:  # known in the pass itself, when later batches are yet to come
            divisors[name] = lambda own: mean_of_processes(own, world)
    return divisors


def _always(mean: Tensor) -> Divisor:
    return lambda own: mean


def mean_of_processes(values: Tensor, world: int) -> Tensor:
    """The mean over processes of a tensor; not Fabric's reduction, which waits for all of them."""
    if world == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / world
