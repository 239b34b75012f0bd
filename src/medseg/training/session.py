"""`medseg train` for one seed and one split: from a config to a run folder that explains itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning_fabric import Fabric

from medseg.config import TrainConfig, flatten
from medseg.data.batches import TrainBatches
from medseg.data.masks import MaskCoding
from medseg.data.sample import Dataset
from medseg.errors import Interrupted, Pruned
from medseg.losses import hybrid_loss
from medseg.models import network_arguments
from medseg.runs import Checkpoint
from medseg.training import loop as engine
from medseg.training.callbacks import Callbacks, Monitor, Row
from medseg.training.distillation import find_teachers, warn_of_leak
from medseg.training.learner import Learner, make_learner, make_network
from medseg.training.memory import check_batch_size
from medseg.training.parts import Parts, check, load_parts
from medseg.training.profile import Profile
from medseg.training.resume import check_coding, load_last
from medseg.training.run_folder import in_use, open_run_folder
from medseg.training.runtime import agree, explain, is_first_process, make_fabric
from medseg.training.signals import stop_on_signals
from medseg.training.state import State
from medseg.training.validation import Validation

GiveUp = Callable[[Row], bool]


def train(
    config: TrainConfig,
    *,
    dataset: Dataset | None = None,
    coding: MaskCoding | None = None,
    give_up: GiveUp | None = None,
) -> dict[str, Any]:
    """Train, then evaluate the chosen weights on validation and, once, on test.

    `dataset` takes the place of the one that the config names: its parts, and only these, are used.
    `coding` is how its masks are read, where more images than these have decided that.
    `give_up` is called after each epoch, in the first process, with the row of metrics.csv; where
    it returns True all processes stop.

    Returns {"run": folder, "summaries": {part: summary}}. Raises `UserError` for wrong use and for
    a loss that is no longer a number, `Interrupted` when stopped by the user, with
    everything saved, and `Pruned` when given up.
    """
    stored = load_last(config.output.resume) if config.output.resume else None
    check(config)
    hybrid_loss(config.loss)  # refuses wrong options before the data is read
    fabric, precision = make_fabric(config.hardware)
    parts = load_parts(config, world=fabric.world_size, dataset=dataset, coding=coding)
    if stored:
        check_coding(config.output.resume, stored, parts.coding)
    config = parts.config
    teachers = find_teachers(config, parts, fabric.device.type, stored)
    if config.model.init and stored is None:
        warn_of_leak("--init", config.model.init, parts.dataset)
    network = make_network(config, parts.coding.classes, resumed=stored is not None)
    if fabric.device.type == "cpu":
        check_batch_size(config, network, precision)
    run = open_run_folder(config, parts.dataset) if is_first_process() else None
    with in_use(run):
        try:
            fabric.launch()
            learner = make_learner(config, parts, network, teachers, fabric)
            validation = Validation(config, fabric, precision, parts)
            Session(config, fabric, parts, learner, validation, run, give_up).fit(stored)
            summaries = validation.report(run) if run else {}
        except Interrupted:
            raise Interrupted(str(run)) from None
        except RuntimeError as error:
            raise explain(error, config) from None
    if dist.is_initialized():
        dist.destroy_process_group()
    return {"run": str(run), "summaries": summaries}


@dataclass
class Session:
    """One process of one training, and what it writes into the run folder."""

    config: TrainConfig
    fabric: Fabric
    parts: Parts
    learner: Learner
    validation: Validation
    run: Path | None  # None but in the first process
    give_up: GiveUp | None = None

    def fit(self, stored: Checkpoint | None) -> None:
        """Train to the end, from the start or from what last.pt has `stored`."""
        config, learner = self.config, self.learner
        state = State()
        if stored:
            learner.restore(stored)
            state = State(**stored.training["state"])
        if config.hardware.compile:
            learner.task.forward_pass.compile()
        task, optimizer = self.fabric.setup(learner.task, learner.optimizer)
        loop = engine.Loop(
            config,
            self.fabric,
            task,
            optimizer,
            self._batches(),
            self.parts.preprocessing,
            learner.average,
        )
        if learner.distillation:
            loop.teacher_logits = learner.distillation.teacher_logits
        monitor = None
        if self.run:
            monitor = Monitor(self.run, config, steps=loop.batches.steps, state=state)
        with stop_on_signals() as should_stop, self._profile() as profile:
            loop.callbacks = self._callbacks(should_stop, monitor, profile)
            try:
                engine.run(loop, state)
            finally:
                if monitor:
                    monitor.close()

    def _batches(self) -> TrainBatches:
        """This process's share of the training batches."""
        training = self.config.training
        return TrainBatches(
            self.parts.train,
            batch_size=training.batch_size,
            seed=training.seed,
            device=self.fabric.device,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
            window=self.parts.window,
        )

    def _profile(self) -> AbstractContextManager[Profile | None]:
        """The profiler that --profile asks for, or a context without one."""
        if self.run and self.config.hardware.profile:
            return Profile(self.run, self.fabric.device)
        return nullcontext()

    def _callbacks(
        self, should_stop: Callable[[], bool], monitor: Monitor | None, profile: Profile | None
    ) -> Callbacks:
        callbacks = Callbacks(
            validate=self._validate,
            after_epoch=partial(self._after_epoch, monitor),
            save=self._save,
            should_stop=should_stop,
        )
        if monitor:
            callbacks.after_step = monitor.after_step
        if profile:
            callbacks.stage = profile.stage
        return callbacks

    def _validate(self, epoch: int) -> dict[str, float]:
        output = self.config.output
        keep = output.pictures if self.run and output.tensorboard else 0
        return self.validation.metrics(self.learner.evaluated, keep=keep)

    def _after_epoch(self, monitor: Monitor | None, state: State, row: Row, improved: bool) -> None:
        """Save the weights, show the numbers, and stop where `give_up` says so."""
        if monitor:
            if improved and self.config.training.select == "best":
                self._checkpoint(state).save(self.run / "best.pt")
            monitor.after_epoch(row, improved, self.validation.pictures)
            self._save(state)
        if self.give_up:
            wanted = self.run is not None and self.give_up(row)
            if agree(self.fabric, wanted, 0.0)[0]:
                raise Pruned

    def _save(self, state: State) -> None:
        """Write last.pt, from which the training can be resumed."""
        if self.run:
            checkpoint = self._checkpoint(state)
            kept = self.learner.training_state(state)
            replace(checkpoint, training=kept).save(self.run / "last.pt")

    def _checkpoint(self, state: State) -> Checkpoint:
        coding = self.parts.coding
        return Checkpoint(
            network=network_arguments(self.config, coding.classes),
            weights=self.learner.evaluated.state_dict(),
            preprocessing=self.parts.preprocessing,
            classes=coding.classes,
            mask_kind=coding.kind,
            coding=coding.to_dict(),
            epoch=state.epoch,
            score=state.best,
            metric=self.config.training.metric,
            config=flatten(self.config),
        )
