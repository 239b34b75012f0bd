"""Ctrl-C and SIGTERM: stop after the step, with everything saved."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from loguru import logger


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C or SIGTERM has come; a second one stops at once."""
    received: list[int] = []

    def handler(number: int, frame: Any) -> None:
        received.append(number)
        logger.warning("stopping after this step; a second signal stops at once")
        signal.signal(number, before[number])

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, handler) for number in numbers}
    except ValueError:  # not the main thread: Python delivers no signals here
        yield lambda: False
        return
    try:
        yield lambda: bool(received)
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
