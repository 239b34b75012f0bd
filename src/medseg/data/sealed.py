"""Files that must not be read for the time being: the test part while a search runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg.data.sample import Item
from medseg.errors import UserError
from medseg.files import lock

MARK = ".searching"  # in the folder of a study: held by everybody who works on it
_SEALED: set[Any] = set()  # global on purpose: whoever forgets about the seal meets it all the same


@contextmanager
def sealed(items: Sequence[Item]) -> Iterator[None]:
    """Within this block, reading an image or mask of `items` raises `UserError`.

    In any thread of this process.
    """
    files = {
        _identity(path) for item in items for path in (item.image, item.mask) if path
    } - _SEALED
    _SEALED.update(files)
    try:
        yield
    finally:
        _SEALED.difference_update(files)


def check_open(path: Path) -> None:
    """`UserError` for a sealed file."""
    if _SEALED and _identity(path) in _SEALED:
        raise UserError(
            f"{path}: is a test image, and a search is running, which judges on validation alone;"
            " wait for its end"
        )


def _identity(path: Path) -> Any:
    """The file itself, whatever it is called: the same for symbolic and hard links."""
    try:
        found = path.stat()
    except OSError:  # not there: let the reader say so
        return path.resolve()
    return found.st_dev, found.st_ino


@contextmanager
def searching(folder: Path) -> Iterator[None]:
    """Within this block, other processes find the runs below `folder` barred from test.

    See `check_run`.
    """
    with lock(folder / MARK, "", wait=True, shared=True):
        yield


def check_run(run: Path) -> None:
    """`UserError` for a run of a study that is being worked on: its numbers on test would tempt."""
    said = (
        f"{run}: belongs to a search that is running, which judges on validation alone; wait for"
        " its end to open the test part"
    )
    for parent in run.resolve().parents[:3]:  # STUDY/trials/0007/fold-1
        if (parent / MARK).is_file() and os.access(parent / MARK, os.W_OK):
            with lock(parent / MARK, said):
                return
