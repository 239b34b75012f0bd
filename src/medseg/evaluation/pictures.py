"""Which images a report shows, and their pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = dict[str, Any]
Rows = Sequence[Row]
Pixels = tuple[np.ndarray, np.ndarray, np.ndarray]
MOST = 24  # pictures of a gallery


@dataclass(frozen=True)
class Picture:
    """An image uint8 [H, W, 3], truth and prediction uint8 [H, W], and its row of per_image.csv."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    row: Row


def gallery(
    rows: Rows, draw: Callable[[Sequence[str]], Mapping[str, Pixels]]
) -> dict[str, list[Picture]]:
    """The pictures of each gallery of `pick`.

    `draw` gives image, truth and prediction by name. All images below a Dice of 0.5 and all false
    alarms are shown, at most 24 of each.
    """
    chosen = pick(rows, worst=worst_shown(rows), empty=empty_shown(rows))
    drawn = draw([name for names in chosen.values() for name in names])
    row_of = {row["name"]: row for row in rows}
    return {
        title: [Picture(name, *drawn[name], row_of[name]) for name in names]
        for title, names in chosen.items()
    }


def pick(
    rows: Rows, *, best: int = 4, median: int = 4, worst: int = 8, empty: int = 4
) -> dict[str, list[str]]:
    """Names for four galleries, none of them twice.

    The worst, median and best images by Dice are chosen among those with a lesion; images without
    one are apart, false alarms first, the largest before the others. Where groups (sequences or
    patients) are known, the median and best images are of different groups as far as the nearer
    half of the candidates allows. The worst images are simply the worst, whatever their groups: a
    failure must not be hidden. Rows without a Dice are left out.
    """
    defined = [row for row in rows if _has_dice(row)]
    ranked = sorted((row for row in defined if has_lesion(row)), key=lambda row: row["dice"])
    without = sorted((row for row in defined if not has_lesion(row)), key=lambda row: -row["fp"])
    low, rest = ranked[:worst], ranked[worst:]
    high = _of_different_groups(rest[::-1], best)
    middle = len(ranked) / 2
    rank_of = {row["name"]: rank for rank, row in enumerate(ranked)}
    shown = _names(high)
    candidates = [row for row in rest if row["name"] not in shown]
    candidates.sort(key=lambda row: abs(rank_of[row["name"]] + 0.5 - middle))
    between = _of_different_groups(candidates, median)
    between.sort(key=lambda row: rank_of[row["name"]])
    return {
        "worst": _names(low),
        "median": _names(between),
        "best": shown,
        "empty": _names(without[:empty]),
    }


def worst_shown(rows: Rows) -> int:
    """How many of the worst images to show: all below a Dice of 0.5, at least 8 and at most 24."""
    failures = [row for row in rows if has_lesion(row) and _has_dice(row) and row["dice"] < 0.5]
    return min(MOST, max(8, len(failures)))


def empty_shown(rows: Rows) -> int:
    """How many images without a lesion to show: all false alarms, at least 4 and at most 24."""
    return min(MOST, max(4, sum(not has_lesion(row) and row["fp"] > 0 for row in rows)))


def has_lesion(row: Row) -> bool:
    """Whether the reference has foreground; taken to be so where the row has no pixel counts."""
    counts = [row.get(key) for key in ("tp", "fp", "fn")]
    if not all(isinstance(count, (int, float)) and math.isfinite(count) for count in counts):
        return True
    return row["tp"] + row["fn"] > 0


def _of_different_groups(candidates: Rows, count: int) -> list[Row]:
    """The first rows whose groups differ, within the first half; filled up with the next ones.

    A row without a known group differs from all others.
    """
    seen: set[str] = set()
    chosen, others = [], []
    for row in candidates[: max(count, len(candidates) // 2)]:
        group = row.get("group")
        repeated = group in seen
        if group:
            seen.add(group)
        (others if repeated else chosen).append(row)
    missing = max(0, count - len(chosen))
    chosen = chosen[:count] + others[:missing]
    order = _names(candidates)
    return sorted(chosen, key=lambda row: order.index(row["name"]))


def _names(rows: Rows) -> list[str]:
    return [row["name"] for row in rows]


def _has_dice(row: Row) -> bool:
    value = row.get("dice")
    return isinstance(value, (int, float)) and math.isfinite(value)
