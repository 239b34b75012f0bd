"""The stamp of the split in words: whether a number can be optimistic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LABELS = {
    "LEAKY": "LEAKY",
    "grouped": "Split by groups",
    "unknown": "Groups unknown",
    "seen": "Seen in training",
    "other": "Another data set",
}


@dataclass(frozen=True)
class Stamp:
    """A label, the sentence beside it, and whether groups are in training and in evaluation."""

    label: str
    text: str
    leaky: bool


def stamp_of(summary: dict[str, Any]) -> Stamp | None:
    """The stamp of a summary, or of a run in a comparison; None where it has none."""
    stamp = summary.get("stamp")
    if not stamp:
        return None
    verdict = stamp["verdict"]
    return Stamp(LABELS.get(verdict, verdict), stamp["text"], verdict == "LEAKY")
