"""`medseg lint`: what arithmetic says about a table with Dice and IoU.

For one mask IoU = Dice / (2 - Dice), which is convex and lies below Dice. Any mean of such pairs,
over images, classes or both, therefore obeys mDice / (2 - mDice) <= mIoU <= mDice, and pooled
counts lie on the lower bound. A pair outside is impossible for any of them; one on the curve is
most likely pooled; and from a macro pair (the mean over background and foreground of pooled pixels)
the foreground Dice follows exactly.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from medseg.config import LintConfig
from medseg.console import print_table
from medseg.errors import UserError
from medseg.evaluation.conventions import macro_to_foreground

DICE = {"dice", "mdice", "dsc", "mdsc", "f1"}
IOU = {"iou", "miou", "jaccard", "jac", "mjac"}
NOTHING = {"", "-", "–", "n.a.", "na", "n/a"}
MEANING = (
    "impossible: no mean over images or classes has this pair. on the curve: as pooled pixels have."
    " mean: possible as a mean over images. foreground: the foreground Dice if the pair is a mean"
    " over background and foreground of pooled pixels."
)


def lint(path: Path) -> dict[str, Any]:
    """{"rows": one per pair, "impossible": how many, "skipped": cells without a number, "meaning"}.

    Columns are found by their names (Dice, DSC, F1; IoU, Jaccard; with m or mean before) and paired
    by the rest of the name, so that `kvasir_dice` goes with `kvasir_iou`. A cell may hold several
    values, as in 0.91/0.95 for validation and test. Values above 1 are taken as percent. Raises
    `UserError` for a file without such columns.
    """
    header, lines = _read(path)
    pairs = _pairs(header)
    if not pairs:
        raise UserError(
            f"{path}: found no pair of Dice and IoU columns among {', '.join(header)}; name them"
            " such as dice and iou, or kvasir_dice and kvasir_iou"
        )
    used = {column for pair in pairs.values() for column in pair}
    rows, skipped = [], 0
    for line in lines:
        cells = [line[i] for i in range(len(header)) if i not in used]
        label = [cell for cell in cells if cell.lower() not in NOTHING and not _number(cell)]
        for rest, (a, b) in pairs.items():
            found = _rows_of_pair([*label, rest], _values(line[a]), _values(line[b]))
            skipped += not found
            rows += found
    if not rows:
        raise UserError(f"{path}: no row has a number for both Dice and IoU")
    for number, row in enumerate(rows, 1):
        row["row"] = row["row"] or f"row {number}"
    return {
        "rows": rows,
        "impossible": sum(row["verdict"] == "impossible" for row in rows),
        "skipped": skipped,
        "meaning": MEANING,
    }


def _rows_of_pair(
    words: list[str], dices: list[tuple[float, float]], ious: list[tuple[float, float]]
) -> list[dict[str, Any]]:
    """A row per value of a pair of cells; none where they do not hold the same number of values."""
    if len(dices) != len(ious):
        return []
    rows = []
    for number, (dice, iou) in enumerate(zip(dices, ious, strict=True), 1):
        numbered = f"#{number}" if len(dices) > 1 else ""
        rows.append({"row": " ".join(filter(None, [*words, numbered])), **_assess(dice, iou)})
    return rows


def verdict(dice: float, iou: float, rounding: tuple[float, float] = (0.0, 0.0)) -> str:
    """ "impossible", "on the curve" or "mean", where each number may be off by its `rounding`."""
    lowest, highest = (_curve(min(1.0, max(0.0, dice + sign * rounding[0]))) for sign in (-1, 1))
    if iou + rounding[1] < lowest - 1e-12 or iou - rounding[1] > dice + rounding[0] + 1e-12:
        return "impossible"
    return "on the curve" if iou - rounding[1] <= highest + 1e-12 else "mean"


def _assess(dice: tuple[float, float], iou: tuple[float, float]) -> dict[str, Any]:
    percent = 100 if max(dice[0], iou[0]) > 1 else 1
    values = dice[0] / percent, iou[0] / percent
    if not all(0 <= value <= 1 for value in values):
        return {
            "dice": values[0],
            "iou": values[1],
            "lowest_iou": None,
            "verdict": "impossible",
            "foreground": None,
        }
    found = verdict(*values, (dice[1] / percent, iou[1] / percent))
    try:
        foreground = round(macro_to_foreground(*values)[0], 4) if found == "mean" else None
    except UserError:
        foreground = None
    return {
        "dice": values[0],
        "iou": values[1],
        "lowest_iou": round(_curve(values[0]), 4),
        "verdict": found,
        "foreground": foreground,
    }


def _curve(dice: float) -> float:
    return dice / (2 - dice)


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [
                [cell.strip() for cell in line]
                for line in csv.reader(file)
                if any(cell.strip() for cell in line)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); give a CSV file with a line"
            " of names"
        ) from None
    if len(lines) < 2:
        raise UserError(
            f"{path}: has no rows; give a CSV file with a line of names and one line per result"
        )
    width = len(lines[0])
    return lines[0], [(line + [""] * width)[:width] for line in lines[1:]]


def _pairs(header: list[str]) -> dict[str, tuple[int, int]]:
    """Columns (Dice, IoU) by what is left of their names."""
    found: dict[str, dict[str, int]] = {}
    for column, name in enumerate(header):
        words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word not in ("", "mean")]
        words = [re.sub(r"^mean(?=dice|iou|dic)", "m", word) for word in words]
        rest = " ".join(word for word in words if word not in DICE | IOU)
        for kind, known in (("dice", DICE), ("iou", IOU)):
            if known & set(words):
                found.setdefault(rest, {}).setdefault(kind, column)
                break
    return {
        rest: (columns["dice"], columns["iou"])
        for rest, columns in found.items()
        if len(columns) == 2
    }


def _values(cell: str) -> list[tuple[float, float]]:
    """Each number of a cell and the unit of its last digit; empty where one is not a number.

    Printed numbers may be truncated instead of rounded.
    """
    numbers = [_number(word) for word in cell.split("/")]
    return [each for each in numbers if each] if all(numbers) else []


def _number(word: str) -> tuple[float, float] | None:
    match = re.fullmatch(r"(\d*\.?(\d*))\s*%?", word.strip())
    if not match or not any(c.isdigit() for c in match[1]):
        return None
    digits = len(match[2]) if "." in match[1] else 0
    return float(match[1]), 10.0**-digits


def run_lint(config: LintConfig) -> dict[str, Any]:
    """`medseg lint`."""
    return lint(config.table)


def show(result: dict[str, Any], config: LintConfig) -> None:
    """Print the verdicts and what they mean."""
    print_table(str(config.table), result["rows"])
    print(result["meaning"])
    if result["skipped"]:
        print(f"left out, as they hold no numbers: {result['skipped']} pairs of cells")
