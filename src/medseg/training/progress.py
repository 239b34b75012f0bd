"""What the user watches during training: a progress bar or a line an epoch, metrics.csv,
TensorBoard.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from medseg.config import TrainConfig
from medseg.files import read_csv, write_csv
from medseg.inference.overlay import outlines
from medseg.training.state import State

Draw = Callable[[], list[tuple[str, np.ndarray]]]


class Watch:
    """Progress, tables and curves of one run; only the first process has one."""

    def __init__(self, run: Path, config: TrainConfig, *, steps: int, state: State) -> None:
        self.run, self.config, self.steps = run, config, steps
        rows = read_csv(run / "metrics.csv")
        self.rows = [
            row for row in rows if row["epoch"] <= state.epoch
        ]  # those after the resumed epoch are run again
        self._bar = self._task = self._board = None
        self._started, self._start_step = time.perf_counter(), state.epoch * steps + state.step
        if config.output.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(
                str(run / "tensorboard"), purge_step=state.epoch + 1 if state.epoch else None
            )
        if config.output.progress and sys.stderr.isatty():
            self._bar = self._make_bar()
            self._task = self._bar.add_task(
                "", total=config.training.epochs * steps, completed=self._start_step, text=""
            )
            self._bar.start()

    def step(self, state: State, report: dict[str, float]) -> None:
        """Move the bar; `report` holds the last loss read and the learning rate."""
        if self._bar:
            done = state.epoch * self.steps + state.step
            rate = (
                (done - self._start_step)
                * self.config.training.batch_size
                / (time.perf_counter() - self._started)
            )
            text = (
                f"epoch {state.epoch + 1}  loss {report['loss']:.4f}  lr {report['lr']:.1e} "
                f" {rate:.1f} images/s"
            )
            self._bar.update(self._task, completed=done, text=text)

    def epoch(self, state: State, row: dict[str, Any], improved: bool, draw: Draw) -> None:
        """Keep the row of an epoch; `draw` gives (name, picture) pairs when pictures are wanted."""
        self.rows.append(row)
        write_csv(self.run / "metrics.csv", self.rows)
        words = [
            f"epoch {row['epoch']}/{self.config.training.epochs}",
            f"loss {row['loss']:.4f}",
            f"lr {row['lr']:.2e}",
            f"{row['images_per_second']:.1f} images/s",
        ]
        if "val_dice" in row:
            words.append(
                f"validation dice {row['val_dice']:.4f} iou"
                f" {row['val_iou']:.4f}{' (best)' if improved else ''}"
            )
        logger.info("  ".join(words))
        if self._board:
            for name, value in row.items():
                if name != "epoch" and value == value:
                    self._board.add_scalar(_tag(name), value, row["epoch"])
            if improved and self.config.output.pictures:
                for name, picture in draw():
                    self._board.add_image(
                        f"validation/{name}", picture, row["epoch"], dataformats="HWC"
                    )
            self._board.flush()

    def close(self) -> None:
        """Stop the bar and the writer."""
        if self._bar:
            self._bar.stop()
        if self._board:
            self._board.close()

    def _make_bar(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        return Progress(
            TextColumn("{task.fields[text]}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )


def draw(
    names: Sequence[str],
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
) -> list[tuple[str, np.ndarray]]:
    """Name and picture with the outlines of truth and prediction, for each image uint8 [H, W, C]."""
    pictures = []
    for name, image, truth, prediction in zip(names, images, truths, predictions, strict=True):
        rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else np.array(image)
        pictures.append((name, outlines(rgb, truth, prediction)))
    return pictures


def _tag(name: str) -> str:
    if name.startswith("val_"):
        return f"validation/{name.removeprefix('val_')}"
    return name if name.startswith("loss/") else f"train/{name}"
