"""A worker: takes trials until the study is full and none is running. Any number of them share a
study.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from loguru import logger
from optuna.exceptions import UpdateFinishedTrialError

from medseg.config import SearchConfig, TrainConfig
from medseg.data.sample import Dataset
from medseg.data.sealed import sealed, searching
from medseg.errors import UserError
from medseg.search.space import Space, configure, suggest
from medseg.search.study import make_sampler, tally, too_many, try_again
from medseg.search.trial import in_processes, objective, reporter
from medseg.training import loop as engine

# what may differ between two workers of a study, or two calls: it changes no trial's result, but
# for the hardware's rounding
FREE = frozenset(
    {
        "data",
        "data_root",
        "cache_dir",
        "workers",
        "out",
        "resume",
        "tensorboard",
        "pictures",
        "log_every",
        "progress",
        "profile",
        "accelerator",
        "devices",
        "num_nodes",
        "precision",
        "threads",
        "compile",
        "deterministic",
        "val_batch_size",
    }
)


class Freed(Exception):  # noqa: N818  an outcome, not an error
    """The slots were taken already."""


@dataclass(frozen=True)
class Work:
    """All that a worker needs. `base` is the training without the values of a trial, `me` names the
    command that began it.
    """

    config: SearchConfig
    base: TrainConfig
    space: Space
    dataset: Dataset
    folder: Path
    study: optuna.Study
    url: str
    me: str

    @property
    def steps(self) -> int:
        """Reports of a whole trial."""
        return self.config.data.folds or self.base.training.epochs


def work(job: Work, after_trial: Callable[[], None] = lambda: None) -> int:
    """Take trials until all are done; returns how many were done here. `engine.Interrupted` when
    stopped.
    """
    wanted, done = job.config.search.trials, 0
    pause = min(5.0, job.config.search.grace / 4)
    with sealed(job.dataset.parts.get("test", ())), searching(job.folder):
        while True:
            found = tally(job.study)
            if found.finished >= wanted:
                return done
            if found.taken >= wanted:  # others are at the last ones: one of them may be lost
                optuna.storages.fail_stale_trials(job.study)
                time.sleep(pause)
                continue
            _one(job)
            done += 1
            after_trial()


def _one(job: Work) -> None:
    running: list[optuna.Trial] = []

    def run(trial: optuna.Trial) -> float:
        running[:] = [trial]
        return _run(job, trial)

    try:
        job.study.optimize(run, n_trials=1, catch=(UserError, Freed))
    except (
        engine.Interrupted,
        KeyboardInterrupt,
    ):  # the latter outside of a training, as while images are decoded
        if running:
            try_again(job.study, _frozen(job.study, running[0].number))
        raise
    except (UpdateFinishedTrialError, ValueError):
        if not running or not _frozen(job.study, running[0].number).state.is_finished():
            raise
        logger.warning(
            f"trial {running[0].number} was given to another worker, since this one was silent too"
            " long"
        )


def _frozen(study: optuna.Study, number: int) -> Any:
    return study.get_trials(deepcopy=False)[number]


def _run(job: Work, trial: optuna.Trial) -> float:
    """One trial from its values to its score, with what happened written into the study."""
    search, number = job.config.search, trial.number
    if too_many(job.study, number, search.trials):
        trial.set_user_attr("freed", "one too many")
        raise Freed
    # a function of the trial's number: equal workers must not propose equal values, nor a study
    # that goes on repeat itself
    job.study.sampler = make_sampler(
        search.sampler, (job.base.training.seed * 1_000_003 + number) % 2**31
    )
    trial.set_user_attr("worker", job.me)
    values = suggest(job.space, job.base, trial)
    config = configure(job.base, job.space, values)
    folder = _free_folder(job.folder / "trials", number)
    trial.set_user_attr("run", str(folder))
    config = replace(config, output=replace(config.output, out=folder))
    started = time.perf_counter()
    try:
        if job.base.hardware.devices > 1:
            pruner = {"name": search.pruner, "steps": job.steps, "startup": search.startup}
            value = in_processes(
                config,
                job.dataset,
                job.config.data.folds,
                {
                    "storage": job.url,
                    "name": search.study,
                    "trial": trial._trial_id,
                    "pruner": pruner,
                },
            )
        else:
            value = objective(config, job.dataset, job.config.data.folds, reporter(trial))
    except engine.Pruned:
        raise optuna.TrialPruned from None
    except (engine.Interrupted, KeyboardInterrupt):
        trial.set_user_attr("freed", "stopped by the user")
        raise
    except UserError as error:
        trial.set_user_attr("error", str(error)[:1000])
        logger.warning(f"trial {number} failed: {error}")
        raise
    finally:
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
    if value != value:
        trial.set_user_attr("error", "the validation metric is undefined")
        raise UserError("the validation metric is undefined")
    return value


def _free_folder(parent: Path, number: int) -> Path:
    """The folder of a trial; its number is its own in the study, but the folder may be left from a
    study that was removed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    path = parent / f"{number:04}"
    while path.exists():
        path = path.with_name(f"{path.name}-again")
    return path
