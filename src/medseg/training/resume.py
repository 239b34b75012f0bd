"""Resuming a run: which options may change, and what must be as it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.config import TrainConfig, flatten, make, read_yaml
from medseg.errors import UserError
from medseg.runs import Checkpoint, read_names

MAY_CHANGE = frozenset(
    {
        "resume",
        "out",
        "data",
        "data_root",
        "teacher",
        "cache_dir",
        "max_pixels",
        "workers",
        "threads",
        "epochs",
        "time_budget",
        "patience",
        "val_interval",
        "val_start",
        "val_batch_size",
        "accelerator",
        "devices",
        "num_nodes",
        "tensorboard",
        "pictures",
        "log_every",
        "progress",
        "profile",
    }
)


def config_from(values: Mapping[str, Any]) -> TrainConfig:
    """A TrainConfig from flat names; with `resume` among them, over the config of that run.

    Raises `UserError` for an option that a resumed run cannot change.
    """
    options = {key.replace("-", "_"): value for key, value in values.items()}
    if options.get("resume") is None:
        return make(TrainConfig, options)
    run = Path(options["resume"])
    kept = read_yaml(run / "config.yaml") if (run / "config.yaml").exists() else {}
    if not (run / "last.pt").exists() and not (kept.get("seeds") or kept.get("folds")):
        raise UserError(
            f"--resume {run}: holds no last.pt; give the folder of a run that has saved a"
            " checkpoint"
        )
    config = make(TrainConfig, kept | options | {"out": str(run)})
    before, after = flatten(make(TrainConfig, kept)), flatten(config)
    changed = [name for name in after if after[name] != before[name] and name not in MAY_CHANGE]
    if changed:
        name = changed[0]
        raise UserError(
            f"--{name.replace('_', '-')}: a resumed run keeps {before[name]!r}, it cannot become"
            f" {after[name]!r}; start a new run with --init RUN to begin from its weights"
        )
    return config


def load_last(run: Path) -> Checkpoint:
    """The checkpoint that a training is resumed from."""
    stored = Checkpoint.load(run / "last.pt")
    if stored.training is None:
        raise UserError(f"{run / 'last.pt'}: holds weights only; start a new run with --init {run}")
    return stored


def same_images(run: Path, part: str, names: list[str]) -> None:
    """`UserError` when the images of a part are not those the run was started with."""
    before = read_names(run, part)
    if before is not None and sorted(before) != sorted(names):
        raise UserError(
            f"--resume {run}: was started with {len(before)} {part} images, now there are"
            f" {len(names)} others; restore the data or start a new run with --init"
        )
