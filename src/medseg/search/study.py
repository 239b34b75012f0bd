"""The study in its database: opened or resumed, its trials counted, those of lost workers retried.

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

RETRIES = 3  # a trial that loses its worker more often counts as failed: it may be the reason
ATTEMPTS = 4  # to open a database

try:
    import optuna
    from optuna.exceptions import ExperimentalWarning
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise UserError("medseg search needs Optuna: pip install 'medseg[search]'") from None

optuna.logging.set_verbosity(optuna.logging.ERROR)
# heartbeats and the options of TPE that we use have been experimental since 2021
warnings.simplefilter("ignore", ExperimentalWarning)


@dataclass(frozen=True)
class Tally:
    """Trials by outcome; `freed` are those tried again or one too many."""

    completed: int
    pruned: int
    failed: int
    running: int
    freed: int

    @property
    def finished(self) -> int:
        """Trials that ended, whichever way."""
        return self.completed + self.pruned + self.failed

    @property
    def taken(self) -> int:
        """Slots of the study that are not free."""
        return self.finished + self.running


def default_storage(folder: Path) -> str:
    """The SQLite file of a study's folder."""
    return f"sqlite:///{folder / 'study.db'}"


def open_storage(url: str, grace: float) -> optuna.storages.RDBStorage:
    """The database behind an SQLAlchemy URL, with heartbeats.

    Raises `UserError` where it cannot be reached.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    if url.startswith(("postgres://", "postgresql://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    is_sqlite = url.startswith("sqlite")
    options = {"connect_args": {"timeout": 60}} if is_sqlite else {"pool_pre_ping": True}
    for attempt in range(ATTEMPTS):
        try:
            return optuna.storages.RDBStorage(
                url.replace("{", "{{").replace("}", "}}"),  # Optuna formats it
                engine_kwargs=options,
                heartbeat_interval=max(1, int(grace / 4)),
                grace_period=max(2, int(grace)),
                heartbeat_stale_trial_callback=try_again,
            )
        except (ImportError, ModuleNotFoundError) as error:
            raise UserError(
                f"--storage: the driver of this database is missing ({error}); for PostgreSQL:"
                " pip install 'medseg[search]'"
            ) from None
        except ArgumentError:
            raise UserError(
                "--storage: not an SQLAlchemy URL; expected one such as sqlite:///study.db or"
                " postgresql://USER@HOST/NAME"
            ) from None
        except SQLAlchemyError as error:
            # of two workers that create the tables at once, one has to look again
            if attempt == ATTEMPTS - 1:
                raise UserError(
                    f"--storage {hidden(url)}: {_reason(error)}; check that the database is running"
                    " and may be written to"
                ) from None
            time.sleep(1)
    raise AssertionError


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """A database that fails while the study runs, as one line: `UserError`."""
    from sqlalchemy.exc import SQLAlchemyError

    of_optuna = (optuna.exceptions.StorageInternalError, UnboundLocalError)
    try:
        yield
    except (*of_optuna, SQLAlchemyError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SQLAlchemyError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise UserError(
            f"--storage {hidden(url)}: the database failed ({_reason(cause)}); when it is running"
            " again, the same command resumes the study"
        ) from None


def _reason(error: BaseException) -> str:
    """The first line of what the database said."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def hidden(url: str) -> str:
    """The URL without its password."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def open_study(
    name: str, storage: Any, *, pruner: Any, about: dict[str, Any] | None = None
) -> optuna.Study:
    """The study of that name, new or resumed.

    Raises `UserError` where it was started with other options than `about`.
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
    known_then = [key for key in {**before, **now} if key in before or not key.endswith(" files")]
    changed = [key for key in known_then if before.get(key) != now.get(key)]
    if changed:
        key = changed[0]
        raise UserError(
            f"--study {name}: was started with {key} = {before.get(key)!r}, now it is"
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
    attributes = {"failed_trial": history[0], "retry_history": history}
    again = optuna.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=trial.system_attrs | attributes,
    )
    study.add_trial(again)


def outcome(trial: FrozenTrial, tried_again: set[int]) -> str:
    """ "completed", "pruned", "failed", "running", "waiting" or "freed".

    The slot of a freed trial is for another one.
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
    reported = "error" in trial.user_attrs  # a trial that lost its worker reports nothing
    given_up = len(trial.system_attrs.get("retry_history", [])) >= RETRIES
    return "failed" if reported or given_up else "freed"


def outcomes(trials: list[FrozenTrial]) -> list[str]:
    """The outcome of each trial."""
    tried_again: set[int] = set()
    for trial in trials:
        tried_again.update(trial.system_attrs.get("retry_history", []))
    return [outcome(trial, tried_again) for trial in trials]


def tally(study: optuna.Study) -> Tally:
    """The trials by outcome."""
    found = outcomes(study.get_trials(deepcopy=False))
    return Tally(
        *(found.count(name) for name in ("completed", "pruned", "failed", "running", "freed"))
    )


def too_many(study: optuna.Study, number: int, wanted: int) -> bool:
    """Whether the slots are taken by trials with lower numbers.

    It happens when two workers ask for the last one at once.
    """
    trials = study.get_trials(deepcopy=False)
    taking = ("completed", "pruned", "failed", "running")
    before = [
        trial.number
        for trial, found in zip(trials, outcomes(trials), strict=True)
        if trial.number < number and found in taking
    ]
    return len(before) >= wanted


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ended, in order."""
    trials = study.get_trials(deepcopy=False)
    return [
        trial
        for trial, found in zip(trials, outcomes(trials), strict=True)
        if found in ("completed", "pruned", "failed")
    ]
