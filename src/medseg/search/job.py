"""All that a worker of a study needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.config import SearchConfig, TrainConfig
from medseg.data.masks import MaskCoding
from medseg.data.sample import Dataset
from medseg.search.space import Space

if TYPE_CHECKING:  # asked for by name, Optuna may be missing: `study` says what to install
    import optuna

# What may differ between two workers of a study, or two calls of the command: it changes no trial's
# result, but for the rounding of the hardware.
FREE = frozenset(
    {
        "data",
        "data_root",
        "cache_dir",
        "max_pixels",
        "workers",
        "out",
        "resume",
        "tensorboard",
        "pictures",
        "log_every",
        "progress",
        "profile",
        "accelerator",
        "devices",
        "num_nodes",
        "precision",
        "threads",
        "compile",
        "deterministic",
        "val_batch_size",
    }
)


@dataclass(frozen=True)
class Job:
    """A study and the training that it varies.

    `base` is the training without the values of a trial, `coding` how the masks of all parts are
    read: trials see no test part, and have its classes all the same. `command` names the command
    that started this worker.
    """

    config: SearchConfig
    base: TrainConfig
    space: Space
    dataset: Dataset
    coding: MaskCoding
    folder: Path
    study: optuna.Study
    url: str
    command: str

    @property
    def steps(self) -> int:
        """Reports of a whole trial: folds, or epochs."""
        return self.config.data.folds or self.base.training.epochs
