"""Resuming a run: which options may change, and what must be as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger

from medseg.config import Data, TrainConfig, flatten, make, read_yaml
from medseg.data.masks import MaskCoding
from medseg.data.remembered import Found, check_place, find_again, recall
from medseg.data.sample import Dataset, Item
from medseg.data.sources.catalog import CATALOG
from medseg.data.sources.names import some
from medseg.data.sources.rules import Rule
from medseg.errors import UserError
from medseg.hardware import cores
from medseg.runs import Checkpoint

Place = TypeVar("Place", str, Path)
REMEDY = "restore them, or start anew (a training begins from the weights of a run with --init RUN)"

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
    before, after = (
        flatten(with_absolute_paths(each)) for each in (make(TrainConfig, kept), config)
    )
    changed = [name for name in after if after[name] != before[name] and name not in MAY_CHANGE]
    if changed:
        name = changed[0]
        raise UserError(
            f"--{name.replace('_', '-')}: a resumed run keeps {before[name]!r}, it cannot become"
            f" {after[name]!r}; start a new run with --init RUN to begin from its weights"
        )
    return config


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """The config with each path that leads somewhere from the current folder made absolute.

    What the run folder says then holds wherever it is read. Names, such as those of data sets of
    the catalog and of splits, stay; so does --out.
    """
    data, model = config.data, config.model
    known = data.data in CATALOG
    data = replace(
        data,
        data=data.data if known else _absolute(data.data),
        data_root=_absolute(data.data_root) if known else data.data_root,
        split=data.split and _absolute(data.split),
        cache_dir=data.cache_dir and data.cache_dir.expanduser().absolute(),
    )
    model = replace(
        model,
        init=model.init and _absolute(model.init),
        encoder_weights=model.encoder_weights and _absolute(model.encoder_weights),
    )
    teacher = config.distill.teacher and tuple(map(_absolute, config.distill.teacher))
    return replace(config, data=data, model=model, distill=replace(config.distill, teacher=teacher))


def _absolute(place: Place) -> Place:
    """The absolute form of a path that exists; anything else as it is."""
    path = Path(place).expanduser()
    return type(place)(path.absolute()) if path.exists() else place


def load_last(run: Path) -> Checkpoint:
    """The checkpoint that a training is resumed from."""
    stored = Checkpoint.load(run / "last.pt")
    if stored.training is None:
        raise UserError(f"{run / 'last.pt'}: holds weights only; start a new run with --init {run}")
    return stored


def check_coding(run: Path, stored: Checkpoint, coding: MaskCoding) -> None:
    """`UserError` where a stored value of the masks, or a class, is another than for a run.

    Names for the classes of a run that knew none are taken.
    """
    if stored.coding is None:  # an older file
        return
    before = MaskCoding.from_dict(stored.coding)
    if before.names and before.names != coding.names:
        raise UserError(
            f"{run}: was started with the classes {', '.join(before.names)}, dataset.yaml now says"
            f" {', '.join(coding.names) or 'no names'}; put it back as it was, or start anew with"
            " --init RUN"
        )
    if before.contradicted(coding) or before.threshold != coding.threshold:
        raise UserError(
            f"{run}: the masks are read in another way than when it was started:"
            f" {coding.text.removeprefix('masks: ')}, then {before.text.removeprefix('masks: ')};"
            " put the options and dataset.yaml back as they were, or start anew with --init RUN"
        )


def same_data(run: Path, data: Data, pool: Dataset | None = None) -> Dataset | None:
    """The images that a run was started with, divided as then, where they lie now.

    They are looked for in `pool`, else in what `data` names. None for a run that keeps no lists.
    Raises `UserError` where an image is gone, or where one of training or validation, or its mask,
    is not what it was: the run would become another one.
    """
    found = _find(run, data, pool)
    if found is None:
        return None
    missing = [name for names in found.missing.values() for name in names]
    if missing:
        raise UserError(
            f"{run}: {len(missing)} of its images are not in {found.dataset.name} any"
            f" more: {some(missing)}; {REMEDY}"
        )
    parts = found.dataset.parts
    items = [*parts.get("train", ()), *parts.get("validation", ())]
    unchanged(run, items, data)
    if found.added:
        logger.info(
            f"{found.dataset.name}: left out, because they are in none of the lists of {run}:"
            f" {some(found.added)} ({len(found.added)} in all)"
        )
    return found.dataset


def unchanged(run: Path, items: Sequence[Item], data: Data) -> None:
    """`UserError` where one of the items, or its mask, is not what it was for a run."""
    changed = recall(run).changed(items, data.workers or cores())
    if changed.text:
        raise UserError(
            f"{run}: {changed.text} are not what they were when it was started; {REMEDY}"
        )


def _find(run: Path, data: Data, pool: Dataset | None) -> Found | None:
    """The images of the run in `pool`, else in what `data` names."""
    if pool is not None:
        remembered = recall(run)
        return remembered.find(pool) if remembered.parts else None
    if not recall(run).parts:
        return None
    kept = run / "config.yaml"
    if not kept.exists() or data.data == read_yaml(kept).get("data"):
        check_place(run, data.data)
    return find_again(run, data.data, data.data_root, data.split, Rule(data.images, data.masks))
