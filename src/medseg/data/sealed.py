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

MARK = ".searching"  # in the folder of a study: held by every process that works on it
_SEALED: set[Any] = set()  # global on purpose: it holds for code that does not know of it


@contextmanager
def sealed(items: Sequence[Item]) -> Iterator[None]:
    """Within this block, reading an image or mask of `items` raises `UserError` in any thread."""
    files = set()
    for item in items:
        files.update(_identity(path) for path in item.files)
    files -= _SEALED  # a block within a block must not open what the outer one sealed
    _SEALED.update(files)
    try:
        yield
    finally:
        _SEALED.difference_update(files)


def check_open(path: Path) -> None:
    """`UserError` for a sealed file."""
    if _SEALED and _identity(path) in _SEALED:
        raise UserError(
            f"{path}: is a test image, and a search is running, which evaluates on validation"
            " alone; wait until it ends"
        )


def _identity(path: Path) -> Any:
    """What is the same for every path to a file, symbolic and hard links among them."""
    try:
        found = path.stat()
    except OSError:  # it is not there, as the reader will say
        return path.resolve()
    return found.st_dev, found.st_ino


@contextmanager
def searching(folder: Path) -> Iterator[None]:
    """Within this block, `check_run` refuses the runs below `folder` in other processes."""
    with lock(folder / MARK, "", wait=True, shared=True):
        yield


def check_run(run: Path) -> None:
    """`UserError` for a run of a study that is being worked on: its test part stays closed."""
    message = (
        f"{run}: belongs to a search that is running, which evaluates on validation alone; wait"
        " until it ends to open the test part"
    )
    for parent in run.resolve().parents[:3]:  # STUDY/trials/0007/fold-1
        if (parent / MARK).is_file() and os.access(parent / MARK, os.W_OK):
            with lock(parent / MARK, message):
                return
