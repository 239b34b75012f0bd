"""One image on disk, and a data set as parts of such images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """One image with its mask. `group` names the video sequence or patient it comes from, where
    known.
    """

    name: str
    image: Path
    mask: Path
    group: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Parts by name ("train", "validation", "test"), the scheme that made them, and what the user
    should be told.
    """

    name: str
    split: str
    parts: dict[str, tuple[Item, ...]]
    notes: tuple[str, ...] = ()
