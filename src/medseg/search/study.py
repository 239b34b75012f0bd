"""The study in its database: opened or gone on with, its trials counted, and trials of lost workers
tried again.

A slot of the study is a trial that ended, or is running. A trial whose worker died, was stopped, or
was one too many frees its slot, so that the sum is exact for any number of workers: no lock is
held, the unique numbers of the trials decide.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.console import to_json
from medseg.errors import UserError

RETRIES = 3  # a trial that loses its worker this often counts as failed: it may be what kills them

try:
    import optuna
    from optuna.exceptions import ExperimentalWarning
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise UserError("medseg search needs Optuna: pip install 'medseg[search]'") from None

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter(
    "ignore", ExperimentalWarning
)  # heartbeats and the TPE options we use, experimental since 2021


@dataclass(frozen=True)
class Tally:
    """Trials by what became of them; `freed` are those tried again or one too many."""

    completed: int
    pruned: int
    failed: int
    running: int
    freed: int

    @property
    def finished(self) -> int:
        return self.completed + self.pruned + self.failed

    @property
    def taken(self) -> int:
        return self.finished + self.running


def default_storage(folder: Path) -> str:
    """The SQLite file of a study's folder."""
    return f"sqlite:///{folder / 'study.db'}"


def open_storage(url: str, grace: float) -> optuna.storages.RDBStorage:
    """The database behind an SQLAlchemy URL, with heartbeats. Raises `UserError` where it cannot be
    reached.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    if url.startswith(("postgres://", "postgresql://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    arguments = (
        {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    )
    for last in (False, False, False, True):
        try:
            return optuna.storages.RDBStorage(
                url,
                engine_kwargs=arguments,
                heartbeat_interval=max(1, int(grace / 4)),
                grace_period=max(2, int(grace)),
                heartbeat_stale_trial_callback=try_again,
            )
        except (ImportError, ModuleNotFoundError) as error:
            raise UserError(
                f"--storage: the driver of this database is missing ({error}); for PostgreSQL: "
                "pip install 'medseg[search]'"
            ) from None
        except ArgumentError:
            raise UserError(
                "--storage: not an SQLAlchemy URL; expected one such as sqlite:///study.db or "
                "postgresql://USER@HOST/NAME"
            ) from None
        except (
            SQLAlchemyError
        ) as error:  # two workers that make the tables at once: one of them has to look again
            if last:
                reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
                raise UserError(
                    f"--storage {hidden(url)}: {reason}; check that the database runs and may be"
                    " written to"
                ) from None
            time.sleep(1)
    raise AssertionError


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """A database that fails while the study runs, as one line: `UserError`."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (
        optuna.exceptions.StorageInternalError,
        SQLAlchemyError,
        UnboundLocalError,
    ) as error:  # the last by Optuna
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SQLAlchemyError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        reason = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        raise UserError(
            f"--storage {hidden(url)}: the database failed ({reason}); when it runs again, the same"
            " command goes on with the study"
        ) from None


def hidden(url: str) -> str:
    """The URL without its password."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def open_study(
    name: str, storage: Any, *, pruner: Any, about: dict[str, Any] | None = None
) -> optuna.Study:
    """The study of that name, new or gone on with; `UserError` where it was begun with other
    options than `about`.
    """
    study = optuna.create_study(
        study_name=name, storage=storage, direction="maximize", load_if_exists=True, pruner=pruner
    )
    kept = study.user_attrs.get("about")
    if about is None:
        return study
    if kept is None:
        study.set_user_attr("about", to_json(about))
        return study
    before, now = json.loads(kept), json.loads(to_json(about))
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        key = changed[0]
        raise UserError(
            f"--study {name}: was begun with {key} = {before.get(key)!r}, now it is"
            f" {now.get(key)!r}; its trials would not be comparable: choose another --study"
        )
    return study


def make_sampler(name: str, seed: int) -> Any:
    """A sampler by name; `UserError` where it needs a package that is not installed."""
    samplers = optuna.samplers
    makers = {
        "tpe": lambda: samplers.TPESampler(seed=seed, constant_liar=True),
        "random": lambda: samplers.RandomSampler(seed=seed),
        "cmaes": lambda: samplers.CmaEsSampler(seed=seed),
        "gp": lambda: samplers.GPSampler(seed=seed),
    }
    needs = {"cmaes": ("cmaes",), "gp": ("scipy", "torch")}
    from importlib.util import find_spec

    missing = [package for package in needs.get(name, ()) if find_spec(package) is None]
    if missing:
        raise UserError(
            f"--sampler {name}: needs a package that is not here: pip install {' '.join(missing)}"
        )
    return makers[name]()


def make_pruner(name: str, *, steps: int, startup: int) -> Any:
    """A pruner by name for trials that report at most `steps` values."""
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=steps)
    if name == "median":  # the first tenth is left alone: warm-up says little
        return optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=steps // 10)
    return optuna.pruners.NopPruner()


def try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial that lost its worker, or was stopped, with the same values."""
    history = [*trial.system_attrs.get("retry_history", []), trial.number]
    if len(history) > RETRIES:
        return
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            system_attrs={
                **trial.system_attrs,
                "failed_trial": history[0],
                "retry_history": history,
            },
        )
    )


def outcome(trial: FrozenTrial, tried_again: set[int]) -> str:
    """ "completed", "pruned", "failed", "running", "waiting" or "freed" (its slot is for another
    trial).
    """
    states = {
        TrialState.COMPLETE: "completed",
        TrialState.PRUNED: "pruned",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
    if trial.state in states:
        return states[trial.state]
    if trial.number in tried_again or "freed" in trial.user_attrs:
        return "freed"
    own = "error" in trial.user_attrs  # said by the trial itself; a lost one says nothing
    return (
        "failed" if own or len(trial.system_attrs.get("retry_history", [])) >= RETRIES else "freed"
    )


def outcomes(trials: list[FrozenTrial]) -> list[str]:
    """The outcome of each trial."""
    tried_again = {
        number for trial in trials for number in trial.system_attrs.get("retry_history", [])
    }
    return [outcome(trial, tried_again) for trial in trials]


def tally(study: optuna.Study) -> Tally:
    """The trials by outcome."""
    found = outcomes(study.get_trials(deepcopy=False))
    return Tally(
        *(found.count(name) for name in ("completed", "pruned", "failed", "running", "freed"))
    )


def too_many(study: optuna.Study, number: int, wanted: int) -> bool:
    """Whether the slots are taken by trials with lower numbers: two workers asked for the last one
    at once.
    """
    trials = study.get_trials(deepcopy=False)
    return (
        sum(
            trial.number < number and found in ("completed", "pruned", "failed", "running")
            for trial, found in zip(trials, outcomes(trials), strict=True)
        )
        >= wanted
    )


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ended, in order."""
    trials = study.get_trials(deepcopy=False)
    return [
        trial
        for trial, found in zip(trials, outcomes(trials), strict=True)
        if found in ("completed", "pruned", "failed")
    ]
