"""What is evaluated: the images of a part, and what a reader must know about their split."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from loguru import logger

from medseg.config import EvaluateConfig
from medseg.data.remembered import check_place
from medseg.data.sample import Dataset, Item
from medseg.data.sources.folder import locate, open_dataset
from medseg.data.sources.names import some
from medseg.data.sources.rules import Rule
from medseg.errors import UserError
from medseg.evaluation.results import FILES
from medseg.evaluation.stamp import (
    BEFORE,
    copies_among,
    copies_of,
    own_stamp,
    split_stamp,
    stamp_by_ancestors,
    stamp_of_other,
    stamp_of_seen,
)
from medseg.files import results_folder
from medseg.hardware import cores
from medseg.inference.exported import Card
from medseg.runs import Run

SEEN = ("train", "validation")  # the parts that weights are trained on or selected by


class Place(Protocol):
    """Where data lie and how they pair: options of a command; None is as the run found them."""

    data: str | None
    data_root: Path | None
    images: str | None
    masks: str | None


@dataclass(frozen=True)
class Target:
    """The images `items` of a `part` of a data set, and the `stamp` of their split."""

    dataset: Dataset
    part: str
    items: tuple[Item, ...]
    stamp: dict[str, Any]
    is_own: bool = False  # the data of the run's training

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
    """The run's own images, where they lie now, or the part of another set that `config` names."""
    part, workers = config.split_part, config.workers or cores()
    if config.split is None and (config.data is None or is_own(run, part, config)):
        return own_target(run, part, config, workers)
    given, root = run.place
    root = config.data_root or root
    if config.data is None:
        check_place(run.folder, given)
    rule = _rule(config)
    rule = rule.over(run.pairing_rule) if config.data is None else rule
    dataset = open_dataset(
        config.data or given, data_root=root, split=config.split, pages=config.pages, rule=rule
    )
    items = tuple(items_of(dataset, part))
    same = config.data is None or _same_set(config.data, given, root)
    stamp = _stamp_by_other_split(run, dataset, part, same=same)
    return Target(dataset, part, items, stamp_by_ancestors(stamp, run.folder, items, part, workers))


def target_of_file(card: Card, config: EvaluateConfig) -> Target:
    """The part of a data set on which an exported file is evaluated.

    A file knows its training images by their digests only, so `config` names the data.
    """
    if config.data is None:
        raise UserError(
            f"{config.run}: an exported file does not know where data lie; give --data NAME|PATH"
        )
    root, part = config.data_root or Path("data"), config.split_part
    dataset = open_dataset(
        config.data, data_root=root, split=config.split, pages=config.pages, rule=_rule(config)
    )
    items = tuple(items_of(dataset, part))
    before = BEFORE.get(part, SEEN)
    seen = {digest for each in before for digest in card.seen.get(each, ())}
    copies = copies_among(items, seen, config.workers or cores()) if seen else None
    stamp = stamp_of_other(dataset, part, card.trained_on or "unknown data", copies)
    return Target(dataset, part, items, stamp)


def own_target(run: Run, part: str, where: Place, workers: int = 4) -> Target:
    """A part of the data that the run was trained on: the images of its lists, where they lie now.

    What has been added or has changed since is said, and noted. Raises `UserError` where one of the
    images is gone.
    """
    found = run.find(where.data, where.data_root, _rule(where))
    if found is None or (part != "all" and part not in found.dataset.parts):
        return _divided_anew(run, part, where)
    parts = found.missing if part == "all" else [part]
    missing = [name for each in parts for name in found.missing.get(each, ())]
    if missing:
        raise UserError(
            f"{run.folder}: {len(missing)} of its {part} images are not in {found.dataset.name} any"
            f" more: {some(missing)}; restore them, or say where they lie with --data (with --split"
            " what is there is evaluated as another set)"
        )
    dataset = found.dataset
    if found.added:
        note = (
            f"{dataset.name}: left out, because they are in none of the run's lists:"
            f" {some(found.added)} ({len(found.added)} in all)"
        )
        logger.info(note)
        dataset = replace(dataset, notes=(*dataset.notes, note))
    return reported_target(run, dataset, part, workers)


def reported_target(run: Run, dataset: Dataset, part: str, workers: int = 4) -> Target:
    """A part of the run's own images, `dataset`; it is said, and noted, which have changed."""
    items, remembered = tuple(items_of(dataset, part)), run.remembered()
    changed = remembered.changed(items, workers).text
    if changed:
        note = f"{part}: changed since the run read them: {changed}"
        logger.warning(note)
        dataset = replace(dataset, notes=(*dataset.notes, note))
    stamp = own_stamp(dataset, part, remembered, workers)
    stamp = stamp_by_ancestors(stamp, run.folder, items, part, workers)
    return Target(dataset, part, items, stamp, is_own=True)


def is_own(run: Run, part: str, where: Place) -> bool:
    """Whether what `where.data` names holds the images of the run itself, moved or not.

    That is so where most images of the part, or of all parts, are there by name, and of those whose
    bytes are known most have the same.
    """
    given, root = run.place
    if _same_set(where.data, given, where.data_root or root):
        return True
    found = run.find(where.data, where.data_root, _rule(where))
    if found is None:
        return False
    remembered, parts = run.remembered(), found.dataset.parts
    for wanted in ([part], list(parts)):  # a copy may hold one part only, or lack some of it
        there = [item for each in wanted for item in parts.get(each, ())]
        if 2 * len(there) > len(remembered.names(*wanted)):
            changed = remembered.changed(there)
            if 2 * len(changed.images) < changed.compared:
                return True
    return False


def _rule(where: Place) -> Rule:
    return Rule(where.images, where.masks)


def _divided_anew(run: Run, part: str, where: Place) -> Target:
    """A part that the run keeps no list of, as a trial of a search keeps none of test."""
    if where.data is None:
        check_place(run.folder, run.place[0])
    dataset = run.divided(where.data, where.data_root)
    items = tuple(items_of(dataset, part))
    if not run.remembered().parts:
        return Target(dataset, part, items, split_stamp(dataset, part), is_own=True)
    return Target(dataset, part, items, _stamp_by_other_split(run, dataset, part, same=True), True)


def items_of(dataset: Dataset, part: str) -> list[Item]:
    """The images of a part, or of all; `UserError` where it has none."""
    if part == "all":
        return list(dataset.items)
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


def _stamp_by_other_split(run: Run, dataset: Dataset, part: str, *, same: bool) -> dict[str, Any]:
    """The stamp of a data set or split that is not the run's own; `same` is whether the set is."""
    remembered = run.remembered()
    copies = None
    if remembered.digests:
        copies = copies_of(items_of(dataset, part), remembered, SEEN)
    seen = remembered.names(*SEEN)
    if seen and same:
        return stamp_of_seen(dataset, part, seen, copies or ())
    return stamp_of_other(dataset, part, run.place[0], copies, seen)


def _same_set(data: str, trained: str, root: Path) -> bool:
    """Whether both names stand for one folder, or for one set of the catalog."""
    try:
        (here, entry), (there, other) = locate(data, root), locate(trained, root)
    except UserError:  # the data of the training are no longer there
        return False
    return here.resolve() == there.resolve() or (entry is not None and entry is other)
