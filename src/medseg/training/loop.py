"""The training loop.

Nothing in a step waits for the device: losses are read every few steps, and on the CPU, where
reading is free, in each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from loguru import logger
from torch import Tensor, nn

from medseg.augment.batch import Parameters, augment
from medseg.config import TrainConfig, Training
from medseg.data.batches import Batch, TrainBatches
from medseg.errors import Interrupted, UserError
from medseg.preprocessing import Preprocessing
from medseg.training.callbacks import Callbacks
from medseg.training.optim import MovingAverage, lr_factor, set_lr
from medseg.training.runtime import agree
from medseg.training.state import State
from medseg.training.sums import Sums
from medseg.training.tasks import TaskBatch
from medseg.training.updates import Share, shares


@dataclass
class Loop:
    """What the loop works on; `callbacks` are all that it calls besides.

    `teacher_logits`, where there is one, gives the stored logits of a batch's images, warped by the
    parameters of their augmentation.
    """

    config: TrainConfig
    fabric: Fabric
    task: nn.Module  # as Fabric wraps it
    optimizer: Any  # as Fabric wraps it
    batches: TrainBatches
    preprocessing: Preprocessing
    average: MovingAverage | None = None
    callbacks: Callbacks = field(default_factory=Callbacks)
    teacher_logits: Callable[[Batch, Parameters], Tensor] | None = None


def run(loop: Loop, state: State) -> State:
    """Train from `state` to the end of the last epoch, of the time budget or of the patience.

    Raises `Interrupted` after saving when the user stops it, and `UserError` when the loss is no
    longer a number.
    """
    training = loop.config.training
    while not _finished(training, state):
        started = time.perf_counter()
        elapsed_before, first_step = state.elapsed, state.step
        out_of_time = run_epoch(loop, state)
        steps, seconds = state.step - first_step, state.elapsed - elapsed_before
        row: dict[str, Any] = {"epoch": state.epoch + 1, "lr": loop.optimizer.param_groups[0]["lr"]}
        row |= {name: value / max(1, state.step) for name, value in state.sums.items()}
        row["images_per_second"] = steps * training.batch_size / max(1e-9, seconds)
        last = state.epoch + 1 == training.epochs or out_of_time
        improved = _validate(loop, state, row, last=last)
        state.elapsed = elapsed_before + agree(loop.fabric, False, time.perf_counter() - started)[1]
        row["seconds"] = state.elapsed
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        loop.callbacks.after_epoch(state, row, improved)
    if loop.fabric.is_global_zero:
        _log_early_end(training, state)
    return state


def _out_of_time(training: Training, state: State) -> bool:
    return bool(training.time_budget) and state.elapsed >= training.time_budget


def _out_of_patience(training: Training, state: State) -> bool:
    return 0 < training.patience <= state.stale


def _finished(training: Training, state: State) -> bool:
    return (
        state.epoch >= training.epochs
        or _out_of_time(training, state)
        or _out_of_patience(training, state)
    )


def _log_early_end(training: Training, state: State) -> None:
    """Say why a training ends before its last epoch."""
    if state.epoch >= training.epochs:
        return
    where = f"after epoch {state.epoch} of {training.epochs}"
    if _out_of_time(training, state):
        seconds = training.time_budget
        budget = f"{seconds:g} s" if seconds < 60 else f"{seconds / 60:g} min"
        logger.info(f"time budget of {budget} reached {where}")
    else:
        logger.info(
            f"no better validation {training.metric} for {state.stale} validations: stopped {where}"
        )


def _validate(loop: Loop, state: State, row: dict[str, Any], *, last: bool) -> bool:
    """Validate when due and add the metrics to `row`; whether the score is the best so far."""
    training = loop.config.training
    epoch = state.epoch + 1
    due = epoch > training.val_start and epoch % training.val_interval == 0
    if loop.callbacks.validate is None or not (due or last):
        return False
    metrics = loop.callbacks.validate(epoch)
    row |= {f"val_{name}": value for name, value in metrics.items()}
    if metrics[training.metric] > state.best:
        state.best, state.best_epoch, state.stale = metrics[training.metric], epoch, 0
        return True
    state.stale += 1
    return False


def run_epoch(loop: Loop, state: State) -> bool:
    """The steps of one epoch from `state.step` on; True when the time budget is spent."""
    config, batches, callbacks = loop.config, loop.batches, loop.callbacks
    on_cpu = batches.device.type == "cpu"
    sums = Sums(loop.fabric, batches.device, state.sums)
    started, elapsed_before = time.perf_counter(), state.elapsed
    loop.task.train()
    out_of_time = False
    waiting = shares(config, batches, loop.task.loss, loop.fabric.world_size, state)
    while not out_of_time:
        with callbacks.stage("data"):
            share = next(waiting, None)
        if share is None:
            break
        set_lr(loop.optimizer, _learning_rate(loop, state))
        sums.add(step(loop, state, share))
        state.step += 1
        state.updates += share.last
        if on_cpu or state.step % config.output.log_every == 0 or state.step == batches.steps:
            latest = sums.last()
            _check_finite(latest, state, share.batch)
            callbacks.after_step(state, latest | {"lr": loop.optimizer.param_groups[0]["lr"]})
        stop = False
        if on_cpu or loop.fabric.world_size == 1 or state.step % 16 == 0:
            elapsed = time.perf_counter() - started
            stop, elapsed = agree(loop.fabric, callbacks.should_stop(), elapsed)
            state.elapsed = elapsed_before + elapsed
        if stop and share.last:
            state.sums = sums.totals()
            callbacks.save(state)
            raise Interrupted
        out_of_time = share.last and _out_of_time(config.training, state)
    state.sums = sums.totals()
    return out_of_time


def _learning_rate(loop: Loop, state: State) -> float:
    """The scheduled learning rate, at the share of steps, or of time, that is done."""
    training, optim, steps = loop.config.training, loop.config.optim, loop.batches.steps
    done = (state.epoch * steps + state.step) / (training.epochs * steps)
    if training.time_budget:
        done = max(done, state.elapsed / training.time_budget)
    return optim.lr * lr_factor(optim, done, training.epochs)


def step(loop: Loop, state: State, share: Share) -> dict[str, Tensor]:
    """Forward and backward on one batch, and the optimiser's step after the last of an update.

    Returns the loss and its parts, scalars on the device.
    """
    optim, callbacks = loop.config.optim, loop.callbacks
    _seed_step(loop, state)
    with callbacks.stage("augmentation"):
        task_batch = _augmented(loop, share)
    with loop.fabric.no_backward_sync(loop.task, enabled=not share.last):
        with callbacks.stage("forward and loss"):
            loss, parts = loop.task(task_batch)
        with callbacks.stage("backward"):
            loop.fabric.backward(loss / share.count)
    if share.last:
        with callbacks.stage("optimiser"):
            if optim.clip:
                loop.fabric.clip_gradients(
                    loop.task, loop.optimizer, max_norm=optim.clip, error_if_nonfinite=False
                )
            loop.optimizer.step()
            loop.optimizer.zero_grad(set_to_none=True)
            if loop.average:
                loop.average.update(loop.task.network)
    return {"loss": loss.detach()} | {f"loss/{name}": value for name, value in parts.items()}


def _seed_step(loop: Loop, state: State) -> None:
    """Make dropout a function of (seed, step, process), so that a resumed run repeats it."""
    rank = loop.fabric.global_rank
    key = hash((loop.config.training.seed, state.epoch, state.step, rank))
    torch.manual_seed(key & 0x7FFFFFFF)


def _augmented(loop: Loop, share: Share) -> TaskBatch:
    """The batch as the task takes it: augmented, normalised, channels-last."""
    batch, parameters = share.batch, share.parameters
    image, mask = augment(
        batch.image, batch.mask, parameters, loop.config.augment, loop.preprocessing
    )
    image = image.contiguous(memory_format=torch.channels_last)
    taught = loop.teacher_logits(batch, parameters) if loop.teacher_logits else None
    return TaskBatch(image, mask, taught, share.divisors)


def _check_finite(losses: dict[str, float], state: State, batch: Batch) -> None:
    """`UserError` when a loss is infinite or not a number."""
    wrong = [name for name, value in losses.items() if not math.isfinite(value)]
    if wrong:
        images = ", ".join(batch.names[:4]) + (", ..." if len(batch.names) > 4 else "")
        raise UserError(
            f"{' and '.join(wrong)} became {losses[wrong[0]]} in epoch {state.epoch + 1}, step"
            f" {state.step} (images {images}); the last good state is in last.pt: lower --lr, set"
            " --clip 1, or use --precision fp32"
        )
