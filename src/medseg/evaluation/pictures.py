"""Which images a report shows, and their pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Rows = Sequence[dict[str, Any]]
Pixels = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Picture:
    """An image uint8 [H, W, 3], truth and prediction uint8 [H, W], and its row of per_image.csv."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    row: dict[str, Any]


def gallery(
    rows: Rows, draw: Callable[[Sequence[str]], Mapping[str, Pixels]]
) -> dict[str, list[Picture]]:
    """The worst, median and best images; `draw` gives image, truth and prediction by name."""
    chosen = pick(rows, worst=worst_shown(rows))
    drawn = draw([name for names in chosen.values() for name in names])
    row_of = {row["name"]: row for row in rows}
    return {
        title: [Picture(name, *drawn[name], row_of[name]) for name in names]
        for title, names in chosen.items()
    }


def pick(rows: Rows, best: int = 4, median: int = 4, worst: int = 8) -> dict[str, list[str]]:
    """Names of the worst, median and best images by Dice, none of them twice.

    Rows without a Dice are left out.
    """
    defined = sorted((row for row in rows if _has_dice(row)), key=lambda row: row["dice"])
    ranked = [row["name"] for row in defined]
    low = ranked[:worst]
    high = ranked[len(low) :][-best:][::-1] if best else []
    rest = ranked[len(low) : len(ranked) - len(high)]
    start = min(max(0, len(ranked) // 2 - len(low) - median // 2), max(0, len(rest) - median))
    return {"worst": low, "median": rest[start : start + median], "best": high}


def worst_shown(rows: Rows) -> int:
    """How many of the worst images to draw: all below a Dice of 0.5, but at least 8, at most 24."""
    return min(24, max(8, sum(_has_dice(row) and row["dice"] < 0.5 for row in rows)))


def _has_dice(row: dict[str, Any]) -> bool:
    value = row.get("dice")
    return isinstance(value, (int, float)) and math.isfinite(value)
