"""`medseg search`: the command. Everything that needs Optuna is imported when it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.config import SearchConfig, make


def search(config: SearchConfig) -> dict[str, Any]:
    """Run the study to its end; returns the content of search.json.

    In a worker of another process it returns {}. Raises `UserError` for wrong use, `Interrupted`
    when stopped: the same call resumes.
    """
    from medseg.search.study import default_storage, storage_errors  # says what to install

    data = replace(config.data, folds=config.data.folds or 0, workers=config.data.workers or 1)
    config = replace(config, data=data)
    folder = config.output.out or Path("runs") / f"search-{config.search.study}"
    url = config.search.storage or os.environ.get("MEDSEG_STORAGE") or default_storage(folder)
    with storage_errors(url), _stopped_by_sigterm():
        if config.search.dashboard:
            from medseg.search.dashboard import dashboard

            return dashboard(url, config.search.study)
        from medseg.search.conduct import conduct

        return conduct(config, folder, url)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM means what Ctrl-C does; a training has a handler of its own, which saves first."""

    def handler(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, handler)
    except ValueError:  # not the main thread: Python delivers no signals here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def config_from(values: Mapping[str, Any]) -> SearchConfig:
    """A SearchConfig from flat names; the dashboard needs no images."""
    data = {"data": "none"} if values.get("dashboard") else {}
    return make(SearchConfig, data | dict(values))
