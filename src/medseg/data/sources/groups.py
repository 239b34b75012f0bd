"""Which images belong together, and must share a part: those of a video sequence or a patient."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.data.sample import Dataset, Item
from medseg.errors import UserError

COLUMNS = ("name", "group")


def read_groups(file: Path) -> dict[str, str]:
    """Group by name, from a table with the columns `name` and `group`.

    Raises `UserError` for other columns.
    """
    with open(file, newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if rows and not set(COLUMNS) <= rows[0].keys():
        raise UserError(
            f"{file}: expected the columns {' and '.join(COLUMNS)}, found"
            f" {', '.join(filter(None, rows[0]))}"
        )
    return {row["name"]: row["group"] for row in rows if row["group"]}


def groups_in(folder: Path) -> dict[str, str]:
    """The groups.csv in a folder; empty where there is none."""
    file = folder / "groups.csv"
    return read_groups(file) if file.is_file() else {}


def groups_beside(folder: Path) -> dict[str, str]:
    """The groups.csv in a folder of masks or beside it; empty where there is none."""
    for place in (folder, folder.resolve().parent):
        if (place / "groups.csv").is_file():
            return groups_in(place)
    return {}


def regroup(dataset: Dataset, groups: Mapping[str, str]) -> Dataset:
    """The data set with these groups in place of the known ones; the other images have none."""
    parts = {
        part: tuple(replace(item, group=groups.get(item.name)) for item in items)
        for part, items in dataset.parts.items()
    }
    return replace(dataset, parts=parts)


def choose_groups(dataset: Dataset, groups: str) -> Dataset:
    """The data set with its known groups ("known"), none ("none"), or those of a CSV name,group.

    Raises `UserError` for a file that is not there, has other columns, or names none of the images.
    """
    if groups == "known":
        return dataset
    if groups == "none":
        return regroup(dataset, {})
    file = Path(groups).expanduser()
    if not file.is_file():
        raise UserError(
            f"--groups {groups}: no such file; expected a CSV with the columns name and group,"
            " known, or none"
        )
    found = regroup(dataset, read_groups(file))
    if not any(item.group for items in found.parts.values() for item in items):
        raise UserError(
            f"--groups {groups}: names none of the images of {dataset.name}; the column name holds"
            " names of images without extension"
        )
    return found


def leak_stamp(evaluated: Sequence[Item], seen: Sequence[Item]) -> str:
    """The warning on numbers of `evaluated` images of which training or selection saw some.

    Seeing others of their groups counts too. An empty text where nothing leaks.
    """
    names = {item.name for item in seen}
    groups = {item.group for item in seen if item.group}
    known = sum(item.name in names for item in evaluated)
    related = sum(item.group in groups and item.name not in names for item in evaluated)
    facts = []
    if known:
        facts.append(f"{known} of {len(evaluated)} images were trained on or chosen by")
    if related:
        shared = len({item.group for item in evaluated} & groups)
        facts.append(
            f"{related} of {len(evaluated)} images come from {shared} video sequences or patients"
            " that training or selection saw"
        )
    if not facts:
        return ""
    return f"LEAKY: {' and '.join(facts)}; expect lower numbers on new patients"


def groups_of(dataset: Dataset) -> dict[str, str | None]:
    """The group of each image by name, from groups.csv or the catalog; None where not known."""
    return {item.name: item.group for items in dataset.parts.values() for item in items}
