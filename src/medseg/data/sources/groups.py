"""Which images belong together, and must share a part: those of a video sequence or a patient."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.data.sample import Dataset, Item
from medseg.data.sources.names import Names, name_of, same_name, some
from medseg.data.sources.tables import read_table
from medseg.errors import UserError
from medseg.files import write_csv

COLUMNS = ("name", "group")
TABLE = "groups.csv"


def read_groups(file: Path) -> dict[str, str]:
    """Group by name as it stands in a table with the columns `name` and `group`.

    Rows without a group are left out. Raises `UserError` for other columns.
    """
    rows = _rows(file, COLUMNS[1], None)
    return {entry.strip(): group for entry, group in rows if group}


def find_groups(
    file: Path, items: Sequence[Item], others: Sequence[Item] = (), column: str = COLUMNS[1]
) -> dict[str, str]:
    """Group by name of those of the `items` that a table gives one, read from its `column`.

    The table may also name `others` of the data set, and files that lie beside these and those but
    are left out. Raises `UserError` for names that match nothing, for an image with two groups,
    and for other columns.
    """
    own = Names(item.name for item in items)
    rows = _rows(file, column, own)
    found: dict[str, str] = {}
    for entry, group in rows:
        for name in own.find(entry) if group else ():
            if found.setdefault(name, group) != group:
                raise UserError(
                    f"{file}: {name} is in the groups {found[name]} and {group}; an image belongs"
                    " to one"
                )
    missing = [entry for entry, _ in rows if not own.find(entry)]
    if missing:
        folders = {item.image.parent for item in (*items, *others)}
        there = Names(name_of(path) for folder in folders for path in folder.iterdir())
        missing = [entry for entry in missing if not there.find(entry)]
    if missing:
        which = f"{len(missing)} of its {len(rows)} names are those of no image,"
        if len(missing) == len(rows):
            which = "names none of the images; it holds"
        raise UserError(
            f"{file}: {which} {some(missing)}; the images are called"
            f" {some(item.name for item in items)}; correct these lines or remove them"
        )
    return found


def write_groups(file: Path, rows: Iterable[tuple[str, str | None]]) -> None:
    """Write name and group of those that have one; no file where none has."""
    known = [dict(zip(COLUMNS, row, strict=True)) for row in rows if row[1]]
    if known:
        write_csv(file, known)


def copy_groups(file: Path, to: Path, names: Sequence[str]) -> None:
    """Write the lines of a groups.csv that are about images of these names, as `train/a`."""
    rows, known = _rows(file, COLUMNS[1], None), Names(names)
    kept = [dict(zip(COLUMNS, row, strict=True)) for row in rows if known.find(row[0])]
    write_csv(to, kept or [dict.fromkeys(COLUMNS)])


def with_groups(
    items: Sequence[Item], folder: Path, others: Sequence[Item] = ()
) -> tuple[list[Item], Path | None]:
    """The items with the groups of the groups.csv in a folder, and that file if it is there.

    Items keep a group that they have. `others` and errors are those of `find_groups`.
    """
    file = folder / TABLE
    if not file.is_file():
        return list(items), None
    groups = find_groups(file, items, others)
    return [replace(item, group=item.group or groups.get(item.name)) for item in items], file


def with_groups_beside(items: Sequence[Item], folder: Path) -> list[Item]:
    """The items of a folder of masks, with the groups of the groups.csv in it or beside it."""
    places = (folder, folder.resolve().parent)
    place = next((place for place in places if (place / TABLE).is_file()), None)
    if place is None:
        return list(items)
    beside = [path for path in places[1].glob("*/*") if path.is_file()]  # the table is for all
    return with_groups(items, place, [Item(name_of(path), path, ()) for path in beside])[0]


def regroup(dataset: Dataset, groups: Mapping[str, str]) -> Dataset:
    """The data set with these groups in place of the known ones; the other images have none."""
    parts = {
        part: tuple(replace(item, group=groups.get(item.name)) for item in items)
        for part, items in dataset.parts.items()
    }
    return replace(dataset, parts=parts)


def settle_groups(dataset: Dataset, table: Path | str | None) -> Dataset:
    """The data set with one spelling for each group, and notes on what a reader should know.

    Groups that differ only by case, Unicode form, blanks or invisible characters are one: two
    would hide a leak. Notes name them, and images that the `table` gives no group.
    """
    spelled: dict[str, str] = {}
    others: dict[str, str] = {}
    items = sorted(dataset.items, key=lambda item: item.name)
    for group in (item.group for item in items if item.group):
        if spelled.setdefault(_key(group), group) != group:
            others[group] = spelled[_key(group)]
    notes = [
        f"the groups {first!r} and {group!r} differ only in their spelling and are taken as one"
        for group, first in others.items()
    ]
    alone = [item.name for item in items if not item.group]
    if table and alone:
        notes.append(
            f"{table}: gives no group for {len(alone)} of {len(items)} images, such as"
            f" {some(alone)}"
        )
    groups = {item.name: spelled[_key(item.group)] for item in items if item.group}
    return replace(regroup(dataset, groups), notes=(*dataset.notes, *notes))


def choose_groups(dataset: Dataset, groups: str) -> Dataset:
    """The data set with its known groups ("known"), none ("none"), or those of a table.

    `groups` is then a file with the columns name and group, or FILE:COLUMN where another column
    holds the groups. Raises `UserError` for a file that is not there, and as `find_groups` does.
    """
    if groups == "known":
        return dataset
    if groups == "none":
        return regroup(dataset, {})
    file, column = Path(groups).expanduser(), COLUMNS[1]
    if not file.is_file() and ":" in groups:
        path, column = groups.rsplit(":", 1)
        file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"--groups {groups}: no such file; expected a CSV with the columns name and group,"
            " FILE:COLUMN for another column than group, known, or none"
        )
    found = find_groups(file, dataset.items, column=column)
    return settle_groups(regroup(dataset, found), file)


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
            f"{related} of {len(evaluated)} images come from {shared} scenes, video sequences or"
            " patients that training or selection saw"
        )
    if not facts:
        return ""
    return f"LEAKY: {' and '.join(facts)}; expect lower numbers on new patients"


def about_groups(dataset: Dataset) -> str:
    """The known groups in one line, and how many of them the parts divide; "" where none is."""
    parts_of: dict[str, set[str]] = {}
    for part, items in dataset.parts.items():
        for item in items:
            if item.group:
                parts_of.setdefault(item.group, set()).add(part)
    if not parts_of:
        return ""
    known = sum(item.group is not None for item in dataset.items)
    which = f"{len(parts_of)} ({some(sorted(parts_of))})"
    text = f"groups: {which}, of {known} of {len(dataset.items)} images"
    divided = sum(len(parts) > 1 for parts in parts_of.values())
    if divided:
        text += f"; {divided} in several parts, a leak: 'medseg data split' keeps groups whole"
    return text


def groups_of(dataset: Dataset) -> dict[str, str | None]:
    """The group of each image by name, from groups.csv or the catalog; None where not known."""
    return {item.name: item.group for item in dataset.items}


def _rows(file: Path, column: str, known: Names | None) -> list[tuple[str, str]]:
    """The name as it stands and the group in each line of a table."""
    header, *lines = read_table(file) or [[]]
    keys = [same_name(cell.strip()).casefold() for cell in header]
    at = _name_column(keys, lines, column, known)
    if at is None or column.casefold() not in keys:
        wanted = " and ".join(COLUMNS)
        there = ", ".join(cell.strip() for cell in header) or "nothing"
        raise UserError(
            f"{file}: expected the columns {wanted}, found {there}; rename them ('medseg data"
            f" split' and 'data leaks' also take another column, by --groups {file}:COLUMN)"
        )
    group = keys.index(column.casefold())
    return [(line[at], same_name(" ".join(line[group].split()))) for line in lines]


def _name_column(
    keys: Sequence[str], lines: Sequence[Sequence[str]], column: str, known: Names | None
) -> int | None:
    """The column `name`; else the first one that names one image in each line, none twice."""
    if COLUMNS[0] in keys or known is None:
        return keys.index(COLUMNS[0]) if COLUMNS[0] in keys else None
    for at, key in enumerate(keys):
        found = [known.find(line[at]) for line in lines] if key != column.casefold() else []
        named = {names[0] for names in found if len(names) == 1}
        if found and len(named) == len(lines):
            return at
    return None


def _key(group: str) -> str:
    """What two spellings of a group have in common: case, width and what is not seen left out.

    Numbers are compared as such: a spreadsheet may make 1 or 1.0 of 01.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", group).casefold())
    seen = "".join(each for each in folded if unicodedata.category(each) != "Cf")
    number = re.fullmatch(r"0*(\d+)(\.0*)?", " ".join(seen.split()))
    return number[1] if number else " ".join(seen.split())
