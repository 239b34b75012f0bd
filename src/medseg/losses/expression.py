"""A weighted sum of named terms as text, such as `0.5*focal+tversky`.

Losses and distillation are written in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from medseg.errors import UserError, choose


def parse_sum(
    expression: str, known: Iterable[str], *, flag: str, what: str, example: str
) -> list[tuple[float, str]]:
    """`"0.5*focal+tversky"` to [(0.5, "focal"), (1.0, "tversky")], with the names in `known`.

    `flag`, `what` and `example` are used in the error messages. Raises `UserError` for an unknown
    or repeated term and for a weight that is not a number above 0.
    """
    terms: list[tuple[float, str]] = []
    for text in expression.split("+"):
        before, star, after = (word.strip() for word in text.partition("*"))
        name = after if star else before
        if not name:
            raise UserError(
                f"{flag} {expression!r}: a term is missing; expected a sum such as {example}"
            )
        choose(what, name, known)
        if any(name == earlier for _, earlier in terms):
            raise UserError(
                f"{flag} {expression!r}: {name} appears twice; give it once, with a weight such as"
                f" 2*{name}"
            )
        weight = _weight(before) if star else 1.0
        if not 0 < weight < math.inf:
            raise UserError(
                f"{flag} {expression!r}: the weight {before!r} is not a number above 0; expected a"
                f" term such as 0.5*{name}"
            )
        terms.append((weight, name))
    return terms


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
