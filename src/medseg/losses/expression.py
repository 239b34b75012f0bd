"""A weighted sum of named terms as text, such as `0.5*focal+tversky`: losses and distillation are
written alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from medseg.errors import UserError, choose


def parse_sum(
    expression: str, known: Iterable[str], *, flag: str, what: str, example: str
) -> list[tuple[float, str]]:
    """`"0.5*focal+tversky"` to [(0.5, "focal"), (1.0, "tversky")], the names out of `known`.

    `flag`, `what` and `example` are the words of the errors. Raises `UserError` for an unknown or
    repeated term and for a weight that is not a number above 0.
    """
    terms: list[tuple[float, str]] = []
    for text in expression.split("+"):
        head, star, tail = (word.strip() for word in text.partition("*"))
        name = tail if star else head
        if not name:
            raise UserError(
                f"{flag} {expression!r}: a term is missing; expected a sum such as {example}"
            )
        choose(what, name, known)
        if name in (earlier for _, earlier in terms):
            raise UserError(
                f"{flag} {expression!r}: {name} appears twice; give it once, with a weight such as"
                f" 2*{name}"
            )
        weight = _weight(head) if star else 1.0
        if not 0 < weight < math.inf:
            raise UserError(
                f"{flag} {expression!r}: the weight {head!r} is not a number above 0; expected a"
                f" term such as 0.5*{name}"
            )
        terms.append((weight, name))
    return terms


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
