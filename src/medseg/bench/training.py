"""Training steps: those of `medseg train`, and of a plain baseline."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import torch

from medseg.augment.batch import augment, sample
from medseg.bench.inputs import plain_device, scene_batches
from medseg.bench.steps import repeated, with_scaled_stages
from medseg.bench.turns import Reading, Work
from medseg.config import TrainConfig
from medseg.models import create_model, network_arguments
from medseg.training import loop as training_loop
from medseg.training.optim import make_optimizer
from medseg.training.parts import make_preprocessing
from medseg.training.profile import StageTimer, wait_for
from medseg.training.runtime import can_fuse, make_fabric
from medseg.training.state import State
from medseg.training.tasks import TaskBatch, make_task
from medseg.training.updates import shares


def train(config: TrainConfig, folder: Path) -> Work:
    """The training step as `medseg train` runs it.

    Stages are measured in every step on the CPU and in every fourth elsewhere, where waiting for
    each would slow the rest.
    """
    fabric, _ = make_fabric(config.hardware)
    fabric.launch()
    model = create_model(**network_arguments(config, 2), encoder_weights=None)
    model = model.to(fabric.device, memory_format=torch.channels_last)
    optimizer = make_optimizer(model, config.optim, fused=can_fuse(fabric, config.optim))
    task = make_task(config, model)
    if config.hardware.compile:
        task.forward_pass.compile()
    task, optimizer = fabric.setup(task, optimizer)
    batches = scene_batches(config, folder, fabric.device)
    preprocessing = make_preprocessing(config)
    loop = training_loop.Loop(config, fabric, task, optimizer, batches, preprocessing)
    task.train()
    state = State()
    unmeasured = loop.callbacks.stage
    measure_every = 1 if fabric.device.type == "cpu" else 4
    numbers = count(1)

    def step() -> Reading:
        timer = StageTimer(fabric.device)
        loop.callbacks.stage = timer.stage if next(numbers) % measure_every == 0 else unmeasured
        started = time.perf_counter()
        with loop.callbacks.stage("data"):
            share = next(shares(config, batches, task.loss, 1, state))
        training_loop.step(loop, state, share)
        wait_for(fabric.device)
        seconds = time.perf_counter() - started
        state.epoch += 1
        return Reading(config.training.batch_size, seconds, timer.seconds)

    return with_scaled_stages(repeated(step))


def plain_train(config: TrainConfig, folder: Path) -> Work:
    """float32, contiguous, eager, AdamW by its defaults, the loss read in every step.

    The data and the augmentation are the same.
    """
    device = plain_device(config)
    model = create_model(**network_arguments(config, 2), encoder_weights=None).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr)
    task = make_task(config, model)
    batches = scene_batches(config, folder, device)
    preprocessing = make_preprocessing(config)
    epochs = count()

    def step() -> Reading:
        started = time.perf_counter()
        epoch = next(epochs)
        batch = next(batches.epoch(epoch))
        parameters = sample(config.augment, 0, epoch, batch.keys)
        image, mask = augment(batch.image, batch.mask, parameters, config.augment, preprocessing)
        loss, _ = task(TaskBatch(image.contiguous(), mask))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        return Reading(len(batch.names), time.perf_counter() - started)

    return repeated(step)
