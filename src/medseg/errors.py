"""The exception for wrong use, outcomes that are not results, and words of messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong use, in one line: what was given, what was expected, what to do.

    The command prints it without a traceback and ends with exit code 2.
    """


class Interrupted(Exception):  # noqa: N818  an outcome, not an error
    """The user stopped the work; everything is saved. The text names what to resume."""


class Pruned(Exception):  # noqa: N818  an outcome, not an error
    """A search stopped a training after an epoch."""


def counted(count: int, one: str, many: str) -> str:
    """A number with the words for one or for several: "1 mask is", "3 masks are"."""
    return f"{count} {one if count == 1 else many}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`", did you mean NAME?"` for the known name closest to `word`, or an empty string."""
    match = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f", did you mean {match[0]}?" if match else ""


def choose(what: str, word: str, known: Iterable[str]) -> str:
    """`word` itself when it is among the `known` names, else a `UserError` that lists them."""
    known = list(known)
    if word in known:
        return word
    hint = nearest(word, known) or "."
    raise UserError(f"unknown {what} {word!r}{hint} Choose from: {', '.join(known)}.")
