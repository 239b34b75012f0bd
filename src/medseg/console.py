"""What the user sees: progress on standard error, results on standard output, a log file."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loguru import logger


def log_to_stderr() -> None:
    """Plain short lines on standard error."""
    logger.remove()
    # looked up for each line: whatever standard error is by then
    logger.add(lambda line: sys.stderr.write(line), format="{message}", level="INFO")


def log_to_file(path: Path) -> int:
    """Every line with its time into `path`; returns the handle for `logger.remove`."""
    return logger.add(
        str(path).replace("{", "{{").replace("}", "}}"),  # loguru puts times between braces
        format="{time:YYYY-MM-DD HH:mm:ss} {level} {message}",
        level="DEBUG",
        errors="backslashreplace",
    )


def print_any_name() -> None:
    """Let standard output take whatever a terminal's encoding lacks, written as escapes."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def progress(text: str, *, show: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """A bar fed by calls of (done, total); None where it is not shown, or not on a terminal."""
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
        TextColumn("{task.description}", markup=False),
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


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows with the same keys as a table on standard output; texts are printed as they are."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for key, first in rows[0].items():
        justify = "left" if isinstance(first, str) else "right"
        table.add_column(key.replace("_", " "), justify=justify)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console(markup=False, emoji=False).print(table)  # brackets and colons of names are text


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float) and abs(value) < 1:
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def to_json(document: Any) -> str:
    """JSON text, indented; NaN and infinities become null, paths and tuples plain values."""
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
