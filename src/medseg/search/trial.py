"""One trial: a training, or one per fold, that reports to the study and stops when pruned."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from medseg.config import TrainConfig
from medseg.data.masks import MaskCoding
from medseg.data.sample import Dataset
from medseg.data.sealed import sealed
from medseg.errors import Pruned
from medseg.search.folds import fold_datasets
from medseg.training.session import train

Report = Callable[[float, int, float], bool]


def objective(
    config: TrainConfig,
    dataset: Dataset,
    folds: int,
    report: Report | None,
    coding: MaskCoding | None = None,
) -> float:
    """The validation metric of a training, or its mean over folds.

    `report(value, step, seconds)` keeps a value and says whether to stop: the metric after each
    epoch, or the mean after each fold, with the seconds that these took. A trial that has come to
    its end is not stopped. `coding` is how the masks are read, else it is found from those of the
    trial. The test part of `dataset` is not handed on, and reading it in any way
    raises `UserError`. Raises `Pruned` and `Interrupted`.
    """
    parts = {part: dataset.parts[part] for part in ("train", "validation")}
    without_test = replace(dataset, parts=parts)
    with sealed(dataset.parts.get("test", ())):
        if folds:
            return _mean_over_folds(config, without_test, folds, report, coding)
        return _score(config, without_test, coding, _pruning(config, report))


def _score(
    config: TrainConfig,
    dataset: Dataset,
    coding: MaskCoding | None,
    give_up: Callable[[dict[str, Any]], bool] | None,
) -> float:
    """The validation metric of one training."""
    summaries = train(config, dataset=dataset, coding=coding, give_up=give_up)["summaries"]
    if not summaries:  # not the first process
        return float("nan")
    numbers = summaries["validation"]["protocols"]["per-image-foreground"]
    return numbers[config.training.metric]


def _pruning(config: TrainConfig, report: Report | None) -> Callable[[dict[str, Any]], bool]:
    """Asked after each epoch with its row of metrics.csv: whether to prune."""

    def give_up(row: dict[str, Any]) -> bool:
        value, epoch = row.get(f"val_{config.training.metric}"), int(row["epoch"])
        if report is None or value is None or value != value:
            return False
        return report(value, epoch, row["seconds"]) and epoch < config.training.epochs

    return give_up


def _mean_over_folds(
    config: TrainConfig,
    dataset: Dataset,
    folds: int,
    report: Report | None,
    coding: MaskCoding | None,
) -> float:
    """The mean of the validation metric over the folds, reported after each."""
    scores: list[float] = []
    started = time.perf_counter()
    for number, fold in enumerate(fold_datasets(dataset, folds), 1):
        output = replace(config.output, out=config.output.out / f"fold-{number}")
        scores.append(_score(replace(config, output=output), fold, coding, None))
        mean, seconds = sum(scores) / len(scores), time.perf_counter() - started
        if report and report(mean, number, seconds) and number < folds:
            raise Pruned
    return sum(scores) / len(scores)


def reporter(trial: Any) -> Report:
    """Reports to an Optuna trial."""

    def report(value: float, step: int, seconds: float) -> bool:
        trial.report(value, step)
        if not trial.should_prune():
            return False
        trial.set_user_attr("steps_took", round(seconds, 3))
        return True

    return report
