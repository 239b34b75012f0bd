"""The parts of a report that say how far its numbers can be believed: intervals, the split's stamp,
the spread over trainings.
"""

from __future__ import annotations

import html
import math
from typing import Any

STAMPS = {
    "LEAKY": "LEAKY",
    "grouped": "Split by groups",
    "unknown": "Groups unknown",
    "seen": "Seen in training",
    "other": "Another data set",
}


def interval_text(summary: dict[str, Any], *path: str) -> str:
    """The interval of the number at this path of summary.json, or an empty text."""
    found: Any = summary.get("intervals") or {}
    for step in path:
        found = found.get(step, {})
    if not found or not all(end is not None and math.isfinite(end) for end in found):
        return ""
    digits = 3 if max(found) < 10 else 1  # distances are tens of pixels
    return f"{found[0]:.{digits}f} to {found[1]:.{digits}f}"


def interval_note(summary: dict[str, Any]) -> str:
    """A line of HTML on how the intervals were made."""
    made = summary.get("intervals")
    if not made:
        return ""
    unit = f"{made['n_groups']} groups" if made["unit"] == "group" else "images"
    return (
        f"<p class=small>In small figures: {100 * made['level']:g} % intervals, {made['method']}"
        f" over {unit}, n = {made['n_images']}.</p>"
    )


def interval_notes(summary: dict[str, Any]) -> list[str]:
    """What weakens the intervals, as plain text."""
    return summary.get("intervals", {}).get("notes", [])


def stamp_lines(summary: dict[str, Any]) -> list[str]:
    """The split's stamp as at most one line of HTML."""
    stamp = summary.get("stamp")
    if not stamp:
        return []
    label = STAMPS.get(stamp["verdict"], stamp["verdict"])
    kind = ' class="stamp leaky"' if stamp["verdict"] == "LEAKY" else " class=stamp"
    return [f"<span{kind}>{html.escape(label)}</span> {html.escape(stamp['text'])}"]


def repeats_section(summary: dict[str, Any]) -> str:
    """The trainings behind the numbers, one a seed or a fold, with their mean and spread; empty for
    a single training.
    """
    repeats = summary.get("repeats")
    if not repeats:
        return ""
    kind = html.escape(repeats["kind"])
    numbers = repeats["protocols"]["per-image-foreground"]
    columns = zip(
        repeats["names"],
        repeats["n_images"],
        numbers["dice"]["values"],
        numbers["iou"]["values"],
        strict=True,
    )
    lines = "".join(
        f"<tr><th scope=row>{kind} {html.escape(str(name))}</th><td>{count}</td><td>{dice:.4f}</td>"
        f"<td>{iou:.4f}</td></tr>"
        for name, count, dice, iou in columns
    )
    spread = ", ".join(
        f"{title} {numbers[key]['mean']:.4f} ± {numbers[key]['sd']:.4f}"
        for key, title in (("dice", "Dice"), ("iou", "IoU"))
    )
    drawn = " The pictures show the masks of the first seed." if kind == "seed" else ""
    return (
        f"<section><h2>Each {kind}</h2><p>Mean and standard deviation over {len(repeats['names'])}"
        f" trainings: {spread}. Per image, foreground.{drawn}</p><div"
        " class=scroll><table><thead><tr><th scope=col>Training</th><th scope=col>Images</th><th"
        " scope=col>Dice</th><th"
        f" scope=col>IoU</th></tr></thead><tbody>{lines}</tbody></table></div></section>"
    )
