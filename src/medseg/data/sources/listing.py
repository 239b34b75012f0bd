"""The files and folders in a folder, in the order a person expects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from medseg.data.decode import IMAGE_SUFFIXES
from medseg.data.sources.names import check_name


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder by their extension, without hidden ones, in natural order.

    Raises `UserError` for a name that no list or terminal can hold, such as one that is no UTF-8.
    """
    return _visible(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def list_maps(folder: Path) -> list[Path]:
    """The image files of a folder, and its arrays (.npy): predictions of any tool."""
    suffixes = {*IMAGE_SUFFIXES, ".npy"}
    return _visible(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def _visible(paths: Iterable[Path]) -> list[Path]:
    files = [path for path in paths if not path.name.startswith(".") and path.is_file()]
    files.sort(key=lambda path: natural(path.name))
    for path in files:
        check_name(path)
    return files


def natural(name: str) -> list[tuple[int, int | str]]:
    """A sort key that puts 2 before 10."""
    parts = filter(None, re.split(r"(\d+)", name))
    return [(0, int(part)) if part.isdigit() else (1, part.lower()) for part in parts]
