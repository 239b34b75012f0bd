"""One image on disk, and a data set as parts of such images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """One image with its mask; `group` is its video sequence or patient, if known."""

    name: str
    image: Path
    mask: Path
    group: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set divided into parts.

    `parts` by name ("train", "validation", "test"), the scheme that made them, and notes for
    the user.
    """

    name: str
    split: str
    parts: dict[str, tuple[Item, ...]]
    notes: tuple[str, ...] = ()
