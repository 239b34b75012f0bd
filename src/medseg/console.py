"""What the user sees: progress on standard error, one JSON document on standard output, a log file
beside the run.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loguru import logger


def log_to_stderr() -> None:
    """Plain short lines on standard error."""
    logger.remove()
    logger.add(
        lambda line: sys.stderr.write(line), format="{message}", level="INFO"
    )  # whatever standard error is by then


def log_to_file(path: Path) -> int:
    """Every line with its time into `path`; returns the handle for `logger.remove`."""
    return logger.add(path, format="{time:YYYY-MM-DD HH:mm:ss} {level} {message}", level="DEBUG")


@contextmanager
def progress(text: str, *, show: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """A bar fed by calls of (done, total); None where it is not shown or standard error is no
    terminal.
    """
    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_json(document: Any) -> None:
    """One JSON document on standard output; NaN, which JSON lacks, becomes null."""
    print(to_json(document))


def to_json(document: Any) -> str:
    """JSON text with two spaces of indentation; NaN and infinities become null, paths and tuples
    plain values.
    """
    return json.dumps(_plain(document), indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)
