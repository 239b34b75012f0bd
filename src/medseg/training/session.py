"""`medseg train`: from a config to a run folder that explains itself."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from loguru import logger
from torch import nn

from medseg.config import TrainConfig, dump, flatten
from medseg.console import log_to_file, to_json
from medseg.data.batches import TrainBatches
from medseg.data.sample import Dataset
from medseg.data.sources.splits import write_split
from medseg.distill.teacher import Teacher
from medseg.environment import environment
from medseg.errors import UserError
from medseg.evaluation.conventions import PER_IMAGE, POOLED
from medseg.evaluation.counting import Counted, Decision, count
from medseg.evaluation.evaluate import Options, evaluate_items, subject_of
from medseg.evaluation.intervals import headline
from medseg.evaluation.stamp import split_stamp
from medseg.evaluation.targets import Target
from medseg.files import lock, new_folder, write_text
from medseg.inference.backends import TorchBackend
from medseg.models import create_model, network_arguments
from medseg.models.fold import fold_batch_norm
from medseg.reports.evaluation import write_report
from medseg.runs import Checkpoint, Run, load_weights
from medseg.training import loop as engine
from medseg.training.memory import check_batch_size
from medseg.training.optim import MovingAverage, make_optimizer
from medseg.training.parts import Parts, check, load_parts
from medseg.training.profile import Profile
from medseg.training.progress import Watch, draw
from medseg.training.resume import load_last, same_images
from medseg.training.runtime import (
    agree,
    explained,
    is_first_process,
    make_fabric,
    synchronise_batch_norm,
)
from medseg.training.state import State
from medseg.training.tasks import Objective, make_objective
from medseg.training.teaching import Teaching, find_teachers, make_teaching


def train(
    config: TrainConfig,
    *,
    dataset: Dataset | None = None,
    give_up: Callable[[dict[str, Any]], bool] | None = None,
) -> dict[str, Any]:
    """Train, then judge the chosen weights on validation and, once, on test.

    `dataset` takes the place of what the config names: with its parts, and only these, it is
    trained and judged. `give_up` is asked after each epoch, in the first process, with the row of
    metrics.csv; all processes stop where it says so.

    Returns {"run": folder, "summaries": {part: summary}}. Raises `UserError` for wrong use and for
    a loss that is no longer a number, `engine.Interrupted` when stopped by the user, with
    everything saved, `engine.Pruned` when given up.
    """
    stored = load_last(config.output.resume) if config.output.resume else None
    check(config)
    objective = make_objective(config)
    fabric, precision = make_fabric(config.hardware)
    parts = load_parts(config, world=fabric.world_size, dataset=dataset)
    config = parts.config
    teachers = find_teachers(config, parts, fabric.device.type, stored)
    network = network_arguments(config, parts.coding.classes)
    torch.manual_seed(config.training.seed)
    pretrained = config.model.encoder_weights if network["name"] == "smp" and not stored else None
    model = create_model(**network, encoder_weights=pretrained)
    if config.model.init is not None and not stored:
        load_weights(
            model, Checkpoint.load(config.model.init).weights, f"--init {config.model.init}"
        )
    if fabric.device.type == "cpu":
        check_batch_size(config, model, precision)
    run = _run_folder(config, parts) if is_first_process() else None
    with _kept(run):
        try:
            session = Session(config, fabric, precision, parts, network, objective, run, give_up)
            session.fit(model, stored, teachers)
            summaries = session.evaluate_all() if run else {}
        except engine.Interrupted:
            raise engine.Interrupted(str(run)) from None  # what to resume
        except RuntimeError as error:
            raise explained(error, config) from None
    if dist.is_initialized():
        dist.destroy_process_group()
    return {"run": str(run), "summaries": summaries}


@dataclass
class Session:
    """One process of one training."""

    config: TrainConfig
    fabric: Fabric
    precision: str
    parts: Parts
    network: dict[str, Any]
    objective: Objective
    run: Path | None  # None but in the first process
    give_up: Callable[[dict[str, Any]], bool] | None = None

    def fit(
        self, model: nn.Module, stored: Checkpoint | None, teachers: Sequence[Teacher] = ()
    ) -> None:
        """Train `model`, or go on from `stored`, to the end; with `teachers` it learns from them
        too.
        """
        config, fabric, parts = self.config, self.fabric, self.parts
        fabric.launch()
        state = State(**stored.training["state"]) if stored else State()
        model = model.to(fabric.device, memory_format=torch.channels_last)
        if config.hardware.sync_bn and fabric.world_size > 1:
            model = synchronise_batch_norm(model, fabric.device.type)
        average = MovingAverage(model, config.optim.ema) if config.optim.ema else None
        optimizer = make_optimizer(model, config.optim, fused=fabric.device.type != "mps")
        teaching = make_teaching(config, parts, teachers, model, fabric.device)
        if teaching:
            teaching.join(optimizer, config.optim)
        if stored:
            self._restore(stored, model, optimizer, average, teaching)
        if config.hardware.compile:
            model.compile()
        wrapped, optimizer = fabric.setup(model, optimizer)
        if teaching:
            teaching.share(fabric)
        training = config.training
        batches = TrainBatches(
            parts.train,
            batch_size=training.batch_size,
            seed=training.seed,
            device=fabric.device,
            rank=fabric.global_rank,
            world=fabric.world_size,
            window=parts.window,
            ignore_index=config.loss.ignore_index,
        )
        watch = Watch(self.run, config, steps=batches.steps, state=state) if self.run else None
        evaluated_model = average.model if average else model
        last_counted: list[Counted] = []

        def validate(epoch: int) -> dict[str, float]:
            counted = self._validate(evaluated_model)
            last_counted[:] = [counted]
            numbers = PER_IMAGE.summarise(counted.counts)
            pooled = POOLED.summarise(counted.counts)
            return numbers | {"pooled_dice": pooled["dice"], "pooled_iou": pooled["iou"]}

        def save(state: State) -> None:
            if self.run:
                kept = self._training_state(state, model, optimizer, average, teaching)
                checkpoint = replace(self._checkpoint(evaluated_model, state), training=kept)
                checkpoint.save(self.run / "last.pt")

        def after_epoch(state: State, row: dict[str, Any], improved: bool) -> None:
            if self.run:
                if improved and training.select == "best":
                    self._checkpoint(evaluated_model, state).save(self.run / "best.pt")
                watch.epoch(state, row, improved, lambda: self._draw(last_counted[0]))
                save(state)
            if self.give_up and agree(fabric, bool(self.run) and self.give_up(row), 0.0)[0]:
                raise engine.Pruned

        profile = Profile(self.run, fabric.device) if self.run and config.hardware.profile else None
        with _stop_on_signals() as stop, profile or nullcontext():
            try:
                engine.run(
                    engine.Loop(
                        config,
                        fabric,
                        wrapped,
                        optimizer,
                        teaching.around(self.objective) if teaching else self.objective,
                        batches,
                        parts.preprocessing,
                        average,
                        validate,
                        recall=teaching.recall if teaching else None,
                        after_step=watch.step if watch else lambda state, terms: None,
                        after_epoch=after_epoch,
                        save=save,
                        stop=stop,
                        stage=profile.stage if profile else lambda name: nullcontext(),
                    ),
                    state,
                )
            finally:
                if watch:
                    watch.close()

    def evaluate_all(self) -> dict[str, Any]:
        """Reports of the chosen weights on validation and, this once, on test."""
        run = Run.open(self.run)
        summaries = {}
        for part in ("validation", "test"):
            if self.parts.dataset.parts.get(part):
                try:
                    summaries[part] = self._evaluate(run, part)
                except UserError as error:  # the test part is first opened here
                    raise UserError(
                        f"{error}. The training is complete: then run medseg evaluate {self.run}"
                        f" --split-part {part}"
                    ) from None
        return summaries

    def _evaluate(self, run: Run, part: str) -> dict[str, Any]:
        """The summary of one part, its two files of numbers and its report written."""
        config, parts = self.config, self.parts
        items = parts.dataset.parts[part]
        target = Target(parts.dataset, part, items, split_stamp(parts.dataset, part))
        folder = self.run / "report" / part
        evaluation = evaluate_items(
            self._backend(run.network(self.fabric.device)),
            items,
            parts.coding,
            self._decision(),
            subject_of(run, target),
            Options(
                self._val_batch_size(),
                config.data.workers,
                config.data.cache_dir,
                config.output.progress,
            ),
        )
        evaluation.write(folder)
        write_report(folder / "report.html", evaluation)
        logger.info(f"{part}: {headline(evaluation.summary)}  {folder / 'report.html'}")
        return evaluation.summary

    def _backend(self, network: nn.Module) -> TorchBackend:
        return TorchBackend(network, self.parts.preprocessing, self.fabric.device, self.precision)

    def _decision(self) -> Decision:
        return Decision(self.parts.coding.classes, ignore_index=self.config.loss.ignore_index)

    def _val_batch_size(self) -> int:
        training = self.config.training
        return training.val_batch_size or training.batch_size // self.fabric.world_size

    def _validate(self, model: nn.Module) -> Counted:
        config = self.config
        network = fold_batch_norm(model, self.parts.preprocessing.channels)
        counted = count(
            self._backend(network.to(memory_format=torch.channels_last)),
            self.parts.validation,
            self._decision(),
            batch_size=self._val_batch_size(),
            shard=(self.fabric.global_rank, self.fabric.world_size),
            keep=range(config.output.pictures) if self.run and config.output.tensorboard else (),
        )
        if self.fabric.world_size > 1:
            counts = torch.from_numpy(counted.counts).to(self.fabric.device)
            counted.counts = self.fabric.all_reduce(counts, reduce_op="sum").cpu().numpy()
        return counted

    def _draw(self, counted: Counted) -> list[tuple[str, Any]]:
        store, fit_mask = self.parts.validation, self.parts.preprocessing.fit_mask
        index = sorted(counted.masks)
        return draw(
            [store.names[i] for i in index],
            [store.image(i) for i in index],
            [fit_mask(store.mask(i)) for i in index],
            [fit_mask(counted.masks[i]) for i in index],
        )

    def _checkpoint(self, model: nn.Module, state: State) -> Checkpoint:
        return Checkpoint(
            network=self.network,
            weights=model.state_dict(),
            preprocessing=self.parts.preprocessing,
            classes=self.parts.coding.classes,
            mask_kind=self.parts.coding.kind,
            epoch=state.epoch,
            score=state.best,
            metric=self.config.training.metric,
            config=flatten(self.config),
        )

    def _training_state(
        self,
        state: State,
        model: nn.Module,
        optimizer: Any,
        average: MovingAverage | None,
        teaching: Teaching | None,
    ) -> dict[str, Any]:
        return {
            "state": state.plain(),
            "optimizer": optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "raw": model.state_dict() if average else None,
            "average_updates": average.updates if average else 0,
            **({"distill": teaching.state()} if teaching else {}),
        }

    def _restore(
        self,
        stored: Checkpoint,
        model: nn.Module,
        optimizer: Any,
        average: MovingAverage | None,
        teaching: Teaching | None,
    ) -> None:
        kept = stored.training
        load_weights(model, kept["raw"] or stored.weights, "last.pt")
        optimizer.load_state_dict(kept["optimizer"])
        self.fabric.strategy.precision.load_state_dict(kept["scaler"])
        if teaching:
            teaching.restore(kept["distill"])
        if average:
            load_weights(average.model, stored.weights, "last.pt")
            average.updates = kept["average_updates"]


def _run_folder(config: TrainConfig, parts: Parts) -> Path:
    """The run folder with what explains it; an existing one only to resume."""
    if config.output.resume is not None:
        run = config.output.resume
        for part, items in parts.dataset.parts.items():
            same_images(run, part, [item.name for item in items])
    else:
        run = new_folder(
            config.output.out or free_name(parts.dataset.name, config.model.model),
            "--out",
            "choose another, or go on with it by --resume",
        )
        write_split(
            run / "splits",
            {part: [item.name for item in items] for part, items in parts.dataset.parts.items()},
        )
    write_text(
        run / "config.yaml",
        dump(replace(config, output=replace(config.output, resume=None, out=run))),
    )
    write_text(run / "environment.json", to_json(environment()))
    return run


def free_name(data: str, model: str) -> Path:
    """A folder below runs/ that does not exist yet."""
    name = f"{data}-{model}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = Path("runs") / name
    for number in itertools.count(2):
        if not path.exists():
            break
        path = path.with_name(f"{name}-{number}")
    return path


@contextmanager
def _kept(run: Path | None) -> Iterator[None]:
    """The run folder locked against a second process, and its log file open."""
    if run is None:
        yield
        return
    with lock(
        run / ".lock", f"{run} is in use by another process; wait for it or choose another --out"
    ):
        handle = log_to_file(run / "log.txt")
        logger.info(f"run {run}")
        try:
            yield
        finally:
            logger.remove(handle)


@contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM has come; a second one ends at once."""
    asked: list[int] = []

    def handler(number: int, frame: Any) -> None:
        asked.append(number)
        logger.warning("stopping after this step; once more to stop at once")
        signal.signal(number, before[number])

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, handler) for number in numbers}
    except ValueError:  # not the main thread: Python delivers no signals here
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
