"""The images that a run was made with, as its folder keeps them: the truth wherever they lie now.

RUN/splits holds train.txt, validation.txt and test.txt, which any --split takes (but for names of
pages: other lists name files), groups.csv where groups are known, and digests.csv with the columns
part, name, image and mask: a digest of the files of each image that was read. The test part is read
once, after training, and so are its digests.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.data.digests import Digests, digests_of
from medseg.data.sample import Dataset, Item
from medseg.data.sources.catalog import CATALOG
from medseg.data.sources.division import scheme_name
from medseg.data.sources.folder import open_whole
from medseg.data.sources.groups import TABLE, read_groups, write_groups
from medseg.data.sources.names import same_name, some
from medseg.data.sources.pages import is_page
from medseg.data.sources.rules import Rule
from medseg.data.sources.splits import PARTS, read_written, write_split
from medseg.errors import UserError
from medseg.files import write_csv

COLUMNS = ("part", "name", "image", "mask")
REMEDY = "restore it, or remove it to go by names alone"


@dataclass(frozen=True)
class Remembered:
    """Names by part in their order; digests and groups by name, as far as they are known."""

    parts: dict[str, list[str]]
    digests: dict[str, Digests]
    groups: dict[str, str]

    def names(self, *parts: str) -> list[str]:
        """The names of these parts together."""
        return [name for part in parts for name in self.parts.get(part, ())]

    def images(self, *parts: str) -> dict[str, str]:
        """By the digest of an image file of these parts, one of its names."""
        names = self.names(*parts)
        return {self.digests[name].image: name for name in names if name in self.digests}

    def find(self, pool: Dataset) -> Found:
        """The images of `pool`, whatever its parts, divided as they were, under their old names."""
        there = _by_name(pool)
        parts: dict[str, tuple[Item, ...]] = {}
        missing: dict[str, list[str]] = {}
        used: set[str] = set()
        for part, names in self.parts.items():
            found = []
            for name in names:
                item = there.get(same_name(name)) or there.get(same_name(f"{part}/{name}"))
                if item is None:
                    missing.setdefault(part, []).append(name)
                    continue
                used.add(item.name)
                found.append(replace(item, name=name, group=self.groups.get(name, item.group)))
            parts[part] = tuple(found)
        added = [item.name for item in pool.items if item.name not in used]
        return Found(replace(pool, parts=parts), missing, added)

    def changed(self, items: Sequence[Item], workers: int = 4) -> Changed:
        """Which of these items have other bytes than they had; those without digests do not count.

        Raises `UserError` for a file that cannot be read.
        """
        known = [item for item in items if item.name in self.digests]
        images, masks = [], []
        for item, now in zip(known, digests_of(known, workers), strict=True):
            before = self.digests[item.name]
            if now.image != before.image:
                images.append(item.name)
            if now.mask != before.mask:
                masks.append(item.name)
        return Changed(len(known), images, masks)


@dataclass(frozen=True)
class Found:
    """What was found again: `missing` by part is not there, `added` is there and in no list."""

    dataset: Dataset
    missing: dict[str, list[str]]
    added: list[str]


@dataclass(frozen=True)
class Changed:
    """Of `compared` images, the names of those whose image file and whose mask is another."""

    compared: int
    images: list[str]
    masks: list[str]

    @property
    def text(self) -> str:
        """Such as "2 images (a, b) and the masks of 1 image (c)"; empty where none has changed."""
        facts = []
        if self.images:
            facts.append(f"{_count(self.images)} ({some(self.images)})")
        if self.masks:
            facts.append(f"the masks of {_count(self.masks)} ({some(self.masks)})")
        return " and ".join(facts)


def find_again(
    run: Path, data: str, data_root: Path, split: str | None, rule: Rule | None = None
) -> Found | None:
    """The images of a run folder in the data set `data`; None where the run keeps no lists.

    `split` is the one that it was trained by, which only gives the division its name.
    """
    remembered = recall(run)
    if not remembered.parts:
        return None
    pages = "all" if any(map(is_page, remembered.names(*PARTS))) else None
    pool = open_whole(data, data_root=data_root, pages=pages, rule=rule)
    scheme = scheme_name(split) if split or not pool.split else pool.split
    return remembered.find(replace(pool, split=scheme))


def check_place(run: Path, data: str) -> None:
    """`UserError` where the folder that a run was trained on is not there."""
    place = Path(data).expanduser()
    if data not in CATALOG and not place.is_dir():
        relative = "" if place.is_absolute() else " (as seen from where it was trained)"
        raise UserError(
            f"{run}: was trained on {data}{relative}, which is not there now; give the folder where"
            " its images lie with --data"
        )


def remember(run: Path, dataset: Dataset, read: Iterable[str], workers: int = 4) -> None:
    """Write the lists of a data set into a run folder, with the digests of the parts `read`."""
    folder = run / "splits"
    names = {part: [item.name for item in items] for part, items in dataset.parts.items()}
    write_split(folder, names)
    write_groups(folder / TABLE, ((item.name, item.group) for item in dataset.items))
    remember_digests(run, {part: dataset.parts[part] for part in read}, workers)


def remember_digests(run: Path, parts: dict[str, Sequence[Item]], workers: int = 4) -> None:
    """Add the digests of the items of these parts, in place of earlier ones of the parts."""
    file = run / "splits" / "digests.csv"
    rows = [row for row in read_cells(file, COLUMNS, REMEDY) if row["part"] not in parts]
    for part, items in parts.items():
        rows += [
            {"part": part, "name": item.name, **digests._asdict()}
            for item, digests in zip(items, digests_of(items, workers), strict=True)
        ]
    write_csv(file, rows)


def recall(run: Path) -> Remembered:
    """What a run folder keeps of its images; without parts where it keeps nothing.

    Raises `UserError` for a damaged file.
    """
    folder = run / "splits"
    parts = {part: names for part in PARTS if (names := read_names(run, part)) is not None}
    digests = {
        row["name"]: Digests(row["image"], row["mask"])
        for row in read_cells(folder / "digests.csv", COLUMNS, REMEDY)
    }
    groups = folder / TABLE
    return Remembered(parts, digests, read_groups(groups) if groups.is_file() else {})


def read_names(run: Path, part: str) -> list[str] | None:
    """The names in splits/PART.txt of a run folder; None where there is no such list."""
    file = run / "splits" / f"{part}.txt"
    if not file.exists():
        return None
    return read_written(file)


def read_cells(file: Path, columns: Sequence[str], remedy: str) -> list[dict[str, str]]:
    """The rows of a table that medseg wrote; none where there is no file.

    All cells are text: a digest can look like a number. Raises `UserError` with the `remedy` for a
    file that is damaged.
    """
    if not file.exists():
        return []
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, ValueError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: cannot be read ({reason}); {remedy}") from None
    if any(row.get(column) is None for row in rows for column in columns):
        reason = f"expected the columns {', '.join(columns)} in each row"
        raise UserError(f"{file}: cannot be read ({reason}); {remedy}")
    return rows


def _by_name(pool: Dataset) -> dict[str, Item]:
    """The items by their names, and by those that they have where a name is in two parts."""
    there: dict[str, Item] = {}
    for part, items in pool.parts.items():
        for item in items:
            there[same_name(f"{part}/{item.name.removeprefix(f'{part}/')}")] = item
    return there | {same_name(item.name): item for item in pool.items}


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} image{'s' * (len(names) != 1)}"
