"""From a name or a path to the images and masks of each part."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from loguru import logger

from medseg.data.decode import IMAGE_SUFFIXES
from medseg.data.sample import Dataset, Item
from medseg.data.sources.catalog import CATALOG, Entry
from medseg.data.sources.description import Description, read_description
from medseg.data.sources.division import divide, with_group
from medseg.data.sources.groups import TABLE, choose_groups, settle_groups, with_groups
from medseg.data.sources.layouts import FIRST_KINDS
from medseg.data.sources.names import some
from medseg.data.sources.pages import with_pages
from medseg.data.sources.pairing import Pairing, find_pairs
from medseg.data.sources.rules import Rule
from medseg.data.sources.splits import (
    PARTS,
)
from medseg.data.sources.words import part_of
from medseg.errors import UserError, counted, nearest


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
    opened = _open(data, data_root, rule)
    pairing = opened.pairing
    logger.info(pairing.rule)
    if pairing.parts and not (split and _can_be_divided(opened, split)):
        dataset = _divided(opened, split)
    else:
        items, table = opened.grouped()
        root, name, entry = opened.root, opened.name, opened.entry
        dataset = divide(root, name, entry, items, list(pairing.notes), split)
        dataset = settle_groups(dataset, table)
    dataset = choose_groups(replace(dataset, description=opened.description), groups)
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
    opened = _open(data, data_root, rule)
    if opened.pairing.parts:
        dataset = _divided(opened, None)
    else:
        items, table = opened.grouped()
        items = tuple(with_group(item, opened.entry) for item in items)
        dataset = Dataset(opened.name, "", {"all": items}, opened.pairing.notes)
        dataset = settle_groups(dataset, table)
    return with_pages(replace(dataset, description=opened.description), pages)


@dataclass(frozen=True)
class _Opened:
    """What lies on disk: a folder, what is known and written of it, and its pairs."""

    root: Path
    entry: Entry | None
    description: Description
    pairing: Pairing

    @property
    def name(self) -> str:
        """What its owner calls it, else the catalog, else its folder."""
        known = self.entry.folder if self.entry else self.root.resolve().name
        return self.description.name or known

    def grouped(self) -> tuple[list[Item], Path | None]:
        """All images, and the table of their groups if there is one."""
        return with_groups(list(chain.from_iterable(self.pairing.items().values())), self.root)


def _open(data: str | Path, data_root: Path, rule: Rule | None) -> _Opened:
    root, entry = locate(data, data_root)
    return _Opened(root, entry, read_description(root), paired(root, rule))


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


def _can_be_divided(opened: _Opened, split: str) -> bool:
    """Whether all images are of one part that nothing but its folder's name makes one."""
    return len(opened.pairing.parts) == 1 and split != _about(opened.root).get("split")


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


def _divided(opened: _Opened, split: str | None) -> Dataset:
    """A folder that is divided already."""
    root, pairing = opened.root, opened.pairing
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
        names = counted(len(twice), "name is", "names are")
        notes.append(
            f"{names} in two parts ({some(sorted(twice))}): the same images would be a leak"
        )
    named = {
        part: [_with_part(item, part) if item.name in twice else item for item in found[part]]
        for part in pairing.parts
    }
    named, table = _with_groups_of_parts(root, part_folders(root), named)
    dataset = Dataset(
        about.get("name", opened.name), about.get("split", "as-is"), named, tuple(notes)
    )
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
    everything = list(chain.from_iterable(parts.values()))
    grouped: list[Item] = []
    tables: list[Path | None] = []
    for part, items in parts.items():
        own, table = with_groups(items, folders.get(part, root), everything)
        grouped += own
        tables.append(table)
    grouped, table = with_groups(grouped, root)
    rest = iter(grouped)
    named = {part: tuple(islice(rest, len(items))) for part, items in parts.items()}
    return named, root / TABLE if table or all(tables) else None


def _about(root: Path) -> dict:
    """What `medseg data prepare` or `synthesize` wrote about a divided folder."""
    try:
        about = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        return about if isinstance(about, dict) else {}
    except (OSError, ValueError):
        return {}
