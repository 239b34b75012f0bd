"""A worker takes trials until the study is full and none is running; any number share a study."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
from loguru import logger
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from medseg.config import TrainConfig
from medseg.data.sealed import sealed, searching
from medseg.errors import Interrupted, Pruned, UserError
from medseg.search.job import Job
from medseg.search.space import configure, suggest
from medseg.search.study import make_sampler, tally, too_many, try_again
from medseg.search.trial import objective, reporter
from medseg.search.trial_process import in_processes


class SlotTaken(Exception):  # noqa: N818  an outcome, not an error
    """Two workers asked for the last trial at once, and this one came second."""


def work(job: Job, after_trial: Callable[[], None] = lambda: None) -> int:
    """Take trials until all are done; returns how many were done here.

    Raises `Interrupted` when stopped.
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
            _take_one(job)
            done += 1
            after_trial()


def _take_one(job: Job) -> None:
    """One trial, whatever becomes of it; it is queued again where this process is stopped."""
    running: list[optuna.Trial] = []

    def run(trial: optuna.Trial) -> float:
        running[:] = [trial]
        return _run(job, trial)

    try:
        job.study.optimize(run, n_trials=1, catch=(UserError, SlotTaken))
    except (Interrupted, KeyboardInterrupt):  # the latter outside of training, as while decoding
        if running:
            try_again(job.study, _frozen(job.study, running[0].number))
        raise
    except (UpdateFinishedTrialError, ValueError):
        if not running or not _frozen(job.study, running[0].number).state.is_finished():
            raise
        logger.warning(
            f"trial {running[0].number} was given to another worker, because this one had not"
            " reported for too long"
        )


def _frozen(study: optuna.Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]


def _run(job: Job, trial: optuna.Trial) -> float:
    """One trial from its values to its score, with what happened written into the study."""
    if too_many(job.study, trial.number, job.config.search.trials):
        trial.set_user_attr("freed", "one too many")
        raise SlotTaken
    # a function of the trial's number: equal workers must not propose equal values, nor a resumed
    # study repeat itself
    seed = (job.base.training.seed * 1_000_003 + trial.number) % 2**31
    job.study.sampler = make_sampler(job.config.search.sampler, seed)
    trial.set_user_attr("worker", job.command)
    values = suggest(job.space, job.base, trial)
    config = configure(job.base, job.space, values)
    folder = _free_folder(job.folder / "trials", trial.number)
    trial.set_user_attr("run", str(folder))
    config = replace(config, output=replace(config.output, out=folder))
    started = time.perf_counter()
    try:
        value = _score(job, trial, config)
    except Pruned:
        raise optuna.TrialPruned from None
    except (Interrupted, KeyboardInterrupt):
        trial.set_user_attr("freed", "stopped by the user")
        raise
    except UserError as error:
        trial.set_user_attr("error", str(error)[:1000])
        logger.warning(f"trial {trial.number} failed: {error}")
        raise
    finally:
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
    if value != value:
        trial.set_user_attr("error", "the validation metric is undefined")
        raise UserError("the validation metric is undefined")
    return value


def _score(job: Job, trial: optuna.Trial, config: TrainConfig) -> float:
    """The validation metric of the trial's training, here or in processes of its own."""
    search, folds = job.config.search, job.config.data.folds
    if job.base.hardware.devices == 1:
        return objective(config, job.dataset, folds, reporter(trial), job.coding)
    study = {
        "storage": job.url,
        "name": search.study,
        "trial": trial._trial_id,
        "pruner": {"name": search.pruner, "steps": job.steps, "startup": search.startup},
    }
    return in_processes(config, job.dataset, folds, study, job.coding)


def _free_folder(parent: Path, number: int) -> Path:
    """The folder of a trial, with "-again" where one is left from a study that was removed."""
    parent.mkdir(parents=True, exist_ok=True)
    path = parent / f"{number:04}"
    while path.exists():
        path = path.with_name(f"{path.name}-again")
    return path
