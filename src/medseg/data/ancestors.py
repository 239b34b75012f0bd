"""The runs that a run's weights come from, by --init and --teacher: what they saw, it has seen.

RUN/splits/ancestors.csv holds, with the columns source, part, name and image, the digests of the
images that they were trained on or selected by, those of their own ancestors included.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medseg.data.remembered import read_cells, recall
from medseg.files import write_csv

FILE = "ancestors.csv"
SEEN = ("train", "validation")
COLUMNS = ("source", "part", "name", "image")


def remember_ancestors(run: Path, ancestors: Mapping[str, Path]) -> None:
    """Write into a run folder what the run folders `ancestors` have seen, each by what it is.

    The keys are such as "--init runs/a". Nothing is written where they keep no digests.
    """
    rows = []
    for source, folder in ancestors.items():
        remembered = recall(folder)
        for part in SEEN:
            for name in remembered.names(part):
                if name in remembered.digests:
                    image = remembered.digests[name].image
                    rows.append({"source": source, "part": part, "name": name, "image": image})
        rows += [row | {"source": source} for row in _read(folder)]
    if rows:
        write_csv(run / "splits" / FILE, rows)


def seen_by_ancestors(run: Path, parts: tuple[str, ...] = SEEN) -> dict[str, str]:
    """By the digest of each image in these parts of a run's ancestors: which ancestor it was."""
    return {row["image"]: row["source"] for row in _read(run) if row["part"] in parts}


def _read(run: Path) -> list[dict[str, str]]:
    """The rows of a run's list; none where it keeps none."""
    return read_cells(run / "splits" / FILE, COLUMNS, "restore it, or remove it")
