"""A data set with the parts that training needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg.config import Data
from medseg.data.sample import Dataset
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.rules import Rule
from medseg.data.sources.splits import hold_out as hold_out_of
from medseg.errors import UserError


def dataset_of(data: Data) -> Dataset:
    """`load_dataset` of the options of a training."""
    return load_dataset(
        data.data,
        data_root=data.data_root,
        split=data.split,
        hold_out=data.hold_out,
        pages=data.pages,
        rule=Rule(data.images, data.masks),
    )


def load_dataset(
    data: str | Path,
    *,
    data_root: Path,
    split: str | None,
    hold_out: float = 0.1,
    pages: str | None = None,
    rule: Rule | None = None,
) -> Dataset:
    """`open_dataset`, with validation images held out of train where the split has none.

    Which images are held out depends on their names alone. Raises `UserError` where there is
    nothing to train on.
    """
    dataset = open_dataset(data, data_root=data_root, split=split, pages=pages, rule=rule)
    if not dataset.parts.get("train"):
        raise UserError(
            f"{dataset.name} ({dataset.split}): has no train part, only {', '.join(dataset.parts)};"
            " choose another --split"
        )
    if not dataset.parts.get("test"):
        note = (
            f"{dataset.split} has no test part with masks: the validation part, by which weights"
            " are chosen, is all that the run is evaluated on"
        )
        dataset = replace(dataset, notes=(*dataset.notes, note))
    if dataset.parts.get("validation"):
        return dataset
    if len(dataset.parts["train"]) < 2:
        raise UserError(
            f"{dataset.name}: has one training image and no validation part; at least 2 images are"
            " needed"
        )
    train, validation = hold_out_of(dataset.parts["train"], hold_out, 0)
    note = (
        f"{dataset.split} has no validation part: {len(validation)} of"
        f" {len(dataset.parts['train'])} training images are held out to choose the best weights"
    )
    parts = {"train": tuple(train), "validation": tuple(validation)}
    return replace(
        dataset,
        parts=parts | {k: v for k, v in dataset.parts.items() if k not in parts},
        notes=(*dataset.notes, note),
    )
