"""Grouped folds over train and validation."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from medseg.data.sample import Dataset, Item
from medseg.errors import UserError


def fold_datasets(dataset: Dataset, count: int) -> list[Dataset]:
    """One data set a fold: its images are the validation part, all other ones of train and
    validation the train part.

    Images of one group (one without a group is a group by itself) are never divided. Groups go,
    largest first, to the fold with the fewest images; the order of equal ones hangs on their names
    alone. Raises `UserError` for fewer groups than folds.
    """
    groups: dict[str, list[Item]] = {}
    for part in ("train", "validation"):
        for item in dataset.parts.get(part, ()):
            groups.setdefault(
                f"group {item.group}" if item.group is not None else f"image {item.name}", []
            ).append(item)
    if count < 2 or len(groups) < count:
        raise UserError(
            f"--folds {count}: {len(groups)} groups of images (train and validation) make 2 to"
            f" {len(groups)} folds"
        )
    folds: list[list[Item]] = [[] for _ in range(count)]
    for name in sorted(
        groups, key=lambda name: (-len(groups[name]), hashlib.blake2b(name.encode()).digest())
    ):
        min(folds, key=len).extend(groups[name])
    made = []
    for fold in folds:
        others = tuple(item for other in folds if other is not fold for item in other)
        made.append(replace(dataset, parts={"train": others, "validation": tuple(fold)}))
    return made
