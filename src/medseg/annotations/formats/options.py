"""What a user can say to the readers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from medseg.errors import UserError, nearest

BOXES = ("refuse", "fill", "skip")
NO_LABEL = "object"  # what has no class is called so


@dataclass(frozen=True)
class Reading:
    """`boxes`: what is taken of objects that only have a box, one of BOXES.

    `attribute` is the one that holds the class where a tool knows several, `colours` a file or a
    list of colours; both may be empty.
    """

    boxes: str = "refuse"
    attribute: str = ""
    colours: str = ""


def only_a_box(where: str, reading: Reading) -> bool:
    """Whether to fill the box of an object that has no outline; `UserError` to ask the user."""
    if reading.boxes == "refuse":
        raise UserError(
            f"{where}: is a box without an outline, as for detection; give --boxes fill to take"
            " boxes as masks, or --boxes skip to leave them out"
        )
    return reading.boxes == "fill"


def attribute_of_classes(found: Iterable[dict[str, Any]], reading: Reading, source: Any) -> str:
    """The attribute that holds the class: the user's, or the only one; "" where there is none.

    Raises `UserError` where there are several, or not the one asked for.
    """
    keys = list(dict.fromkeys(key for each in found for key in each))
    if reading.attribute:
        if reading.attribute not in keys:
            hint = nearest(reading.attribute, keys) or ";"
            raise UserError(
                f"--attribute {reading.attribute}: no object has it{hint} known:"
                f" {', '.join(keys) or 'none'}"
            )
        return reading.attribute
    if len(keys) > 1:
        raise UserError(
            f"{source}: objects have the attributes {', '.join(keys[:8])}; say which one holds the"
            " class by --attribute"
        )
    return keys[0] if keys else ""
