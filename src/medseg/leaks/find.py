"""`medseg data leaks`: what ties the parts of a split together."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.config import LeaksConfig
from medseg.console import print_table, progress, to_json
from medseg.data.sample import Dataset, Item
from medseg.data.sources.division import DEFAULT_SPLIT
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.rules import Rule
from medseg.data.sources.splits import PARTS
from medseg.errors import UserError
from medseg.files import results_folder, write_csv, write_text
from medseg.hardware import cores
from medseg.leaks.evidence import Images, between, gather, pair_rows, within
from medseg.leaks.fingerprints import fingerprints
from medseg.leaks.matching import exact_pairs, near_pairs
from medseg.leaks.page import write_page
from medseg.version import __version__

FILES = ("leaks.json", "pairs.csv", "leaks.html")


def find_leaks(config: LeaksConfig) -> dict[str, Any]:
    """Examine a split; write leaks.json, pairs.csv and leaks.html; return what leaks.json holds.

    `leaks` in it is whether any image has a partner of any kind in another part.
    """
    rule = Rule(config.images, config.masks)
    dataset = open_dataset(
        config.data,
        data_root=config.data_root,
        split=config.split,
        pages=config.pages,
        rule=rule,
        groups=config.groups,
    )
    dataset = undivided(dataset, config.split)
    images = _images(dataset, config)
    folder = _out(config, dataset)
    with progress("read", show=config.progress) as advance:
        prints = fingerprints(images.items, workers=config.workers or cores(), progress=advance)
    with progress("compare", show=config.progress) as advance:
        near = near_pairs(prints, parts=images.parts, progress=advance)
    found = gather(images, exact_pairs(prints), near)
    table = pair_rows(images, found)
    parts = between(images, found)
    grouped = [item.group for item in images.items if item.group]
    result = {
        "data": dataset.name,
        "split": dataset.split,
        "images": len(images.items),
        "parts": {name: images.parts.count(name) for name in images.names},
        "groups": len(set(grouped)),
        "notes": [*dataset.notes, *_group_notes(len(grouped), images)],
        "between": parts,
        "within": within(images, found),
        "pairs": {kind: len(getattr(found, kind)) for kind in ("exact", "near", "neighbour")},
        "leaks": any(row["any"] for row in parts),
        "medseg": __version__,
    }
    for row in table:
        del row["pair"]
    write_csv(folder / "pairs.csv", table)
    write_text(folder / "leaks.json", to_json(result))
    write_page(folder / "leaks.html", result, images, found)
    for note in result["notes"]:
        logger.info(note)
    logger.info(f"pictures of the pairs: {folder / 'leaks.html'}")
    return result


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of the table on screen: each part by itself, then each two parts."""
    return result["within"] + result["between"]


def undivided(dataset: Dataset, split: str | None) -> Dataset:
    """The data set as one part, "all", where no split was asked for and none is on disk."""
    if split is not None or not dataset.split.startswith(DEFAULT_SPLIT):
        return dataset
    return replace(
        dataset,
        split="undivided",
        parts={"all": dataset.items},
        notes=tuple(note for note in dataset.notes if not note.startswith("no --split given")),
    )


def _images(dataset: Dataset, config: LeaksConfig) -> Images:
    """The parts in order, then each data set of --against as a part of its name."""
    items: list[Item] = []
    parts: list[str] = []
    for part in (*PARTS, "all"):
        items += dataset.parts.get(part, ())
        parts += [part] * len(dataset.parts.get(part, ()))
    for data in config.against:
        other = open_dataset(data, data_root=config.data_root, pages=config.pages)
        if other.name in parts:
            raise UserError(
                f"--against {data}: another part is called {other.name} already; rename the folder"
            )
        # groups of two data sets are different ones, whatever they are called
        more = [
            replace(item, group=item.group and f"{other.name}/{item.group}") for item in other.items
        ]
        items += more
        parts += [other.name] * len(more)
    return Images(tuple(items), tuple(parts))


def _group_notes(grouped: int, images: Images) -> list[str]:
    """What to say where groups are not known, or not of all images."""
    if not grouped:
        return [
            "no sequences or patients are known: only appearance was compared; a groups.csv"
            " (name,group) in the folder, or --groups FILE, tells them"
        ]
    missing = len(images.items) - grouped
    return [f"{missing} of {len(images.items)} images have no known group"] if missing else []


def _out(config: LeaksConfig, dataset: Dataset) -> Path:
    """The folder of the results; those in a folder the user named need --overwrite."""
    name = "-".join(re.sub(r"[^\w.-]+", "_", word) for word in (dataset.name, dataset.split))
    folder, unnamed = config.out or Path("leaks") / name, config.out is None
    return results_folder(folder, FILES, overwrite=config.overwrite or unnamed)


def show(result: dict[str, Any], config: LeaksConfig) -> None:
    """Print the table of counts."""
    title = f"{result['data']} ({result['split']}): {result['images']} images"
    print_table(title, rows(result))
