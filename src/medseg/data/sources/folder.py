"""From a name or a path to the images and masks of each part."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from loguru import logger

from medseg.data.decode import IMAGE_SUFFIXES
from medseg.data.sample import Dataset, Item
from medseg.data.sources.catalog import CATALOG, Entry, group_of
from medseg.data.sources.description import read_description
from medseg.data.sources.groups import TABLE, choose_groups, find_groups, settle_groups, with_groups
from medseg.data.sources.layouts import FIRST_KINDS
from medseg.data.sources.names import some
from medseg.data.sources.pages import with_pages
from medseg.data.sources.pairing import Pairing, find_pairs
from medseg.data.sources.rules import Rule
from medseg.data.sources.splits import (
    PARTS,
    random_split,
    read_split,
    shipped,
    shipped_folder,
    unknown_scheme,
)
from medseg.data.sources.words import part_of
from medseg.errors import UserError, nearest

DEFAULT_SPLIT = "random-80-10-10"


def open_dataset(
    data: str | Path,
    *,
    data_root: Path = Path("data"),
    split: str | None = None,
    pages: str | None = None,
    rule: Rule | None = None,
    groups: str = "known",
) -> Dataset:
    """The data set that `data` stands for, divided by `split`.

    `data` is a known name under `data_root`, or a folder; `rule` says how its masks are named where
    neither its dataset.yaml nor the names themselves do; `pages` says whether the "first" picture
    of a file is an image, or "all" are; `groups` is that of `choose_groups`. Raises `UserError`,
    naming the file, for missing or empty folders, images with no mask or with two, and lists that
    do not fit the images.
    """
    root, entry = locate(data, data_root)
    description = read_description(root)
    name = description.name or (entry.folder if entry else root.resolve().name)
    pairing = paired(root, rule)
    logger.info(pairing.rule)
    if pairing.parts and not (split and _can_be_divided(root, pairing, split)):
        dataset = _divided(root, name, pairing, split)
    else:
        items = [item for part in pairing.items().values() for item in part]
        items, table = with_groups(items, root)
        dataset = divide(root, name, entry, items, list(pairing.notes), split)
        dataset = settle_groups(dataset, root / TABLE if table else None)
    dataset = choose_groups(replace(dataset, description=description), groups)
    return with_pages(dataset, pages)  # tables and lists name files


def open_whole(
    data: str | Path,
    *,
    data_root: Path = Path("data"),
    pages: str | None = None,
    rule: Rule | None = None,
) -> Dataset:
    """All images of the data set that `data` stands for: its parts on disk, or one part, "all".

    The images of the latter are divided by no scheme: `split` is empty. Raises as `open_dataset`.
    """
    root, entry = locate(data, data_root)
    description = read_description(root)
    name = description.name or (entry.folder if entry else root.resolve().name)
    pairing = paired(root, rule)
    if pairing.parts:
        dataset = _divided(root, name, pairing, None)
    else:
        items, table = with_groups(pairing.items()[""], root)
        items = tuple(with_group(item, entry) for item in items)
        dataset = Dataset(name, "", {"all": items}, pairing.notes)
        dataset = settle_groups(dataset, root / TABLE if table else None)
    return with_pages(replace(dataset, description=description), pages)


def paired(root: Path, rule: Rule | None = None) -> Pairing:
    """The pairs of a data set by `rule`, else as its dataset.yaml says, else as the names show."""
    description = read_description(root)
    written = Rule(description.images, description.masks)
    return find_pairs(root, rule.over(written) if rule else written)


def part_folders(root: Path) -> dict[str, Path]:
    """The folders of the parts of a data set divided on disk; none where it is not."""
    folders = [path for path in sorted(root.iterdir(), reverse=True) if path.is_dir()]
    if any(path.name.lower() in FIRST_KINDS for path in folders):
        return {}
    found = {part_of(path.name): path for path in folders if not path.name.startswith(".")}
    return {part: found[part] for part in PARTS if part in found}


def _can_be_divided(root: Path, pairing: Pairing, split: str) -> bool:
    """Whether all images are of one part that nothing but its folder's name makes one."""
    return len(pairing.parts) == 1 and split != _about(root).get("split")


def locate(data: str | Path, data_root: Path) -> tuple[Path, Entry | None]:
    """The folder that `data` stands for, and its entry in the catalog where it has one."""
    entry = CATALOG.get(str(data))
    if entry:
        names = (entry.folder, f"PolypDataset/{entry.folder}", *entry.also, str(data))
        places = [data_root / name for name in names]
        root = next((place for place in places if place.is_dir()), None)
        if root is None:
            raise UserError(
                f"--data {data}: not found as {' or '.join(map(str, places))}; 'medseg data list'"
                " says where to get it, --data-root says where it lies"
            )
        return root, entry
    root = Path(data).expanduser()
    if not root.exists():
        hint = nearest(str(data), CATALOG) if "/" not in str(data) else ""
        raise UserError(
            f"--data {data}: no such folder{hint or ';'} expected a folder or one of:"
            f" {', '.join(CATALOG)}"
        )
    if not root.is_dir():
        raise UserError(
            f"--data {data}: is a file; expected a folder (medseg data prepare unpacks archives)"
        )
    folder = root.resolve().name.lower()
    named = {name.lower(): each for each in CATALOG.values() for name in (each.folder, *each.also)}
    return root, named.get(folder)


def _divided(root: Path, name: str, pairing: Pairing, split: str | None) -> Dataset:
    """A folder that is divided already."""
    about = _about(root)
    if split is not None and split != about.get("split"):
        there = about.get("split") or ", ".join(pairing.parts)
        raise UserError(
            f"--split {split}: {root} is divided already ({there}); leave --split out, or give a"
            " folder with images and masks undivided"
        )
    found = pairing.items()
    notes = [*pairing.notes, *_empty_parts(root, pairing)]
    twice = _names_in_two_parts(found)
    if twice:
        notes.append(f"{len(twice)} names are in two parts: the same images would be a leak")
    named = {
        part: [_with_part(item, part) if item.name in twice else item for item in found[part]]
        for part in pairing.parts
    }
    named, table = _with_groups_of_parts(root, part_folders(root), named)
    dataset = Dataset(about.get("name", name), about.get("split", "as-is"), named, tuple(notes))
    return settle_groups(dataset, table)


def _empty_parts(root: Path, pairing: Pairing) -> list[str]:
    """Notes on the folders of parts without files; `UserError` for one with other files only."""
    notes = []
    for part, folder in part_folders(root).items():
        files = [path for path in folder.rglob("*") if path.is_file()]
        if part in pairing.parts or any(path.suffix.lower() in IMAGE_SUFFIXES for path in files):
            continue
        if files or any(folder.iterdir()):
            raise UserError(
                f"{folder}: no image in this folder; expected the folders images and masks, or"
                " nothing"
            )
        notes.append(f"{folder} is empty and left out")
    return notes


def _names_in_two_parts(parts: dict[str, list[Item]]) -> set[str]:
    counts: Counter[str] = Counter()
    for items in parts.values():
        counts.update(item.name for item in items)
    return {name for name, count in counts.items() if count > 1}


def _with_part(item: Item, part: str) -> Item:
    return replace(item, name=f"{part}/{item.name}")


def _with_groups_of_parts(
    root: Path, folders: dict[str, Path], parts: dict[str, list[Item]]
) -> tuple[dict[str, tuple[Item, ...]], Path | None]:
    """The parts with the groups of their own groups.csv, then of that of the whole set.

    With them comes the table that covers all images, if there is one.
    """
    everything = [item for items in parts.values() for item in items]
    grouped, tables = {}, []
    for part, items in parts.items():
        own, table = with_groups(items, folders.get(part, root), everything)
        grouped[part] = own
        tables.append(table)
    own = [item for items in grouped.values() for item in items]
    whole, table = with_groups(own, root)
    rest = iter(whole)
    named = {part: tuple(next(rest) for _ in items) for part, items in grouped.items()}
    covers = root / TABLE if table or all(tables) else None
    return named, covers if any((*tables, table)) else None


def divide(
    root: Path,
    name: str,
    entry: Entry | None,
    items: Sequence[Item],
    notes: list[str],
    split: str | None,
) -> Dataset:
    """Undivided images by lists, shipped or the user's own, or at random."""
    by_name = {item.name: item for item in items}
    if split is None:
        notes.append(_note_on_default(entry))
    lists, scheme, where = lists_of(split or DEFAULT_SPLIT, entry, list(by_name))
    listed = [each for names in lists.values() for each in names]
    missing = [each for each in listed if each not in by_name]
    if missing:
        raise UserError(
            f"{where}: {len(missing)} of the listed images are not in {root}, such as"
            f" {some(missing)}"
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


def _about(root: Path) -> dict:
    """What `medseg data prepare` or `synthesize` wrote about a divided folder."""
    try:
        about = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        return about if isinstance(about, dict) else {}
    except (OSError, ValueError):
        return {}
