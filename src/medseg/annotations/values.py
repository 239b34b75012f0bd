"""Values of annotation files, checked: each function names where a wrong one stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.errors import UserError

FARTHEST = 1e7  # no image is as wide; beyond it, a coordinate is a mistake


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: got {shown(value)}, expected an object of names and values")
    return value


def listing(value: Any, where: str) -> list[Any]:
    """A JSON array; nothing at all counts as an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise UserError(f"{where}: got {shown(value)}, expected a list")
    return value


def text(value: Any, where: str) -> str:
    """A text that is not empty, without blanks around it; a number becomes its digits."""
    is_word = isinstance(value, (str, int)) and not isinstance(value, bool)
    if not is_word or not str(value).strip():
        raise UserError(f"{where}: got {shown(value)}, expected a name")
    return str(value).strip()


def number(value: Any, where: str) -> float:
    """A finite number, also one written as a text, that can be a coordinate."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: got {shown(value)}, expected a number") from None
    if not math.isfinite(found) or abs(found) > FARTHEST or isinstance(value, bool):
        raise UserError(f"{where}: got {shown(value)}, expected a coordinate in pixels")
    return found


def whole(value: Any, where: str) -> int:
    """A whole number from 0 to ten million."""
    found = number(value, where)
    if found != int(found) or found < 0:
        raise UserError(f"{where}: got {shown(value)}, expected a whole number from 0 on")
    return int(found)


def size(width: Any, height: Any, where: str) -> tuple[int, int] | None:
    """(width, height) in pixels; None where they are left out or 0."""
    if not width or not height:
        return None
    return whole(width, f"{where}: width"), whole(height, f"{where}: height")


def points(value: Any, where: str) -> np.ndarray:
    """float64 [N, 2] of a list of pairs; values after the second, such as z, are dropped."""
    pairs = listing(value, where)
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) < 2:
            raise UserError(f"{where}: got the point {shown(pair)}, expected [x, y]")
    return _checked([pair[:2] for pair in pairs], where)


def flat_points(value: Any, where: str) -> np.ndarray:
    """float64 [N, 2] of x, y, x, y, ..."""
    numbers = listing(value, where)
    if len(numbers) % 2:
        raise UserError(f"{where}: has {len(numbers)} coordinates, expected pairs of x and y")
    return _checked([numbers[at : at + 2] for at in range(0, len(numbers), 2)], where)


def two_lists(xs: Any, ys: Any, where: str) -> np.ndarray:
    """float64 [N, 2] of a list of x and one of y."""
    across, down = listing(xs, where), listing(ys, where)
    if len(across) != len(down):
        raise UserError(f"{where}: has {len(across)} values of x and {len(down)} of y")
    return _checked([list(pair) for pair in zip(across, down, strict=True)], where)


def _checked(pairs: Sequence[Sequence[Any]], where: str) -> np.ndarray:
    for pair in pairs:
        for value in pair:
            number(value, where)
    return np.array([[float(x), float(y)] for x, y in pairs], np.float64).reshape(-1, 2)


def shown(value: Any) -> str:
    """A value in a message, short."""
    found = repr(value)
    return found if len(found) <= 40 else f"{found[:37]}..."
