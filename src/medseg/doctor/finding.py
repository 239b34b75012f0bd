"""What is found of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.doctor.context import Context
from medseg.doctor.look import Look


@dataclass(frozen=True)
class Finding:
    """One fault of one file; `part` and `name` are empty where it is one of the whole set."""

    code: str
    part: str
    name: str
    file: str
    text: str


Texts = Iterator[tuple[Path, str]]  # files of a pair, and what is wrong with them
OfSet = Iterator[tuple[Look | None, Path, str]]
Fault = Callable[[Sequence[Look], Context], OfSet]
