"""The pictures of a report over several trainings, each image by the one that evaluated it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medseg.evaluation.evaluate import (
    Options,
    backend_of,
    cache_dir_of,
    decision_of,
    draw_images,
    open_native_store,
)
from medseg.evaluation.pictures import Picture, Pixels, gallery
from medseg.evaluation.reading import kept_coding
from medseg.evaluation.rows import read_rows
from medseg.hardware import cores, pick_accelerator, pick_precision
from medseg.runs import Run


def redraw(
    run: Path, part: str, rows: Sequence[dict[str, Any]], data: str | None = None
) -> dict[str, list[Picture]]:
    """The galleries of a report for `rows`, the merged rows of the trainings below `run`.

    `data` is where their images lie, if not where the trainings found them. Of several seeds the
    first one's masks are drawn; the numbers under a picture are those of its row.
    """

    def draw(names: Sequence[str]) -> dict[str, Pixels]:
        drawn: dict[str, Pixels] = {}
        for folder in _trainings(run):
            table = read_rows(folder / "report" / part / "per_image.csv")
            own = {row["name"] for row in table} & (set(names) - drawn.keys())
            if own:
                drawn |= _draw(Run.open(folder), part, sorted(own), data)
        return drawn

    return gallery(rows, draw)


def _trainings(run: Path) -> Iterator[Path]:
    """The run folders with weights below a run of seeds or folds, in order."""
    for child in sorted(path for path in run.iterdir() if path.name.startswith(("seed-", "fold-"))):
        if any((child / name).exists() for name in ("best.pt", "last.pt")):
            yield child
        elif child.is_dir():
            yield from _trainings(child)


def _draw(run: Run, part: str, names: Sequence[str], data: str | None) -> dict[str, Pixels]:
    of_part = run.dataset(data).parts[part]
    items = [item for item in of_part if item.name in names]
    workers = run.config["workers"]
    coding = kept_coding(run, items, workers or cores())
    decision = decision_of(run, coding)
    accelerator = pick_accelerator(run.config["accelerator"])
    precision = pick_precision(run.config["precision"], accelerator)
    backend = backend_of(run, accelerator, precision)
    store = open_native_store(
        backend,
        items,
        coding,
        decision,
        Options(workers=workers, cache_dir=cache_dir_of(run), progress=False),
    )
    return draw_images(backend, items, store, coding, decision, names)
