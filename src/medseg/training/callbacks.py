"""What the training loop calls: the six callbacks, and what the user watches through them.

That is a progress bar or one line per epoch, metrics.csv, and TensorBoard.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from medseg.config import TrainConfig
from medseg.files import read_csv, write_csv
from medseg.inference.overlay import outlines
from medseg.training.state import State

Row = dict[str, Any]  # of metrics.csv: one epoch
Pictures = list[tuple[str, np.ndarray]]  # names and RGB uint8 [H, W, 3]


def _nothing(*arguments: Any) -> None:
    """The default of a callback that returns nothing."""


def _never() -> bool:
    return False


def _unmarked(name: str) -> AbstractContextManager:
    return nullcontext()


@dataclass
class Callbacks:
    """The places where the loop calls out; by default nothing happens there.

    after_step(state, losses): the losses have been read, with "lr" among them; not in each step.
    validate(epoch): the validation metrics by name; None where there is no validation.
    after_epoch(state, row, improved): an epoch is complete, `row` is its line of metrics.csv.
    save(state): the training is about to stop in mid-epoch.
    should_stop(): whether to stop after this step.
    stage(name): a context around each stage of a step, for profilers.
    """

    after_step: Callable[[State, dict[str, float]], None] = _nothing
    validate: Callable[[int], dict[str, float]] | None = None
    after_epoch: Callable[[State, Row, bool], None] = _nothing
    save: Callable[[State], None] = _nothing
    should_stop: Callable[[], bool] = _never
    stage: Callable[[str], AbstractContextManager] = _unmarked


class Monitor:
    """Progress bar, log lines, metrics.csv and TensorBoard of one run, in its first process."""

    def __init__(self, run: Path, config: TrainConfig, *, steps: int, state: State) -> None:
        """`steps` per epoch; `state` is where the training starts or resumes."""
        self.epochs, self.table = config.training.epochs, MetricsTable(run, state)
        self.bar = self.board = None
        if config.output.tensorboard:
            self.board = TensorBoard(run, state, pictures=config.output.pictures > 0)
        if config.output.progress and sys.stderr.isatty():
            self.bar = ProgressBar(config, steps, state)

    def after_step(self, state: State, losses: dict[str, float]) -> None:
        """Move the bar; `losses` holds the loss of this step and the learning rate."""
        if self.bar:
            self.bar.update(state, losses)

    def after_epoch(self, row: Row, improved: bool, draw: Callable[[], Pictures]) -> None:
        """Keep the row of an epoch; `draw` is called when pictures are wanted."""
        self.table.add(row)
        logger.info(epoch_line(row, self.epochs, improved))
        if self.board:
            self.board.add(row, improved, draw)

    def close(self) -> None:
        """Stop the bar and the writer."""
        if self.bar:
            self.bar.close()
        if self.board:
            self.board.close()


class MetricsTable:
    """The rows of metrics.csv; those after the epoch that is resumed are run again."""

    def __init__(self, run: Path, state: State) -> None:
        self.path = run / "metrics.csv"
        self.rows = [row for row in read_csv(self.path) if row["epoch"] <= state.epoch]

    def add(self, row: Row) -> None:
        """Add an epoch and write the file."""
        self.rows.append(row)
        write_csv(self.path, self.rows)


class ProgressBar:
    """A bar over all steps of a training, with the latest loss and the speed."""

    def __init__(self, config: TrainConfig, steps: int, state: State) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.steps, self.batch_size = steps, config.training.batch_size
        self.started, self.first = time.perf_counter(), state.epoch * steps + state.step
        self.bar = Progress(
            TextColumn("{task.fields[text]}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        total = config.training.epochs * steps
        self.task = self.bar.add_task("", total=total, completed=self.first, text="")
        self.bar.start()

    def update(self, state: State, losses: dict[str, float]) -> None:
        """Move the bar to `state`."""
        done = state.epoch * self.steps + state.step
        seconds = time.perf_counter() - self.started
        rate = (done - self.first) * self.batch_size / seconds
        text = (
            f"epoch {state.epoch + 1}  loss {losses['loss']:.4f}  lr {losses['lr']:.1e} "
            f" {rate:.1f} images/s"
        )
        self.bar.update(self.task, completed=done, text=text)

    def close(self) -> None:
        """Stop the bar."""
        self.bar.stop()


class TensorBoard:
    """The curves of a run, and pictures of its best epochs."""

    def __init__(self, run: Path, state: State, *, pictures: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.pictures = pictures
        purge_step = state.epoch + 1 if state.epoch else None
        self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=purge_step)

    def add(self, row: Row, improved: bool, draw: Callable[[], Pictures]) -> None:
        """The numbers of an epoch, and its pictures where it is the best so far."""
        epoch = row["epoch"]
        for name, value in row.items():
            if name != "epoch" and value == value:  # a metric may not be a number
                self.writer.add_scalar(_tag(name), value, epoch)
        if improved and self.pictures:
            for name, picture in draw():
                self.writer.add_image(f"validation/{name}", picture, epoch, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """Close the files."""
        self.writer.close()


def _tag(name: str) -> str:
    """The tag in TensorBoard of a column of metrics.csv."""
    if name.startswith("val_"):
        return f"validation/{name.removeprefix('val_')}"
    return name if name.startswith("loss/") else f"train/{name}"


def epoch_line(row: Row, epochs: int, improved: bool) -> str:
    """One line about an epoch for the log."""
    words = [
        f"epoch {row['epoch']}/{epochs}",
        f"loss {row['loss']:.4f}",
        f"lr {row['lr']:.2e}",
        f"{row['images_per_second']:.1f} images/s",
    ]
    if "val_dice" in row:
        best = " (best)" if improved else ""
        words.append(f"validation dice {row['val_dice']:.4f} iou {row['val_iou']:.4f}{best}")
    return "  ".join(words)


def draw(
    names: Sequence[str],
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
) -> Pictures:
    """Each image uint8 [H, W, C] with the outlines of its truth and its prediction [H, W]."""
    pictures = []
    for name, image, truth, prediction in zip(names, images, truths, predictions, strict=True):
        rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else np.array(image)
        pictures.append((name, outlines(rgb, truth, prediction)))
    return pictures
