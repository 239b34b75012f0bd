"""Training steps: that of `medseg train`, and the plain way of doing the same."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from medseg.augment.batch import augment, sample
from medseg.bench.inputs import plain_device, scene_batches
from medseg.bench.steps import repeated, with_scaled_stages
from medseg.bench.turns import Reading, Work
from medseg.config import TrainConfig
from medseg.data.batches import TrainBatches
from medseg.models import create_model, network_arguments
from medseg.training import loop as training_loop
from medseg.training.optim import make_optimizer
from medseg.training.parts import make_preprocessing
from medseg.training.profile import StageTimer, wait_for
from medseg.training.runtime import make_fabric
from medseg.training.state import State
from medseg.training.tasks import make_objective


def train(config: TrainConfig, folder: Path) -> Work:
    """The training step as `medseg train` runs it.

    Stages are measured in every step on the CPU and in every fourth elsewhere, where waiting for
    each would slow the rest.
    """
    fabric, _ = make_fabric(config.hardware)
    fabric.launch()
    model = create_model(**network_arguments(config, 2), encoder_weights=None)
    model = model.to(fabric.device, memory_format=torch.channels_last)
    optimizer = make_optimizer(model, config.optim, fused=fabric.device.type != "mps")
    if config.hardware.compile:
        model.compile()
    model, optimizer = fabric.setup(model, optimizer)
    batches = scene_batches(config, folder, fabric.device)
    loop = bare_loop(config, fabric, model, optimizer, batches)
    model.train()
    state = State()
    unmeasured = loop.stage
    measure_every = 1 if fabric.device.type == "cpu" else 4
    numbers = count(1)

    def step() -> Reading:
        timer = StageTimer(fabric.device)
        loop.stage = timer.stage if next(numbers) % measure_every == 0 else unmeasured
        started = time.perf_counter()
        with loop.stage("data"):
            batch = next(batches.epoch(state.epoch, state.step))
        training_loop.step(loop, state, batch, True)
        wait_for(fabric.device)
        seconds = time.perf_counter() - started
        state.epoch += 1
        return Reading(config.training.batch_size, seconds, timer.seconds)

    return with_scaled_stages(repeated(step))


def bare_loop(
    config: TrainConfig, fabric: Fabric, model: nn.Module, optimizer: Any, batches: TrainBatches
) -> training_loop.Loop:
    """The training loop without validation, checkpoints and progress."""
    return training_loop.Loop(
        config,
        fabric,
        model,
        optimizer,
        make_objective(config),
        batches,
        make_preprocessing(config),
        None,
        None,
        after_step=lambda state, terms: None,
        after_epoch=lambda state, row, improved: None,
        save=lambda state: None,
        stop=lambda: False,
    )


def plain_train(config: TrainConfig, folder: Path) -> Work:
    """float32, contiguous, eager, AdamW by its defaults, the loss read in every step.

    The data and the augmentation are the same.
    """
    device = plain_device(config)
    model = create_model(**network_arguments(config, 2), encoder_weights=None).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr)
    objective = make_objective(config)
    batches = scene_batches(config, folder, device)
    preprocessing = make_preprocessing(config)
    mean, std = preprocessing.constants(device)
    epochs = count()

    def step() -> Reading:
        started = time.perf_counter()
        epoch = next(epochs)
        batch = next(batches.epoch(epoch))
        parameters = sample(config.augment, 0, epoch, batch.keys)
        image, mask = augment(
            batch.image,
            batch.mask,
            parameters,
            config.augment,
            size=preprocessing.size,
            mean=mean,
            std=std,
        )
        loss, _ = objective(model, image.contiguous(), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        return Reading(len(batch.names), time.perf_counter() - started)

    return repeated(step)
