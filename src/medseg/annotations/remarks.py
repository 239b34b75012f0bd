"""What is told of a conversion: a row of facts for each image, and lines for the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from medseg.annotations.drawing import Drawn
from medseg.annotations.images import Seen
from medseg.annotations.shapes import Picture
from medseg.annotations.tree import some
from medseg.data.masks import IGNORED
from medseg.errors import UserError


def row_of(
    name: str, picture: Picture, drawn: Drawn, classes: tuple[str, ...], divided: bool
) -> dict[str, Any]:
    """A line of convert.csv, with "annotated" for `check_drawn`."""
    counts = np.bincount(drawn.mask.ravel(), minlength=256)
    dropped = drawn.dropped.total()
    reasons = [f"{count} {why}" for why, count in (drawn.dropped + drawn.noted).items()]
    empty = not picture.shapes and picture.classes is None
    return {
        "name": name,
        **({"part": picture.part} if divided else {}),
        "objects": drawn.objects,
        **{f"pixels {each}": int(counts[index]) for index, each in enumerate(classes)},
        "pixels ignored": int(counts[IGNORED]),
        "pixels overlapped": drawn.overlapped,
        "dropped": dropped,
        "remarks": "; ".join(reasons),
        "annotated": drawn.annotated or empty,
    }


def check_drawn(rows: Sequence[dict[str, Any]]) -> None:
    """`UserError` for images with objects of which none covers a pixel; takes out "annotated"."""
    undrawn = [row for row in rows if not row.pop("annotated")]
    if undrawn:
        raise UserError(
            f"{len(undrawn)} images have objects, none of which covers a pixel, such as"
            f" {undrawn[0]['name']} ({undrawn[0]['remarks']}); correct or remove them"
        )


def say(rows: Sequence[dict[str, Any]]) -> None:
    """One line for each thing that a user may not expect, with the first images it is about."""
    over = [row for row in rows if row["pixels overlapped"]]
    if over:
        pixels = sum(row["pixels overlapped"] for row in over)
        names = some([row["name"] for row in over])
        logger.info(f"overlaps of classes: {pixels} pixels, in {names}; see --overlap")
    said = [row for row in rows if row["remarks"]]
    if said:
        totals: Counter[str] = Counter()
        for row in said:
            for remark in row["remarks"].split("; "):
                count, why = remark.split(" ", 1)
                totals[why] += int(count)
        text = ", ".join(f"{count} {why}" for why, count in totals.items())
        logger.info(f"objects dropped or changed: {text}; in {some([r['name'] for r in said])}")


def say_turned(seen: dict[Path, Seen], stored: set[Path]) -> None:
    """Which images EXIF turns, and whether annotations are of them as `stored` or as shown."""
    turned = [path.name for path, found in seen.items() if found.orientation > 1]
    if turned:
        how = "as stored" if stored else "as shown"
        logger.info(f"turned by EXIF, with coordinates {how}: {some(turned)}")
