"""What an evaluation found: rows, summary and pictures, and the two files that hold the numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg.console import to_json
from medseg.data.digests import digests_of
from medseg.data.masks import MaskCoding
from medseg.data.sample import Item
from medseg.evaluation.conventions import per_image, summarise
from medseg.evaluation.intervals import left_tail, summary_intervals
from medseg.evaluation.lesions import by_size
from medseg.evaluation.measure import quantities, row_of, summarise_measured
from medseg.evaluation.pictures import Picture, Pixels, gallery
from medseg.files import write_csv, write_text
from medseg.version import __version__

FILES = ("summary.json", "per_image.csv", "report.html")
Draw = Callable[[Sequence[str]], Mapping[str, Pixels]]


@dataclass(frozen=True)
class Subject:
    """What is evaluated, as the head of summary.json and the report describe it.

    `config` is the flat config of its training and `history` the rows of metrics.csv; both are
    empty where they are not known, as for predictions of other tools.
    """

    about: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """summary.json, the rows of per_image.csv, and the pictures of a report by gallery."""

    subject: Subject
    summary: dict[str, Any]
    rows: list[dict[str, Any]]
    pictures: dict[str, list[Picture]]

    @property
    def title(self) -> str:
        """One line for a page's head."""
        return "{model} on {data}, {part}".format(**self.summary)

    def write(self, folder: Path) -> None:
        """per_image.csv and summary.json."""
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "per_image.csv", self.rows)
        write_text(folder / "summary.json", to_json(self.summary))


def collect(
    subject: Subject,
    items: Sequence[Item],
    coding: MaskCoding,
    counts: np.ndarray,
    measured: Sequence[dict[str, Any]],
    masks: Sequence[str],
    draw: Draw,
    started: float,
) -> Evaluation:
    """Rows, summary and pictures from confusion counts int64 [N, K, K] and further measurements.

    `measured` holds what `measure_image` says of each image, or nothing; `masks` the digests of the
    pixels of each mask at its own size; `draw` gives the pixels of images by name; `started` is the
    time.perf_counter() at the beginning.
    """
    names = [item.name for item in items]
    groups = [item.group for item in items]
    rows = _rows(counts, names, groups, measured)
    rows = _by_class_name(rows, subject.about.get("class_names") or ())
    rows = _with_digests(rows, items, masks)
    basic = summarise(counts, names)
    further = summarise_measured(measured) if measured else {"protocols": {}}
    intervals = summary_intervals(counts, groups, rows, quantities(measured) if measured else None)
    summary = {
        **subject.about,
        "n_images": len(items),
        "classes": coding.classes,
        "masks": coding.text,
        **basic,
        **further,
        "protocols": basic["protocols"] | further["protocols"],
        "by_size": by_size(rows),
        "left_tail": left_tail(rows),
        "intervals": intervals,
        "seconds": round(time.perf_counter() - started, 2),
        "medseg": __version__,
    }
    return Evaluation(subject, summary, rows, gallery(rows, draw))


def _by_class_name(rows: list[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with dice_polyp for dice_1 where classes have names; two classes have no columns."""
    new = {f"dice_{k}": f"dice_{name}" for k, name in enumerate(names)}
    if set(new.values()) & (rows[0].keys() - new.keys()):
        return rows  # a class called as another column
    return [{new.get(key, key): value for key, value in row.items()} for row in rows]


def _with_digests(
    rows: list[dict[str, Any]], items: Sequence[Item], masks: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows with what was evaluated: bytes of image files, where there are some, and pixels."""
    found = zip(rows, items, digests_of(items), masks, strict=True)
    return [
        row | {"image_digest": "" if item.image == item.mask else files.image, "mask_digest": mask}
        for row, item, files, mask in found
    ]


def _rows(
    counts: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str | None],
    measured: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The rows of per_image.csv: name, group where any is known, metrics, counts, measurements."""
    rows = per_image(counts, names)
    if any(groups):
        rows = [
            {"name": row["name"], "group": group, **row}
            for row, group in zip(rows, groups, strict=True)
        ]
    if measured:
        rows = [row | row_of(each) for row, each in zip(rows, measured, strict=True)]
    return rows
