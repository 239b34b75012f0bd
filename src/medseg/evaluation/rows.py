"""per_image.csv read back: names and groups as text, numbers as floats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medseg.data.sources.names import same_name
from medseg.data.sources.tables import read_table
from medseg.errors import UserError

TEXT = ("name", "group", "image_digest", "mask_digest")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a per_image.csv; an empty cell is NaN (None for a group).

    `files.read_csv` would make 1.0 of the names 1 and 001. Raises `UserError` for a file of another
    kind.
    """
    header, *lines = read_table(path) or [[]]
    keys = [key.strip() for key in header]
    try:
        rows = [
            {key: _cell(key, cell) for key, cell in zip(keys, line, strict=True)} for line in lines
        ]
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot be read as a table of images ({reason}); evaluate the run again"
        ) from None
    names = [row.get("name") for row in rows]
    if not rows or not all(names) or len(set(names)) < len(names):
        raise UserError(
            f"{path}: expected a column name with one row per image; evaluate the run again with"
            " medseg evaluate"
        )
    return rows


def _cell(column: str, text: str) -> Any:
    if column in TEXT:
        return same_name(text) or None
    return float(text or math.nan)
