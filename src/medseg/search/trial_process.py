"""One trial over several devices: a program of its own, which each rank starts anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
from loguru import logger

from medseg.config import TrainConfig, flatten, make
from medseg.console import log_to_stderr
from medseg.data.decode import set_max_pixels
from medseg.data.masks import MaskCoding
from medseg.data.sample import Dataset, Item
from medseg.errors import Interrupted, Pruned, UserError
from medseg.files import write_text
from medseg.search.study import make_pruner, open_storage, open_study
from medseg.search.trial import Report, objective, reporter
from medseg.training.parts import check
from medseg.training.runtime import is_first_process

ENVIRONMENT = "MEDSEG_TRIAL"


def in_processes(
    config: TrainConfig, dataset: Dataset, folds: int, study: dict[str, Any], coding: MaskCoding
) -> float:
    """`objective` for several devices: a program of its own, since each rank starts it anew.

    The first rank reports. `study` says where to: storage, name, trial, pruner.
    """
    folder = config.output.out
    folder.parent.mkdir(parents=True, exist_ok=True)
    answer = folder.with_name(f"{folder.name}.json")
    items = {
        part: [
            [item.name, str(item.image), list(map(str, item.masks)), item.group, item.page]
            for item in each
        ]
        for part, each in dataset.parts.items()
    }
    request = {
        "config": flatten(config),
        "folds": folds,
        "answer": str(answer),
        "study": study,
        "dataset": {"name": dataset.name, "split": dataset.split, "parts": items},
        "coding": coding.to_dict(),
    }
    answer.unlink(missing_ok=True)
    # a file: too long for the environment, and the storage's URL may hold a password
    request_file = folder.with_name(f".{folder.name}.request")
    with open(os.open(request_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(request, file)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "medseg.search.trial_process"],
            env=os.environ | {ENVIRONMENT: str(request_file)},
        )
        try:
            process.wait()
        except KeyboardInterrupt:  # the ranks were told too, and save
            process.wait()
            raise Interrupted(str(folder)) from None
    finally:
        request_file.unlink(missing_ok=True)
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
    log_to_stderr()
    request = json.loads(Path(os.environ[ENVIRONMENT]).read_text())
    config, about = make(TrainConfig, request["config"]), request["dataset"]
    parts = {part: tuple(map(_item, items)) for part, items in about["parts"].items()}
    set_max_pixels(config.data.max_pixels)
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
            MaskCoding.from_dict(request["coding"]),
        )
        found = {"outcome": "completed", "value": value}
    except (Pruned, Interrupted) as ended:
        found = {"outcome": "pruned" if isinstance(ended, Pruned) else "interrupted"}
    except UserError as error:
        found = {"outcome": "failed", "error": str(error)}
    if first:
        write_text(Path(request["answer"]), json.dumps(found))
    return 0


def _item(row: list[Any]) -> Item:
    name, image, masks, group, page = row
    return Item(name, Path(image), tuple(map(Path, masks)), group, page)


def _reporter(storage: str, name: str, trial: int, pruner: dict[str, Any]) -> Report:
    """Reports to a trial of the study in the storage."""
    study = open_study(name, open_storage(storage, 3600), pruner=make_pruner(**pruner))
    report, parent = reporter(optuna.trial.Trial(study, trial)), os.getppid()

    def report_or_stop(value: float, step: int, seconds: float) -> bool:
        """Stop too where the worker that wants the answer is gone, and its trial with it."""
        try:
            return report(value, step, seconds) or os.getppid() != parent
        except optuna.exceptions.UpdateFinishedTrialError:
            return True

    return report_or_stop


if __name__ == "__main__":
    raise SystemExit(main())
