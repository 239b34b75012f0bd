"""The trials of a study on screen while it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loguru import logger
from optuna.trial import FrozenTrial

from medseg.console import log_to_stderr
from medseg.search.job import Job
from medseg.search.results import best_trial
from medseg.search.space import named_values
from medseg.search.study import counted, outcomes, tally

ROWS = 15


@contextmanager
def live_table(job: Job) -> Iterator[None]:
    """A table that follows the study, those of other workers too; warnings appear above it."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stderr, markup=False, emoji=False, highlight=False)

    class Table:
        def __rich__(self) -> Any:
            return table(job)

    logger.remove()
    handle = logger.add(
        lambda line: console.print(str(line), end="", soft_wrap=True),
        format="{message}",
        level="WARNING",
    )
    try:
        with Live(Table(), console=console, refresh_per_second=1):
            yield
    finally:
        logger.remove(handle)
        log_to_stderr()


def table(job: Job) -> Any:
    """The best trial and the latest ones."""
    from rich.table import Table

    trials = job.study.get_trials(deepcopy=False)
    states = dict(zip((trial.number for trial in trials), outcomes(trials), strict=True))
    found, best = tally(job.study), best_trial(job)
    title = (
        f"{job.study.study_name}: {found.finished} of {job.config.search.trials} trials,"
        f" {found.completed} completed, {found.pruned} pruned, {found.failed} failed,"
        f" {found.running} running"
    )
    made = Table(title=title, title_justify="left", min_width=min(len(title), 78))
    for name in ("trial", "state", job.base.training.metric, "steps", "seconds"):
        made.add_column(name, justify="right")
    made.add_column("values", overflow="ellipsis", no_wrap=True)
    shown = [trial for trial in trials if states[trial.number] != "freed"][-ROWS:]
    if best and best.number not in {trial.number for trial in shown}:
        shown.insert(0, best)
    for trial in shown:
        style = "bold green" if best and trial.number == best.number else ""
        made.add_row(*_cells(job, trial, states[trial.number]), style=style)
    return made


def _cells(job: Job, trial: FrozenTrial, state: str) -> list[str]:
    """The cells of one trial: number, state, score, steps, seconds, values."""
    reports = trial.intermediate_values
    value = trial.value
    if value is None and reports:
        value = reports[max(reports)]
    seconds = trial.user_attrs.get("seconds")
    values = named_values(job.space, trial.params)
    return [
        str(trial.number),
        state,
        "–" if value is None else f"{value:.4f}",
        str(len(reports)),
        "–" if seconds is None else f"{seconds:.0f}",
        ", ".join(f"{key} {_short(each)}" for key, each in values.items()),
    ]


def last_line(job: Job) -> str:
    """The trial that ended last, in a line."""
    ended = counted(job.study)
    if not ended:
        return "no trial has ended yet"
    last = max(ended, key=lambda trial: (trial.datetime_complete, trial.number))
    best = best_trial(job)
    value = "" if last.value is None else f" {last.value:.4f}"
    so_far = f", best {best.value:.4f} in trial {best.number}" if best else ""
    return (
        f"trial {last.number} {outcomes([last])[0]}{value} ({len(ended)} of"
        f" {job.config.search.trials}){so_far}"
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
