"""What is evaluated: the images of a part, and what a reader must know about their split."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.config import EvaluateConfig
from medseg.data.sample import Dataset, Item
from medseg.data.sources.folder import locate, open_dataset
from medseg.errors import UserError
from medseg.evaluation.results import FILES
from medseg.evaluation.stamp import split_stamp, stamp_of_seen
from medseg.files import results_folder
from medseg.runs import Run


@dataclass(frozen=True)
class Target:
    """The images `items` of a `part` of a data set, and the `stamp` of their split."""

    dataset: Dataset
    part: str
    items: tuple[Item, ...]
    stamp: dict[str, Any]

    def about(self) -> dict[str, Any]:
        """Its share of the head of summary.json."""
        return {
            "data": self.dataset.name,
            "split": self.dataset.split,
            "part": self.part,
            "stamp": self.stamp,
            "notes": list(self.dataset.notes),
        }


def target_of(run: Run, config: EvaluateConfig) -> Target:
    """The run's own data, divided as for training, or what `config` names."""
    part = config.split_part
    if config.data is None and config.split is None:
        return own_target(run, part, config.data_root)
    root = config.data_root or Path(run.config["data_root"])
    dataset = open_dataset(config.data or run.config["data"], data_root=root, split=config.split)
    stamp = _stamp_of_other(run, dataset, config, root)
    return Target(dataset, part, tuple(items_of(dataset, part)), stamp)


def own_target(run: Run, part: str, data_root: Path | None = None) -> Target:
    """A part of the data that the run was trained on."""
    dataset = _with_notes_on_changes(run.dataset(data_root), run)
    return Target(dataset, part, tuple(items_of(dataset, part)), split_stamp(dataset, part))


def items_of(dataset: Dataset, part: str) -> list[Item]:
    """The images of a part, or of all; `UserError` where it has none."""
    if part == "all":
        return [item for items in dataset.parts.values() for item in items]
    items = dataset.parts.get(part, ())
    if not items:
        there = ", ".join(f"{name} ({len(each)})" for name, each in dataset.parts.items())
        raise UserError(
            f"--split-part {part}: {dataset.name} ({dataset.split}) has no such part; it has"
            f" {there}"
        )
    return list(items)


def out_folder(config: EvaluateConfig, run: Path, dataset: Dataset) -> Path:
    """The folder of the results; earlier ones in it are not replaced without --overwrite."""
    if config.out is None:
        words = (dataset.name, dataset.split, config.split_part)
        return run / "evaluate" / "-".join(re.sub(r"[^\w.-]+", "_", word) for word in words)
    return results_folder(config.out, FILES, overwrite=config.overwrite)


def _stamp_of_other(
    run: Run, dataset: Dataset, config: EvaluateConfig, root: Path
) -> dict[str, Any]:
    """The stamp of a data set or split that is not the run's own."""
    seen = [*(run.names("train") or ()), *(run.names("validation") or ())]
    trained = run.config["data"]
    if seen and _same_set(config.data or trained, trained, root):
        return stamp_of_seen(dataset, config.split_part, seen)
    text = (
        f"trained on {trained}, evaluated on {dataset.name}: whether images are in both is not"
        " known"
    )
    return {"verdict": "other", "text": text}


def _same_set(data: str, trained: str, root: Path) -> bool:
    """Whether both names stand for one folder, or for one set of the catalog."""
    try:
        (here, entry), (there, other) = locate(data, root), locate(trained, root)
    except UserError:  # the data of the training are no longer there
        return False
    return here.resolve() == there.resolve() or (entry is not None and entry is other)


def _with_notes_on_changes(dataset: Dataset, run: Run) -> Dataset:
    """The data set with a note for each part that is no longer as the run saw it."""
    notes = []
    for part, items in dataset.parts.items():
        names = run.names(part)
        if names is not None and sorted(names) != sorted(item.name for item in items):
            file = run.folder / "splits" / f"{part}.txt"
            notes.append(f"the {part} images have changed since the run was trained: see {file}")
            logger.warning(notes[-1])
    return replace(dataset, notes=(*dataset.notes, *notes))
