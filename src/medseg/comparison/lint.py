"""`medseg lint`: what arithmetic says about a table with Dice and IoU.

For one mask IoU = Dice / (2 - Dice), which is convex and lies below Dice. Any mean of such pairs,
over images, classes or both, therefore obeys mDice / (2 - mDice) <= mIoU <= mDice, and pooled
counts lie on the lower bound. A pair outside is impossible for any of them; one on the curve is
most likely pooled; and from a macro pair (the mean over background and foreground of pooled pixels)
the foreground Dice follows exactly.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from medseg.comparison.cells import values
from medseg.config import LintConfig
from medseg.console import print_table
from medseg.data.sources.tables import read_table
from medseg.errors import UserError
from medseg.evaluation.conventions import macro_to_foreground

DICE = {"dice", "mdice", "dsc", "mdsc", "f1"}
IOU = {"iou", "miou", "jaccard", "jac", "mjac"}
WEAK = {"", "mean", "score", "coefficient", "coeff", "coef", "index", "std", "sd"}
NOTHING = {"", "-", "–", "—", "--", "---", "n.a.", "na", "n/a", "nan"}
MEANING = (
    "impossible: no mean over images or classes has this pair. on the curve: as pooled pixels have."
    " mean: possible as a mean over images. foreground: the foreground Dice if the pair is a mean"
    " over background and foreground of pooled pixels."
)


def lint(path: Path) -> dict[str, Any]:
    """{"rows": one per pair, "impossible": how many, "skipped", "unread", "meaning"}.

    "skipped" counts the pairs of cells that hold no numbers; "unread" are those of them that are
    not empty: {"row", "column", "cell"}.

    Columns are found by their names (Dice, DSC, F1; IoU, Jaccard; with m or mean before) and paired
    by the rest of the name, so that `kvasir_dice` goes with `kvasir_iou`. A cell may hold several
    values, as in 0.91/0.95 for validation and test; of 0.91 ± 0.02 the mean counts. Values above 1
    are taken as percent. Raises `UserError` for a file without such columns.
    """
    header, lines = _read(path)
    pairs = _pairs(header)
    if not pairs:
        raise UserError(
            f"{path}: found no pair of Dice and IoU columns among {', '.join(header)}; name them"
            " such as dice and iou, or kvasir_dice and kvasir_iou"
        )
    used = {column for pair in pairs.values() for column in pair}
    rows, skipped, unread = [], 0, []
    for number, line in enumerate(lines, 1):
        cells = [line[i] for i in range(len(header)) if i not in used]
        label = [cell for cell in cells if cell.lower() not in NOTHING and not values(cell)]
        for rest, (a, b) in pairs.items():
            found = _rows_of_pair([*label, rest], values(line[a]), values(line[b]))
            rows += found
            if not found:
                skipped += 1
                where = " ".join(label) or f"row {number}"
                unread += [
                    {"row": where, "column": header[column], "cell": line[column]}
                    for column in _unread(line, a, b)
                ]
    if not rows:
        first = f"; the first cell is {unread[0]['cell']!r}" if unread else ""
        raise UserError(f"{path}: no row has a number for both Dice and IoU{first}")
    for number, row in enumerate(rows, 1):
        row["row"] = row["row"] or f"row {number}"
    return {
        "rows": rows,
        "impossible": sum(row["verdict"] == "impossible" for row in rows),
        "skipped": skipped,
        "unread": unread,
        "meaning": MEANING,
    }


def _unread(line: list[str], a: int, b: int) -> list[int]:
    """The columns of a pair that could not be read: no numbers, or not as many in both."""
    filled = [column for column in (a, b) if line[column].lower() not in NOTHING]
    wrong = [column for column in filled if not values(line[column])]
    return wrong or (filled if len(filled) == 2 else [])


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
    """The header and the other lines, of cells without blanks around them."""
    lines = [[cell.strip() for cell in line] for line in read_table(path)]
    if len(lines) < 2:
        raise UserError(
            f"{path}: has no rows; give a CSV file with a line of names and one line per result"
        )
    return lines[0], lines[1:]


def _pairs(header: list[str]) -> dict[str, tuple[int, int]]:
    """Columns (Dice, IoU) by what is left of their names."""
    found: dict[str, dict[str, int]] = {}
    for column, name in enumerate(header):
        bare = re.sub(r"<[^>]*>|\\[a-zA-Z]+", " ", name)  # without tags and commands of LaTeX
        words = [word for word in re.split(r"[^a-z0-9]+", bare.lower()) if word not in WEAK]
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


def run_lint(config: LintConfig) -> dict[str, Any]:
    """`medseg lint`."""
    return lint(config.table)


def show(result: dict[str, Any], config: LintConfig) -> None:
    """Print the verdicts and what they mean."""
    print_table(str(config.table), result["rows"])
    print(result["meaning"])
    if result["skipped"]:
        print(f"left out, as they hold no numbers: {result['skipped']} pairs of cells")
    for each in result["unread"]:
        print(f"could not be read: {each['cell']!r} ({each['row']}, {each['column']})")
