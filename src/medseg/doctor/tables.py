"""The tables of groups of a data set, read as training reads them."""

from __future__ import annotations

from pathlib import Path

from medseg.data.sample import Item
from medseg.data.sources.folder import part_folders
from medseg.data.sources.groups import TABLE, find_groups
from medseg.doctor.collect import Source


def check_tables(source: Source, split: str | None) -> None:
    """`UserError` for a groups.csv that training would refuse, such as one with a wrong name.

    It may lie in the data set, in its parts, or in the folder of `split`.
    """
    parts = part_folders(source.root)
    by_part: dict[str, list[Item]] = {}
    for pair in source.pairs:
        name = f"{pair.part}/{pair.name}" if parts else pair.name
        if pair.image:
            by_part.setdefault(pair.part, []).append(Item(name, pair.image, ()))
    everything = [item for items in by_part.values() for item in items]
    places = [(source.root, everything), *((parts[part], by_part.get(part, [])) for part in parts)]
    for folder, items in [*places, (Path(split or source.root), everything)]:
        if (folder / TABLE).is_file():
            find_groups(folder / TABLE, items, everything)
