"""Files that must not be read for the time being: the test part while a hyperparameter search runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medseg.data.sample import Item
from medseg.errors import UserError

_SEALED: set[Path] = set()  # global on purpose: whoever forgets about the seal meets it all the same


@contextmanager
def sealed(items: Sequence[Item]) -> Iterator[None]:
    """Within this block, reading an image or mask of `items` raises `UserError`, in any thread of this process."""
    files = {path.resolve() for item in items for path in (item.image, item.mask) if path} - _SEALED
    _SEALED.update(files)
    try:
        yield
    finally:
        _SEALED.difference_update(files)


def check_open(path: Path) -> None:
    """`UserError` for a sealed file."""
    if _SEALED and path.resolve() in _SEALED:
        raise UserError(f"{path}: is a test image, and a search is running, which judges on validation alone; wait for its end")
