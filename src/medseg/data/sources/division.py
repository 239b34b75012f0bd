"""Undivided images into parts, by lists that are shipped or the user's own, or at random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from medseg.data.sample import Dataset, Item
from medseg.data.sources.catalog import Entry, group_of
from medseg.data.sources.groups import TABLE, find_groups
from medseg.data.sources.names import some
from medseg.data.sources.pages import is_page
from medseg.data.sources.splits import (
    PARTS,
    random_split,
    read_split,
    shipped,
    shipped_folder,
    unknown_scheme,
)
from medseg.errors import UserError

DEFAULT_SPLIT = "random-80-10-10"


def divide(
    root: Path,
    name: str,
    entry: Entry | None,
    items: Sequence[Item],
    notes: list[str],
    split: str | None,
) -> Dataset:
    """The parts of `items`, the images of `root`, by a scheme or folder of lists; None: by default.

    What a reader should know is added to `notes`. Raises `UserError` for lists of other images.
    """
    by_name = {item.name: item for item in items}
    if split is None:
        notes.append(_note_on_default(entry))
    lists, scheme, where = lists_of(split or DEFAULT_SPLIT, entry, list(by_name))
    listed = list(chain.from_iterable(lists.values()))
    missing = [each for each in listed if each not in by_name]
    if missing:
        pages = "; lists of a split name files, whose pages stay together" * is_page(missing[0])
        raise UserError(
            f"{where}: {len(missing)} of the listed images are not in {root}, such as"
            f" {some(missing)}{pages}"
        )
    if len(listed) < len(items):
        notes.append(
            f"{len(items) - len(listed)} of {len(items)} images are in no list of {scheme} and left"
            " out"
        )
    # `medseg data split` writes the groups that its lists were made by beside them
    table = Path(split or "") / TABLE
    groups = find_groups(table, items) if split and table.is_file() else {}

    def item_of(each: str) -> Item:
        item = by_name[each]
        return with_group(replace(item, group=groups.get(each, item.group)), entry)

    parts = {part: tuple(map(item_of, lists[part])) for part in PARTS if lists.get(part)}
    return Dataset(name, scheme, parts, tuple(notes))


def scheme_name(split: str | None) -> str:
    """The full name of a scheme, or of a folder of lists that need not be there any more."""
    name = Path(split or DEFAULT_SPLIT).name
    return f"{name}-seed0" if name.startswith("random-") and "-seed" not in name else name


def _note_on_default(entry: Entry | None) -> str:
    """What to say where nobody asked for a split."""
    published = shipped(entry.folder) if entry else []
    advice = f"; published: {', '.join(published)}" if published else ""
    return (
        f"no --split given: using {DEFAULT_SPLIT} (seed 0), which leaks where images come from"
        f" videos{advice}"
    )


def lists_of(
    scheme: str, entry: Entry | None, names: Sequence[str]
) -> tuple[dict[str, list[str]], str, str]:
    """The names by part of a scheme or folder of lists, its full name, and how it was given."""
    where = f"--split {scheme}"
    if Path(scheme).is_dir():
        return read_split(Path(scheme), names), Path(scheme).resolve().name, where
    if scheme.startswith("random-"):
        full = scheme if "-seed" in scheme else f"{scheme}-seed0"
        return random_split(names, scheme), full, where
    dataset = entry.folder if entry else _dataset_of(scheme, names)
    if dataset is None or scheme not in shipped(dataset):
        raise unknown_scheme(scheme, dataset)
    return read_split(shipped_folder() / dataset / scheme, names), scheme, where


def with_group(item: Item, entry: Entry | None) -> Item:
    """The item with the group that the catalog knows, if it has no group yet."""
    return item if item.group or not entry else replace(item, group=group_of(entry, item.name))


def _dataset_of(scheme: str, names: Iterable[str]) -> str | None:
    """The one data set whose lists of this scheme name only images that are here."""
    names = set(names)
    fitting = []
    for folder in sorted(shipped_folder().iterdir()):
        if (folder / scheme).is_dir():
            lists = read_split(folder / scheme, names).values()
            if all(set(part) <= names for part in lists):
                fitting.append(folder.name)
    return fitting[0] if len(fitting) == 1 else None
