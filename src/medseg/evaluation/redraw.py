"""Pictures for the report of several trainings together: each image as predicted by the training
that judged it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from medseg import checkpoint
from medseg.data.cache import Form, open_store
from medseg.data.masks import survey
from medseg.data.parts import load_dataset
from medseg.evaluation.report import Picture, pick, worst_shown
from medseg.evaluation.rows import read_rows
from medseg.evaluation.run import draw_images
from medseg.hardware import cores, pick_accelerator, pick_precision
from medseg.prediction.inference import load_network


def redraw(run: Path, part: str, rows: Sequence[dict[str, Any]]) -> dict[str, list[Picture]]:
    """The worst, median and best images of `rows`, the merged rows of the trainings below `run` on
    `part`.

    Of several seeds the first one's masks are drawn; the numbers under a picture are those of its
    row.
    """
    chosen = pick(rows, worst=worst_shown(rows))
    wanted = {name for names in chosen.values() for name in names}
    drawn: dict[str, tuple] = {}
    for leaf in _trainings(run):
        own = {row["name"] for row in read_rows(leaf / "report" / part / "per_image.csv")} & (
            wanted - drawn.keys()
        )
        if own:
            drawn |= _draw(leaf, part, own)
    by_name = {row["name"]: row for row in rows}
    return {
        group: [Picture(name, *drawn[name], by_name[name]) for name in names]
        for group, names in chosen.items()
    }


def _trainings(run: Path) -> Iterator[Path]:
    """The run folders with weights below a run of seeds or folds, in order."""
    for child in sorted(path for path in run.iterdir() if path.name.startswith(("seed-", "fold-"))):
        if any((child / name).exists() for name in ("best.pt", "last.pt")):
            yield child
        elif child.is_dir():
            yield from _trainings(child)


def _draw(run: Path, part: str, names: set[str]) -> dict[str, tuple]:
    stored = checkpoint.load(run)
    flat, given = stored["config"], checkpoint.input_of(stored)
    dataset = load_dataset(
        flat["data"],
        data_root=Path(flat["data_root"]),
        split=flat["split"],
        hold_out=flat["hold_out"],
    )
    items = [item for item in dataset.parts[part] if item.name in names]
    coding = survey(
        dataset.parts[part],
        kind=stored["mask_kind"],
        classes=stored["classes"],
        workers=flat["workers"] or cores(),
    )
    form = Form(
        given.size,
        given.resize,
        given.channels,
        given.bit_depth,
        native_masks=True,
        ignore_index=flat["ignore_index"],
    )
    accelerator = pick_accelerator(flat["accelerator"])
    options = {
        "classes": coding.classes,
        "device": torch.device(accelerator),
        "ignore_index": flat["ignore_index"],
        "precision": pick_precision(flat["precision"], accelerator),
        "temperature": stored.get("temperature", 1.0),
    }
    store = open_store(items, coding, form, workers=flat["workers"] or cores())
    return draw_images(
        load_network(stored, accelerator), items, store, coding, given, sorted(names), options
    )
