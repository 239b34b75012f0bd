"""`medseg data split`: folds for cross-validation that keep groups together, as text lists."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from medseg.config import SplitConfig
from medseg.console import print_table, progress, to_json
from medseg.data.masks import Declared, declared_by, read_classes, survey
from medseg.data.sample import Dataset, Item
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.groups import TABLE, leak_stamp, write_groups
from medseg.data.sources.pages import file_name
from medseg.data.sources.rules import Rule
from medseg.data.sources.splits import write_split
from medseg.errors import UserError
from medseg.files import new_folder, write_text
from medseg.hardware import cores
from medseg.leaks.fingerprints import fingerprints
from medseg.leaks.matching import clusters, exact_pairs, near_pairs
from medseg.version import __version__

SIZES = 4  # strata of equally many images by share of foreground, beside the one of empty masks
AUTO = Declared()
SOURCES = {"auto": "auto: clusters of images that show the same scene"}  # of groups, in split.json


def split(config: SplitConfig) -> dict[str, Any]:
    """Write a folder of part lists and groups.csv per fold, and split.json.

    Fold k is the test part, the next one the validation part (none for two folds), the rest is for
    training: so each image is tested once, and weights are selected on images that share no group
    with those. Returns the content of split.json. Raises `UserError` for fewer groups than folds,
    and where no groups are known.
    """
    dataset, items = _items(config)
    workers = config.workers or cores()
    if config.groups == "auto":
        items = _auto_groups(items, workers, config.progress)
    units = _units(dataset, items, grouped=config.scheme == "grouped-kfold")
    shares = foreground(items, workers, declared_by(config, dataset.description))
    folds = assign(units, strata(shares), config.folds, config.seed)
    name = _scheme_name(config)
    out = new_folder(
        config.out or Path("folds") / f"{dataset.name}-{name}",
        "--out",
        "choose another, or remove it first",
    )
    rows, stamps = [], []
    for fold in range(config.folds):
        parts = _parts(items, folds, fold, config.folds)
        _write_fold(out / f"{name}-fold{fold + 1}", parts, items)
        seen = [*parts["train"], *parts.get("validation", ())]
        stamps.append(leak_stamp(parts["test"], seen))
        rows.append(_row(fold, parts["test"], shares[folds == fold]))
    result = {
        "data": dataset.name,
        "scheme": name,
        "groups": SOURCES.get(config.groups, config.groups),
        "seed": config.seed,
        "folds": rows,
        "notes": _notes(config, items, stamps),
        "leaky": any(stamps),
        "medseg": __version__,
    }
    write_text(out / "split.json", to_json(result))
    for note in result["notes"]:
        logger.info(note)
    logger.info(f"{config.folds} folds in {out}; train on one with --split {out / f'{name}-fold1'}")
    return result


def _scheme_name(config: SplitConfig) -> str:
    """Such as grouped-kfold-5-seed0."""
    auto = "-auto" if config.groups == "auto" else ""
    return f"{config.scheme}-{config.folds}{auto}-seed{config.seed}"


def _units(dataset: Dataset, items: Sequence[Item], *, grouped: bool) -> list[str]:
    """What stays together with each image: its group, or its file alone, with all pages."""
    if grouped and not any(item.group for item in items):
        raise UserError(
            f"{dataset.name}: no sequences or patients are known; give --groups FILE (a CSV of"
            " name,group), or --groups auto to keep together what looks the same"
        )
    # no group starts with a blank
    return [item.group if grouped and item.group else f" {file_name(item)}" for item in items]


def _write_fold(folder: Path, parts: dict[str, list[Item]], items: Sequence[Item]) -> None:
    """The lists of a fold, and the groups of all images beside them where any are known."""
    names = {part: list(dict.fromkeys(map(file_name, of_part))) for part, of_part in parts.items()}
    write_split(folder, names)
    write_groups(folder / TABLE, {file_name(item): item.group for item in items}.items())


def _notes(config: SplitConfig, items: Sequence[Item], stamps: Sequence[str]) -> list[str]:
    """What a reader of the folds should know."""
    notes = []
    if config.groups == "auto":
        clusters_found = len({item.group for item in items})
        notes.append(
            f"groups are clusters by appearance: {clusters_found} for {len(items)} images;"
            " sequences or patients may still be divided between parts, a table of them is better"
        )
    alone = sum(item.group is None for item in items)
    if config.scheme == "grouped-kfold" and alone:
        notes.append(f"{alone} of {len(items)} images have no group and are groups of their own")
    return notes + [f"fold {fold}: {stamp}" for fold, stamp in enumerate(stamps, 1) if stamp]


def foreground(items: Sequence[Item], workers: int = 1, declared: Declared = AUTO) -> np.ndarray:
    """float64 [N]: the share of foreground in each mask, ignored pixels (255) left out."""
    coding = survey(items, declared, workers=workers)

    def share(item: Item) -> float:
        mask = read_classes(item, coding)
        counted = mask != 255
        return float((mask[counted] > 0).mean()) if counted.any() else 0.0

    return np.array([share(item) for item in items])


def strata(shares: np.ndarray) -> np.ndarray:
    """int [N]: 0 for empty masks, 1 to 4 for quarters of the others by size."""
    found = np.zeros(len(shares), int)
    filled = shares > 0
    if filled.any():
        edges = np.quantile(shares[filled], np.arange(1, SIZES) / SIZES)
        found[filled] = 1 + np.searchsorted(edges, shares[filled])
    return found


def assign(units: Sequence[str], strata: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """int [N]: the fold of each image, from 0; images of one unit share it.

    Units go one by one, the largest first and equal ones in an order drawn from `seed`, each to the
    fold that leaves the sum of squared relative counts lowest: of every stratum and of all images,
    so that folds grow alike in size, in emptiness and in sizes of lesions. (scikit-learn's
    StratifiedGroupKFold compares the deviation of label shares instead and leaves the number of
    images free.) Raises `UserError` for fewer units than folds.
    """
    names = sorted(set(units))
    if len(names) < folds:
        raise UserError(
            f"--folds {folds}: there are only {len(names)} groups; choose at most {len(names)}"
            " folds"
        )
    at = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), int(strata.max()) + 2))
    for unit, stratum in zip(units, strata, strict=True):
        counts[at[unit], stratum] += 1
        counts[at[unit], -1] += 1
    weights = 1 / np.maximum(counts.sum(axis=0), 1)
    order = list(range(len(names)))
    random.Random(f"medseg folds {seed}").shuffle(order)
    order.sort(key=lambda unit: -counts[unit, -1])
    held = np.zeros((folds, counts.shape[1]))
    chosen = np.zeros(len(names), int)
    for unit in order:
        cost = (((held + counts[unit]) * weights) ** 2 - (held * weights) ** 2).sum(axis=1)
        cost[held[:, -1] > 0] += 1e6 * bool((held[:, -1] == 0).any())  # no fold stays empty
        chosen[unit] = int(cost.argmin())
        held[chosen[unit]] += counts[unit]
    return np.array([chosen[at[unit]] for unit in units])


def _items(config: SplitConfig) -> tuple[Dataset, list[Item]]:
    """All images of the data set, whatever parts it has, in the order of their names."""
    dataset = open_dataset(
        config.data,
        data_root=config.data_root,
        pages=config.pages,
        rule=Rule(config.images, config.masks),
        groups="known" if config.groups == "auto" else config.groups,
    )
    items = sorted(dataset.items, key=lambda item: item.name)
    twice = [
        item
        for part, of_part in dataset.parts.items()
        for item in of_part
        if item.name.startswith(f"{part}/")
    ]
    if twice:
        raise UserError(
            f"{dataset.name}: images of different parts have the same names; rename them first"
        )
    return dataset, items


def _auto_groups(items: list[Item], workers: int, show: bool) -> list[Item]:
    """The items with the cluster of each as its group: images tied by a chain of same scenes."""
    with progress("read", show=show) as advance:
        prints = fingerprints(items, workers=workers, progress=advance)
    with progress("compare", show=show) as advance:
        near = near_pairs(prints, progress=advance)
    first = {item.image: index for index, item in reversed(list(enumerate(items)))}
    of_one_file = [(first[item.image], i) for i, item in enumerate(items) if item.page]
    numbers = clusters(len(items), [*exact_pairs(prints), *near, *of_one_file])
    return [
        replace(item, group=f"auto-{number + 1}")
        for item, number in zip(items, numbers, strict=True)
    ]


def _parts(
    items: Sequence[Item], folds: np.ndarray, fold: int, count: int
) -> dict[str, list[Item]]:
    """The images of each part when `fold` is tested."""
    validation = (fold + 1) % count if count > 2 else None
    parts: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
    for item, own in zip(items, folds, strict=True):
        if own == fold:
            parts["test"].append(item)
        elif own == validation:
            parts["validation"].append(item)
        else:
            parts["train"].append(item)
    if validation is None:
        del parts["validation"]
    return parts


def _row(fold: int, items: Sequence[Item], shares: np.ndarray) -> dict[str, Any]:
    """The line of a fold in split.json and on screen."""
    filled = shares[shares > 0]
    return {
        "fold": fold + 1,
        "images": len(items),
        "groups": len({item.group for item in items if item.group}),
        "empty": int((shares == 0).sum()),
        "median_foreground": float(np.median(filled)) if len(filled) else None,
    }


def show(result: dict[str, Any], config: SplitConfig) -> None:
    """Print the table of folds."""
    print_table(f"{result['data']}: {result['scheme']}", result["folds"])
