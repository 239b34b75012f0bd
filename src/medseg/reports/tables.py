"""The tables of an evaluation, for a page and for a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.config import EvaluateConfig
from medseg.console import print_table
from medseg.evaluation.published import CONVENTIONS
from medseg.metrics.overlap import METRICS
from medseg.reports.stamp import stamp_of

SALIENCY = {
    "max_dice": "highest Dice of all thresholds",
    "max_iou": "highest IoU of all thresholds",
    "weighted_f": "weighted F-beta",
    "s_measure": "S-measure",
    "e_measure": "E-measure, mean over thresholds",
    "max_e_measure": "E-measure, highest of all thresholds",
    "mae": "mean absolute error",
}
DISTANCES = {
    "hd95": "95 % Hausdorff distance",
    "assd": "average surface distance",
    "surface_dice": "surface Dice",
    "boundary_iou": "boundary IoU",
    "hd95_detected": "95 % Hausdorff distance, both masks non-empty",
    "assd_detected": "average surface distance, both masks non-empty",
    "missed": "images with a missed lesion",
    "false_alarms": "empty images with a prediction",
}
LESIONS = {
    "lesions": "lesions",
    "predicted": "predicted regions",
    "recall": "recall",
    "touched_recall": "recall, any overlap",
    "precision": "precision",
    "false_positives_per_frame": "false positives per frame",
    "false_alarm_rate": "false-alarm rate on empty frames",
}
CALIBRATION = {"all": "all pixels", "boundary": "near the boundary"}
SHARES = ("precision", "recall", "specificity")
Summary = dict[str, Any]
ConsoleTable = tuple[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Cell:
    """A value; `note`, such as its interval, stands below it in small figures."""

    value: Any
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a page; the first cell of each row is its head."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table of cells and of plain values."""
    as_cells = [[each if isinstance(each, Cell) else Cell(each) for each in row] for row in rows]
    return Table(head, as_cells)


def number(value: Any) -> str:
    """Four decimals below 10, one above, a dash for what is not known; other values as text."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def interval_text(summary: Summary, *path: str) -> str:
    """The interval of the number at this path of summary.json, or an empty text."""
    found: Any = summary.get("intervals") or {}
    for step in path:
        found = found.get(step, {})
    if not found or not all(end is not None and math.isfinite(end) for end in found):
        return ""
    digits = 3 if max(found) < 10 else 1  # distances are tens of pixels
    return f"{found[0]:.{digits}f} to {found[1]:.{digits}f}"


def cell_at(summary: Summary, *path: str) -> Cell:
    """The number at this path of summary.json, None where there is none, with its interval."""
    value: Any = summary
    for step in path:
        value = value.get(step, {})
    return Cell(None if value == {} else value, interval_text(summary, *path))


def convention_table(summary: Summary) -> Table:
    """The five overlap metrics in every convention of the summary."""
    rows = []
    for name in summary["protocols"]:
        meaning = CONVENTIONS[name].meaning if name in CONVENTIONS else ""
        numbers = [cell_at(summary, "protocols", name, metric) for metric in METRICS]
        rows.append([Cell(name, meaning), *numbers])
    return table(["Convention", *(metric.label for metric in METRICS.values())], rows)


def saliency_table(summary: Summary) -> Table | None:
    """What the tables of polyp papers have beside Dice and IoU, if it was measured."""
    shown = [name for name in ("pranet", "uacanet") if name in summary["protocols"]]
    if not shown:
        return None
    rows = []
    for key, label in SALIENCY.items():
        rows.append([label, *(cell_at(summary, "protocols", name, key) for name in shown)])
    return table(["Measure", *shown], rows)


def size_table(summary: Summary) -> Table | None:
    """Mean Dice and share below 0.5 by lesion size, if they were measured."""
    if not summary.get("by_size"):
        return None
    rows = []
    for line in summary["by_size"]:
        size = line["size"]
        dice = Cell(line["dice"], interval_text(summary, "by_size", size, "dice"))
        below = Cell(line["below_half"], interval_text(summary, "by_size", size, "below_half"))
        rows.append([size, line["images"], dice, below])
    return table(["Size", "Images", "Mean Dice", "Share below 0.5"], rows)


def distance_table(summary: Summary) -> Table | None:
    """Distances between the outlines, if they were measured."""
    if not summary.get("distances"):
        return None
    rows = [[label, cell_at(summary, "distances", key)] for key, label in DISTANCES.items()]
    return table(["Measure", "Value"], rows)


def lesion_table(summary: Summary) -> Table | None:
    """Lesions found and false, if they were counted."""
    if not summary.get("lesions"):
        return None
    rows = [[label, cell_at(summary, "lesions", key)] for key, label in LESIONS.items()]
    rows += [list(each) for each in _recall_by_size(summary)]
    return table(["Measure", "Value"], rows)


def calibration_table(summary: Summary) -> Table | None:
    """Calibration error and Brier score of all pixels and of those near the boundary, if known."""
    if not summary.get("calibration"):
        return None
    rows = []
    for part, label in CALIBRATION.items():
        rows.append([label, *(cell_at(summary, "calibration", part, k) for k in ("ece", "brier"))])
    return table(["Pixels", "Expected calibration error", "Brier score"], rows)


def repeats_table(summary: Summary) -> Table | None:
    """The trainings behind the numbers, one row per seed or fold; None for a single training."""
    repeats = summary.get("repeats")
    if not repeats:
        return None
    numbers = repeats["protocols"]["per-image-foreground"]
    names = [f"{repeats['kind']} {name}" for name in repeats["names"]]
    columns = (names, repeats["n_images"], numbers["dice"]["values"], numbers["iou"]["values"])
    return table(["Training", "Images", "Dice", "IoU"], list(zip(*columns, strict=True)))


def tables(summary: Summary) -> Iterator[ConsoleTable]:
    """Title and rows of each table for a terminal; what was not measured has no rows."""
    protocols = summary["protocols"]
    rows = []
    for name in protocols:
        rows.append(
            {"convention": name} | _with_intervals(summary, ("protocols", name), ("dice", "iou"))
        )
    yield "convention", rows
    rows = []
    for name, values in protocols.items():
        if any(key in values for key in SHARES):
            rows.append({"convention": name} | {key: values.get(key) for key in SHARES})
    yield "convention", rows
    yield "by lesion size", _size_rows(summary)
    if "distances" not in summary:
        return
    yield "as the tables of polyp papers", _saliency_rows(summary)
    yield "distances", _measure_rows(summary, "distances")
    yield "lesions", [*_measure_rows(summary, "lesions"), *_recall_rows(summary)]
    rows = []
    for part in CALIBRATION:
        values = _with_intervals(summary, ("calibration", part), ("ece", "brier"))
        rows.append({"pixels": part} | values)
    yield "calibration", rows


def lines(summary: Summary) -> Iterator[str]:
    """What a reader must know beside the numbers, for a terminal.

    The policies with their counts, how the intervals were made, and the stamp of the split.
    """
    if empty := summary.get("empty_masks"):
        yield (
            f"empty masks: {empty['reference_empty']} references, {empty['false_alarms']} of them"
            f" with a false alarm; {empty['policy']}"
        )
    if distances := summary.get("distances"):
        yield (
            f"distances: {distances['missed']} images with a missed lesion,"
            f" {distances['false_alarms']} with a false alarm; {distances['policy']}"
        )
    if made := summary.get("intervals"):
        over = f"{made['n_groups']} groups" if made["unit"] == "group" else "images"
        text = [f"95 %: {made['method']} over {over}, n = {made['n_images']}"]
        yield "; ".join(made["notes"] if made["n_groups"] == 1 else text + made["notes"])
    if stamp := stamp_of(summary):
        yield f"{stamp.label}: {stamp.text}"


def _size_rows(summary: Summary) -> list[dict[str, Any]]:
    return [
        {
            "size": line["size"],
            "images": line["images"],
            "dice": line["dice"],
            "95 %": interval_text(summary, "by_size", line["size"], "dice"),
            "below 0.5": line["below_half"],
        }
        for line in summary.get("by_size", [])
    ]


def _saliency_rows(summary: Summary) -> list[dict[str, Any]]:
    rows = []
    for key in summary["protocols"]["pranet"]:
        if key in METRICS:
            continue
        row: dict[str, Any] = {"measure": key}
        for name in ("pranet", "uacanet"):
            cell = cell_at(summary, "protocols", name, key)
            row |= {name: cell.value, f"95 %, {name}": cell.note}
        rows.append(row)
    return rows


def _measure_rows(summary: Summary, block: str) -> list[dict[str, Any]]:
    """The numbers of a block of the summary, in its order."""
    rows = []
    for key, value in summary[block].items():
        if isinstance(value, (int, float)):
            rows.append(_measure_row(key, Cell(value, interval_text(summary, block, key))))
    return rows


def _recall_rows(summary: Summary) -> list[dict[str, Any]]:
    return [_measure_row(label, cell) for label, cell in _recall_by_size(summary)]


def _measure_row(label: str, cell: Cell) -> dict[str, Any]:
    value = cell.value
    unknown = value is None or math.isnan(value)
    return {"measure": label, "value": None if unknown else round(value, 4), "95 %": cell.note}


def _recall_by_size(summary: Summary) -> Iterator[tuple[str, Cell]]:
    """Label and recall of each lesion size."""
    for name, each in summary["lesions"]["by_size"].items():
        label = f"recall, {name} ({each['lesions']})"
        yield label, cell_at(summary, "lesions", "by_size", name, "recall")


def _with_intervals(
    summary: Summary, path: tuple[str, ...], keys: tuple[str, ...]
) -> dict[str, Any]:
    """The numbers below a path, each followed by its interval."""
    row = {}
    for key in keys:
        cell = cell_at(summary, *path, key)
        row |= {key: cell.value, f"95 % of {key}": cell.note}
    return row


def show(summary: Summary, config: EvaluateConfig) -> None:
    """Print what summary.json holds."""
    for title, rows in tables(summary):
        if rows:
            print_table(title, rows)
    for line in lines(summary):
        print(line)
