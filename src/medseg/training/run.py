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

import medseg
from medseg import checkpoint
from medseg.config import TrainConfig, dump, flatten
from medseg.console import log_to_file, to_json
from medseg.data.batches import TrainBatches
from medseg.data.geometry import fit_mask
from medseg.data.sample import Dataset
from medseg.data.splits import write_split
from medseg.distill.teacher import Teacher
from medseg.errors import UserError
from medseg.evaluation.intervals import headline
from medseg.evaluation.judge import Judged, judge
from medseg.evaluation.protocols import PROTOCOLS
from medseg.evaluation.run import describe, environment, judge_part
from medseg.files import lock, new_folder, read_csv, write_text
from medseg.models import create_model, network_arguments
from medseg.models.fold import fold_batch_norm
from medseg.prediction.inference import load_network
from medseg.training import engine
from medseg.training.memory import check_batch_size
from medseg.training.objectives import Objective, make_objective
from medseg.training.optim import MovingAverage, make_optimizer
from medseg.training.parts import Parts, check, load_parts
from medseg.training.profile import Profile
from medseg.training.resume import load_last, same_images
from medseg.training.runtime import (
    agree,
    explained,
    is_first_process,
    make_fabric,
    synchronise_batch_norm,
)
from medseg.training.state import State
from medseg.training.teaching import Teaching, find_teachers, make_teaching
from medseg.training.watch import Watch, draw


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
        checkpoint.load_weights(
            model, checkpoint.load(config.model.init)["weights"], f"--init {config.model.init}"
        )
    if fabric.device.type == "cpu":
        check_batch_size(config, model, precision)
    run = _run_folder(config, parts) if is_first_process() else None
    with _kept(run):
        try:
            session = Session(config, fabric, precision, parts, network, objective, run, give_up)
            session.fit(model, stored, teachers)
            summaries = session.judge_all() if run else {}
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
        self, model: nn.Module, stored: dict[str, Any] | None, teachers: Sequence[Teacher] = ()
    ) -> None:
        """Train `model`, or go on from `stored`, to the end; with `teachers` it learns from them
        too.
        """
        config, fabric, parts = self.config, self.fabric, self.parts
        fabric.launch()
        state = State(**stored["training"]["state"]) if stored else State()
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
        judged_model = average.model if average else model
        last_judged: list[Judged] = []

        def validate(epoch: int) -> dict[str, float]:
            judged = self._validate(judged_model)
            last_judged[:] = [judged]
            numbers = PROTOCOLS["per-image-foreground"](judged.counts)
            pooled = PROTOCOLS["pooled-foreground"](judged.counts)
            return numbers | {"pooled_dice": pooled["dice"], "pooled_iou": pooled["iou"]}

        def save(state: State) -> None:
            if self.run:
                checkpoint.save(
                    self.run / "last.pt",
                    self._checkpoint(judged_model, state)
                    | {
                        "training": self._training_state(state, model, optimizer, average, teaching)
                    },
                )

        def after_epoch(state: State, row: dict[str, Any], improved: bool) -> None:
            if self.run:
                if improved and training.select == "best":
                    checkpoint.save(self.run / "best.pt", self._checkpoint(judged_model, state))
                watch.epoch(state, row, improved, lambda: self._draw(last_judged[0]))
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
                        parts.given,
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

    def judge_all(self) -> dict[str, Any]:
        """Reports of the chosen weights on validation and, this once, on test."""
        config, parts = self.config, self.parts
        stored = checkpoint.load(self.run)
        model = load_network(stored, self.fabric.device)
        history = read_csv(self.run / "metrics.csv")
        summaries = {}
        for part in ("validation", "test"):
            items = parts.dataset.parts.get(part, ())
            if items:
                try:
                    summaries[part] = judge_part(
                        model,
                        items,
                        parts.coding,
                        parts.given,
                        folder=self.run / "report" / part,
                        device=self.fabric.device,
                        precision=self.precision,
                        batch_size=self._val_batch_size(),
                        config=flatten(config),
                        history=history,
                        about=describe(stored, checkpoint.find(self.run), parts.dataset, part),
                        show=config.output.progress,
                    )
                except UserError as error:  # the test part is first opened here
                    raise UserError(
                        f"{error}. The training is complete: then run medseg evaluate {self.run}"
                        f" --split-part {part}"
                    ) from None
                logger.info(
                    f"{part}: {headline(summaries[part])} "
                    f" {self.run / 'report' / part / 'report.html'}"
                )
        return summaries

    def _val_batch_size(self) -> int:
        return (
            self.config.training.val_batch_size
            or self.config.training.batch_size // self.fabric.world_size
        )

    def _validate(self, model: nn.Module) -> Judged:
        config = self.config
        network = fold_batch_norm(model, self.parts.given.channels).to(
            memory_format=torch.channels_last
        )
        judged = judge(
            network,
            self.parts.validation,
            self.parts.given,
            classes=self.parts.coding.classes,
            device=self.fabric.device,
            precision=self.precision,
            batch_size=self._val_batch_size(),
            ignore_index=config.loss.ignore_index,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
            keep=range(config.output.pictures) if self.run and config.output.tensorboard else (),
        )
        if self.fabric.world_size > 1:
            counts = torch.from_numpy(judged.counts).to(self.fabric.device)
            judged.counts = self.fabric.all_reduce(counts, reduce_op="sum").cpu().numpy()
        return judged

    def _draw(self, judged: Judged) -> list[tuple[str, Any]]:
        store, given = self.parts.validation, self.parts.given
        index = sorted(judged.masks)
        return draw(
            [store.names[i] for i in index],
            [store.image(i) for i in index],
            [fit_mask(store.mask(i), given.size, given.resize) for i in index],
            [fit_mask(judged.masks[i], given.size, given.resize) for i in index],
        )

    def _checkpoint(self, model: nn.Module, state: State) -> dict[str, Any]:
        given = self.parts.given
        return {
            "network": self.network,
            "weights": model.state_dict(),
            "classes": self.parts.coding.classes,
            "mask_kind": self.parts.coding.kind,
            "input": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in vars(given).items()
            },
            "epoch": state.epoch,
            "score": state.best,
            "metric": self.config.training.metric,
            "medseg": medseg.__version__,
            "config": flatten(self.config),
        }

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
        stored: dict[str, Any],
        model: nn.Module,
        optimizer: Any,
        average: MovingAverage | None,
        teaching: Teaching | None,
    ) -> None:
        kept = stored["training"]
        checkpoint.load_weights(model, kept["raw"] or stored["weights"], "last.pt")
        optimizer.load_state_dict(kept["optimizer"])
        self.fabric.strategy.precision.load_state_dict(kept["scaler"])
        if teaching:
            teaching.restore(kept["distill"])
        if average:
            checkpoint.load_weights(average.model, stored["weights"], "last.pt")
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
