"""The training loop. Nothing in a step waits for the device: losses are read every few steps, and
on the CPU, where reading is free, in each.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medseg.augment.batch import Parameters, augment, neutral, sample
from medseg.config import TrainConfig
from medseg.config.schema import Training
from medseg.data.batches import Batch, TrainBatches
from medseg.errors import UserError
from medseg.preprocessing import Preprocessing
from medseg.training.optim import MovingAverage, lr_factor, set_lr
from medseg.training.runtime import agree
from medseg.training.state import State
from medseg.training.tasks import Objective


class Interrupted(Exception):  # noqa: N818  an outcome, not an error
    """The user asked to stop; everything is saved."""


class Pruned(Exception):  # noqa: N818  an outcome, not an error
    """A search gave this training up after an epoch."""


@dataclass
class Loop:
    """What the loop works on, and the four places where it calls out.

    after_step(state, report) is for progress; validate(epoch) returns metrics; after_epoch(state,
    row, improved) keeps files; save(state) keeps where the training stands. `stop` says whether
    somebody asked to end. `stage(name)` is entered around each stage of a step: for profilers.
    `recall`, where there is one, gives the objective its fourth argument: what is known of a
    batch's images, moved as they are.
    """

    config: TrainConfig
    fabric: Fabric
    model: nn.Module  # as Fabric wraps it
    optimizer: Any
    objective: Objective
    batches: TrainBatches
    preprocessing: Preprocessing
    average: MovingAverage | None
    validate: Callable[[int], dict[str, float]] | None
    after_step: Callable[[State, dict[str, float]], None]
    after_epoch: Callable[[State, dict[str, Any], bool], None]
    save: Callable[[State], None]
    stop: Callable[[], bool]
    stage: Callable[[str], AbstractContextManager] = lambda name: nullcontext()
    recall: Callable[[Batch, Parameters], Tensor] | None = None
    constants: tuple[Tensor, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.constants = self.preprocessing.constants(self.batches.device)


def run(loop: Loop, state: State) -> State:
    """Train from `state` to the end of the last epoch, of the time budget or of the user's
    patience.

    Raises `Interrupted` after saving when asked to stop, and `UserError` when the loss is no longer
    a number.
    """
    training = loop.config.training
    while not _done(training, state):
        started = time.perf_counter()
        earlier, first = state.elapsed, state.step
        out_of_time = run_epoch(loop, state)
        row: dict[str, Any] = {"epoch": state.epoch + 1, "lr": loop.optimizer.param_groups[0]["lr"]}
        row |= {name: value / max(1, state.step) for name, value in state.sums.items()}
        row |= {
            "images_per_second": (
                (state.step - first) * training.batch_size / max(1e-9, state.elapsed - earlier)
            )
        }
        improved = _judge(loop, state, row, last=state.epoch + 1 == training.epochs or out_of_time)
        state.elapsed = earlier + agree(loop.fabric, False, time.perf_counter() - started)[1]
        row["seconds"] = state.elapsed
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        loop.after_epoch(state, row, improved)
    return state


def _done(training: Training, state: State) -> bool:
    spent = training.time_budget is not None and state.elapsed >= training.time_budget
    return state.epoch >= training.epochs or spent or 0 < training.patience <= state.stale


def _judge(loop: Loop, state: State, row: dict[str, Any], *, last: bool) -> bool:
    """Validate when it is due, add the metrics to `row`, and say whether the score is the best so
    far.
    """
    training = loop.config.training
    due = state.epoch + 1 > training.val_start and (state.epoch + 1) % training.val_interval == 0
    if loop.validate is None or not (due or last):
        return False
    metrics = loop.validate(state.epoch + 1)
    row |= {f"val_{name}": value for name, value in metrics.items()}
    if metrics[training.metric] > state.best:
        state.best, state.best_epoch, state.stale = metrics[training.metric], state.epoch + 1, 0
        return True
    state.stale += 1
    return False


def run_epoch(loop: Loop, state: State) -> bool:
    """The steps of one epoch from `state.step` on; True when the time budget is spent."""
    training, optim = loop.config.training, loop.config.optim
    on_cpu = loop.batches.device.type == "cpu"
    sums = Sums(loop.fabric, loop.batches.device, state.sums)
    started, earlier = time.perf_counter(), state.elapsed
    loop.model.train()
    out_of_time = False
    waiting = loop.batches.epoch(state.epoch, state.step)
    while True:
        with loop.stage("data"):
            batch = next(waiting, None)
        if batch is None:
            break
        done = (state.epoch * loop.batches.steps + state.step) / (
            training.epochs * loop.batches.steps
        )
        if training.time_budget:
            done = max(done, state.elapsed / training.time_budget)
        set_lr(loop.optimizer, optim.lr * lr_factor(optim, done, training.epochs))
        steps = (state.step + 1) % optim.accumulate == 0 or state.step + 1 == loop.batches.steps
        sums.add(step(loop, state, batch, steps))
        state.step += 1
        state.updates += steps
        if (
            on_cpu
            or state.step % loop.config.output.log_every == 0
            or state.step == loop.batches.steps
        ):
            latest = sums.last()
            _check(latest, state, batch)
            loop.after_step(state, latest | {"lr": loop.optimizer.param_groups[0]["lr"]})
        stop = False
        if on_cpu or loop.fabric.world_size == 1 or state.step % 16 == 0:
            stop, elapsed = agree(loop.fabric, loop.stop(), time.perf_counter() - started)
            state.elapsed = earlier + elapsed
        if stop and steps:
            state.sums = sums.totals()
            loop.save(state)
            raise Interrupted
        if training.time_budget and state.elapsed >= training.time_budget and steps:
            out_of_time = True
            break
    state.sums = sums.totals()
    return out_of_time


def step(loop: Loop, state: State, batch: Batch, update: bool) -> dict[str, Tensor]:
    """Forward and backward on one batch, and the optimiser's step where `update`; the loss terms,
    on the device.
    """
    config = loop.config
    # dropout too is a function of (seed, step, process), so that a resumed run repeats it
    torch.manual_seed(
        hash((config.training.seed, state.epoch, state.step, loop.fabric.global_rank)) & 0x7FFFFFFF
    )
    with loop.stage("augmentation"):
        parameters = (
            sample(config.augment, config.training.seed, state.epoch, batch.keys)
            if config.augment.augment
            else neutral(len(batch.names))
        )
        image, mask = augment(
            batch.image,
            batch.mask,
            parameters,
            config.augment,
            size=loop.preprocessing.size,
            mean=loop.constants[0],
            std=loop.constants[1],
        )
        image = image.contiguous(memory_format=torch.channels_last)
        known = (loop.recall(batch, parameters),) if loop.recall else ()
    with loop.fabric.no_backward_sync(loop.model, enabled=not update):
        with loop.stage("forward and loss"):
            loss, terms = loop.objective(loop.model, image, mask, *known)
        with loop.stage("backward"):
            loop.fabric.backward(loss / config.optim.accumulate)
    if update:
        with loop.stage("optimiser"):
            if config.optim.clip:
                loop.fabric.clip_gradients(
                    loop.model, loop.optimizer, max_norm=config.optim.clip, error_if_nonfinite=False
                )
            loop.optimizer.step()
            loop.optimizer.zero_grad(set_to_none=True)
            if loop.average:
                loop.average.update(loop.model.module)
    return {"loss": loss.detach()} | {f"loss/{name}": value for name, value in terms.items()}


def _check(terms: dict[str, float], state: State, batch: Batch) -> None:
    wrong = [name for name, value in terms.items() if not math.isfinite(value)]
    if wrong:
        raise UserError(
            f"{' and '.join(wrong)} became {terms[wrong[0]]} in epoch {state.epoch + 1}, step"
            f" {state.step} (images"
            f" {', '.join(batch.names[:4])}{', ...' if len(batch.names) > 4 else ''}); the last"
            " good state is in last.pt: lower --lr, set --clip 1, or use --precision fp32"
        )


class Sums:
    """Sums of the loss terms, kept on the device until somebody reads them: their means over the
    processes.

    Every process has to read when one does.
    """

    def __init__(self, fabric: Fabric, device: torch.device, start: dict[str, float]) -> None:
        self.fabric, self.device, self.start, self.names = fabric, device, start, list(start)
        self._total: Tensor | None = None
        self._last: Tensor | None = None

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add one step's terms."""
        self.names = list(terms)
        self._last = torch.stack([value.float() for value in terms.values()])
        wide = self._last if self.device.type == "mps" else self._last.double()
        if self._total is None:
            self._total = torch.tensor(
                [self.start.get(name, 0.0) for name in self.names],
                dtype=wide.dtype,
                device=self.device,
            )
        self._total += wide

    def last(self) -> dict[str, float]:
        """The terms of the latest step (waits for the device)."""
        return self._read(self._last) if self._last is not None else {}

    def totals(self) -> dict[str, float]:
        """The sums so far (waits for the device)."""
        return self._read(self._total) if self._total is not None else dict(self.start)

    def _read(self, values: Tensor) -> dict[str, float]:
        if self.fabric.world_size > 1:
            values = self.fabric.all_reduce(values.clone(), reduce_op="mean")
        return dict(zip(self.names, values.tolist(), strict=True))
