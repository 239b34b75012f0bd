"""One trial: a training, or one for each fold, that reports to the study after each epoch, or fold,
and stops when pruned.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.config import TrainConfig, flatten, make
from medseg.data.sample import Dataset, Item
from medseg.data.sealed import sealed
from medseg.errors import UserError
from medseg.search.folds import fold_datasets
from medseg.training.loop import Interrupted, Pruned
from medseg.training.parts import check
from medseg.training.session import train

ENVIRONMENT = "MEDSEG_TRIAL"
Report = Callable[[float, int, float], bool]


def objective(config: TrainConfig, dataset: Dataset, folds: int, report: Report | None) -> float:
    """The validation metric of a training, or its mean over folds. Raises `Pruned` and
    `Interrupted`.

    `report(value, step, seconds)` keeps a value and says whether to give up: the metric after each
    epoch, or the mean after each fold, with the seconds that these took. A trial that has come to
    its end is not given up. The test part of `dataset` is not handed on, and reading it by any way
    raises `UserError`.
    """
    metric = config.training.metric

    def score(config: TrainConfig, dataset: Dataset, give_up: Callable | None) -> float:
        summaries = train(config, dataset=dataset, give_up=give_up)["summaries"]
        return (
            summaries["validation"]["protocols"]["per-image-foreground"][metric]
            if summaries
            else float("nan")
        )

    def after_epoch(row: dict[str, Any]) -> bool:
        value, epoch = row.get(f"val_{metric}"), int(row["epoch"])
        known = value is not None and value == value
        return (
            known
            and report is not None
            and report(value, epoch, row["seconds"])
            and epoch < config.training.epochs
        )

    without_test = replace(
        dataset, parts={part: dataset.parts[part] for part in ("train", "validation")}
    )
    with sealed(dataset.parts.get("test", ())):
        if not folds:
            return score(config, without_test, after_epoch)
        scores: list[float] = []
        started = time.perf_counter()
        for number, fold in enumerate(fold_datasets(without_test, folds), 1):
            output = replace(config.output, out=config.output.out / f"fold-{number}")
            scores.append(score(replace(config, output=output), fold, None))
            if (
                report
                and report(sum(scores) / len(scores), number, time.perf_counter() - started)
                and number < folds
            ):
                raise Pruned
        return sum(scores) / len(scores)


def in_processes(config: TrainConfig, dataset: Dataset, folds: int, study: dict[str, Any]) -> float:
    """`objective` for several devices: a program of its own, that each rank of it can start anew;
    the first reports.

    `study` says where to report: storage, name, trial, pruner.
    """
    folder = config.output.out
    folder.parent.mkdir(parents=True, exist_ok=True)
    answer = folder.with_name(f"{folder.name}.json")
    items = {
        part: [[item.name, str(item.image), str(item.mask), item.group] for item in each]
        for part, each in dataset.parts.items()
    }
    request = {
        "config": flatten(config),
        "folds": folds,
        "answer": str(answer),
        "study": study,
        "dataset": {"name": dataset.name, "split": dataset.split, "parts": items},
    }
    answer.unlink(missing_ok=True)
    asked = folder.with_name(
        f".{folder.name}.request"
    )  # too long for the environment, and its URL may hold a password
    with open(os.open(asked, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(request, file)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "medseg.search.trial"],
            env=os.environ | {ENVIRONMENT: str(asked)},
        )
        try:
            process.wait()
        except KeyboardInterrupt:  # the ranks have heard it too, and save
            process.wait()
            raise Interrupted(str(folder)) from None
    finally:
        asked.unlink(missing_ok=True)
    if not answer.exists():
        raise UserError(
            f"the processes of {folder} ended with exit code {process.returncode} and no result;"
            f" see {folder / 'log.txt'}"
        )
    found = json.loads(answer.read_text())
    answer.unlink()
    if found["outcome"] == "failed":
        raise UserError(found["error"])
    if found["outcome"] != "completed":
        raise Pruned if found["outcome"] == "pruned" else Interrupted(str(folder))
    return found["value"]


def main() -> int:
    """One rank of a trial over several devices."""
    from medseg.console import log_to_stderr
    from medseg.files import write_text
    from medseg.training.runtime import is_first_process

    log_to_stderr()
    request = json.loads(Path(os.environ[ENVIRONMENT]).read_text())
    config, about = make(TrainConfig, request["config"]), request["dataset"]
    parts = {
        part: tuple(
            Item(name, Path(image), Path(mask), group) for name, image, mask, group in items
        )
        for part, items in about["parts"].items()
    }
    check(config)
    first = is_first_process()
    if not first:
        logger.remove()
    try:
        value = objective(
            config,
            Dataset(about["name"], about["split"], parts),
            request["folds"],
            _reporter(**request["study"]) if first else None,
        )
        found = {"outcome": "completed", "value": value}
    except (Pruned, Interrupted) as ended:
        found = {"outcome": "pruned" if isinstance(ended, Pruned) else "interrupted"}
    except UserError as error:
        found = {"outcome": "failed", "error": str(error)}
    if first:
        write_text(Path(request["answer"]), json.dumps(found))
    return 0


def _reporter(storage: str, name: str, trial: int, pruner: dict[str, Any]) -> Report:
    import optuna

    from medseg.search.study import make_pruner, open_storage, open_study

    study = open_study(name, open_storage(storage, 3600), pruner=make_pruner(**pruner))
    report, parent = reporter(optuna.trial.Trial(study, trial)), os.getppid()

    def or_alone(value: float, step: int, seconds: float) -> bool:
        """Give up too where the worker that wants the answer is gone, and its trial with it."""
        try:
            return report(value, step, seconds) or os.getppid() != parent
        except optuna.exceptions.UpdateFinishedTrialError:
            return True

    return or_alone


def reporter(trial: Any) -> Report:
    """Reports to an Optuna trial."""

    def report(value: float, step: int, seconds: float) -> bool:
        trial.report(value, step)
        if not trial.should_prune():
            return False
        trial.set_user_attr("steps_took", round(seconds, 3))
        return True

    return report


if __name__ == "__main__":
    raise SystemExit(main())
