"""A summary as tables and lines for a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from medseg.reports.sections import STAMPS, interval_text

Table = tuple[str, list[dict[str, Any]]]
SHARES = ("precision", "recall", "specificity")


def tables(summary: dict[str, Any]) -> Iterator[Table]:
    """Title and rows of each table: the conventions, then what `--protocols all` adds."""
    protocols = summary["protocols"]
    yield (
        "convention",
        [
            {"convention": name} | _with_interval(summary, ("protocols", name), ("dice", "iou"))
            for name in protocols
        ],
    )
    yield (
        "convention",
        [
            {"convention": name} | {key: values.get(key) for key in SHARES}
            for name, values in protocols.items()
            if any(key in values for key in SHARES)
        ],
    )
    yield (
        "by lesion size",
        [
            {
                "size": line["size"],
                "images": line["images"],
                "dice": line["dice"],
                "95 %": interval_text(summary, "by_size", line["size"], "dice"),
                "below .5": line["below_half"],
            }
            for line in summary.get("by_size", [])
        ],
    )
    if "distances" not in summary:
        return
    yield (
        "as the tables of polyp papers",
        [
            {"measure": key}
            | {
                title: cell
                for name in ("pranet", "uacanet")
                for title, cell in (
                    (name, protocols[name][key]),
                    (f"95 %, {name}", interval_text(summary, "protocols", name, key)),
                )
            }
            for key in protocols["pranet"]
            if key not in protocols["per-image-foreground"]
        ],
    )
    yield "distances", _measures(summary, ("distances",))
    yield (
        "lesions",
        [
            *_measures(summary, ("lesions",)),
            *(
                {
                    "measure": f"recall, {name} ({each['lesions']})",
                    "value": _rounded(each["recall"]),
                    "95 %": interval_text(summary, "lesions", "by_size", name, "recall"),
                }
                for name, each in summary["lesions"]["by_size"].items()
            ),
        ],
    )
    yield (
        "calibration",
        [
            {"pixels": part} | _with_interval(summary, ("calibration", part), ("ece", "brier"))
            for part in ("all", "boundary")
        ],
    )


def lines(summary: dict[str, Any]) -> Iterator[str]:
    """What a reader must know beside the numbers: the policies with their counts, how the intervals
    were made, the stamp.
    """
    empty, distances, made = (
        summary.get(key) or {} for key in ("empty_masks", "distances", "intervals")
    )
    if empty:
        yield (
            f"empty masks: {empty['reference_empty']} references, {empty['false_alarms']} of them"
            f" with a false alarm; {empty['policy']}"
        )
    if distances:
        yield (
            f"distances: {distances['missed']} images with a missed lesion,"
            f" {distances['false_alarms']} with a false alarm; {distances['policy']}"
        )
    if made:
        over = f"{made['n_groups']} groups" if made["unit"] == "group" else "images"
        yield (
            f"95 %: {made['method']} over {over}, n ="
            f" {made['n_images']}{''.join(f'; {note}' for note in made['notes'])}"
        )
    if stamp := summary.get("stamp"):
        yield f"{STAMPS.get(stamp['verdict'], stamp['verdict'])}: {stamp['text']}"


def _measures(summary: dict[str, Any], path: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"measure": key, "value": _rounded(value), "95 %": interval_text(summary, *path, key)}
        for key, value in summary[path[-1]].items()
        if isinstance(value, (int, float))
    ]


def _with_interval(
    summary: dict[str, Any], path: tuple[str, ...], keys: tuple[str, ...]
) -> dict[str, Any]:
    values = summary
    for step in path:
        values = values[step]
    return {
        title: cell
        for key in keys
        for title, cell in (
            (key, values.get(key)),
            (f"95 % of {key}", interval_text(summary, *path, key)),
        )
    }


def _rounded(value: float) -> float | None:
    return None if isinstance(value, float) and math.isnan(value) else round(value, 4)
