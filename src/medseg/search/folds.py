"""Grouped folds over train and validation."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from medseg.data.sample import Dataset, Item
from medseg.errors import UserError


def fold_datasets(dataset: Dataset, count: int) -> list[Dataset]:
    """One data set per fold: its images are the validation part, all others the train part.

    They come from train and validation. Images of one group (one without a group is a group by
    itself) are never divided. Groups go, largest first, to the fold with the fewest images; the
    order of equal ones depends on their names alone. Raises `UserError` for fewer groups than
    folds.
    """
    groups: dict[str, list[Item]] = {}
    for part in ("train", "validation"):
        for item in dataset.parts.get(part, ()):
            name = f"image {item.name}" if item.group is None else f"group {item.group}"
            groups.setdefault(name, []).append(item)
    if count < 2 or len(groups) < count:
        raise UserError(
            f"--folds {count}: {len(groups)} groups of images (train and validation) make 2 to"
            f" {len(groups)} folds"
        )

    def order(name: str) -> tuple[int, bytes]:
        return -len(groups[name]), hashlib.blake2b(name.encode()).digest()

    folds: list[list[Item]] = [[] for _ in range(count)]
    for name in sorted(groups, key=order):
        min(folds, key=len).extend(groups[name])
    datasets = []
    for fold in folds:
        others: list[Item] = []
        for other in folds:
            if other is not fold:
                others += other
        parts = {"train": tuple(others), "validation": tuple(fold)}
        datasets.append(replace(dataset, parts=parts))
    return datasets
