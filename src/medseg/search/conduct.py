"""A study from its options to its results: prepared, worked on, and written down."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from loguru import logger

from medseg.config import SearchConfig, TrainConfig, flatten, make
from medseg.config.fields import specs
from medseg.data.cache import content
from medseg.data.masks import MaskCoding
from medseg.data.remembered import recall, remember
from medseg.data.sample import Dataset, Item
from medseg.data.sources.dataset import dataset_of
from medseg.errors import UserError
from medseg.files import folder_or_nothing
from medseg.hardware import cores
from medseg.search.folds import fold_datasets
from medseg.search.job import FREE, Job
from medseg.search.processes import WORKER, run_workers
from medseg.search.results import best_trial, differing, report_gain, retrain, write_results
from medseg.search.space import Space, plain, read_space
from medseg.search.study import counted, make_pruner, make_sampler, open_storage, open_study
from medseg.search.table import last_line, live_table
from medseg.search.worker import work
from medseg.training.parts import check, survey_of
from medseg.training.resume import same_data, with_absolute_paths


def conduct(config: SearchConfig, folder: Path, url: str) -> dict[str, Any]:
    """Run the study to its end; returns the content of search.json.

    In a worker of another process it returns {}.
    """
    job = prepare(config, folder, url)
    if WORKER in os.environ:
        _say_little()
        work(job, lambda: _log_last(job))
        return {}
    return _finish(job, _take_part(job))


def prepare(config: SearchConfig, folder: Path, url: str) -> Job:
    """The work of this process, with everything checked before the first trial."""
    base = with_absolute_paths(training_of(config))
    _check(config, base)
    check(base)
    space = read_space(config.search.space, base)
    make_sampler(config.search.sampler, 0)
    data = base.data
    dataset = same_data(_lists(config, folder), data) or dataset_of(data)
    coding = survey_of(dataset, data)
    logger.info(coding.text)
    if config.data.folds:
        fold_datasets(dataset, config.data.folds)
    with folder_or_nothing(folder, "--out"):
        study = _open(config, base, space, dataset, coding, url)
        if not recall(_lists(config, folder)).digests:  # the test part stays unread
            remember(_lists(config, folder), dataset, ("train", "validation"))
    own_name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    command = os.environ.get(WORKER) or own_name
    return Job(config, base, space, dataset, coding, folder, study, url, command)


def _open(
    config: SearchConfig,
    base: TrainConfig,
    space: Space,
    dataset: Dataset,
    coding: MaskCoding,
    url: str,
) -> optuna.Study:
    """The study, new or resumed, with what all its workers must have in common."""
    search, folds = config.search, config.data.folds
    as_given = flatten(training_of(config))  # the same on every machine
    about = {key: value for key, value in as_given.items() if key not in FREE}
    about |= {"folds": folds, "space": plain(space)}
    for part in ("train", "validation"):
        about[f"{part} images"] = _fingerprint(dataset.parts[part])
        about[f"{part} files"] = _fingerprint_of_files(dataset.parts[part])
    about["reading of mask files"] = coding.text
    steps = folds or base.training.epochs
    pruner = make_pruner(search.pruner, steps=steps, startup=search.startup)
    return open_study(search.study, open_storage(url, search.grace), about=about, pruner=pruner)


def _lists(config: SearchConfig, folder: Path) -> Path:
    """Where the study keeps which images it is about; a folder may hold several studies."""
    return folder / "data" / re.sub(r"[^\w.-]+", "_", config.search.study)


def _fingerprint(items: Sequence[Item]) -> str:
    """The number of images and a digest of their names, the same on every machine."""
    names = "\n".join(sorted(item.name for item in items))
    return f"{len(items)}, names {hashlib.blake2b(names.encode(), digest_size=4).hexdigest()}"


def _fingerprint_of_files(items: Sequence[Item]) -> str:
    """A digest of the bytes of all images and masks."""
    each = sorted(zip((item.name for item in items), content(items, cores()), strict=True))
    return hashlib.blake2b(repr(each).encode(), digest_size=4).hexdigest()


def training_of(config: SearchConfig) -> TrainConfig:
    """The training that trials start from."""
    names = {spec.name for spec in specs(TrainConfig)}
    flat = {key: value for key, value in flatten(config).items() if key in names}
    flat |= {"workers": 0, "folds": None, "out": None}
    return make(TrainConfig, flat)


def _check(config: SearchConfig, base: TrainConfig) -> None:
    if "TORCHELASTIC_RUN_ID" in os.environ or base.hardware.num_nodes > 1:
        raise UserError(
            "medseg search: starts its processes by itself; run it without torchrun, with --devices"
            " for the devices of a trial and the same command on each machine"
        )
    if config.data.folds and base.hardware.devices > 1:
        raise UserError(
            "--folds: trains one fold after the other on one device; use --devices 1, and --workers"
            " for the others"
        )
    if config.data.folds == 1:
        raise UserError("--folds 1: expected at least 2, or 0 for the validation part")
    if base.output.resume is not None:
        raise UserError(
            "--resume: is for medseg train; a study is resumed by running its command again"
        )


def _take_part(job: Job) -> int:
    """Trials done by this command, here or in --workers of its own, their table on screen."""
    on_screen = job.base.output.progress and sys.stderr.isatty()
    with live_table(job) if on_screen else nullcontext():
        if job.config.data.workers > 1:
            return run_workers(job, quiet=on_screen)
        if on_screen:  # one display at a time
            output = replace(job.base.output, progress=False)
            job = replace(job, base=replace(job.base, output=output))
        return work(job, lambda: _log_last(job))


def _say_little() -> None:
    """Workers write at once: a line per trial, and warnings.

    What a training says is in the log.txt of its run.
    """
    logger.remove()
    logger.add(
        lambda line: sys.stderr.write(line),
        format="{message}",
        level="INFO",
        filter=lambda record: (
            record["level"].no >= 30 or record["name"].startswith("medseg.search")
        ),
    )


def _log_last(job: Job) -> None:
    logger.info(last_line(job))


def _finish(job: Job, done: int) -> dict[str, Any]:
    """Write the results; one command, that of the last trial, trains the winner and the default."""
    if best_trial(job) is None:
        result = write_results(job)
        errors = [row["error"] for row in result["trials"] if "error" in row]
        raise UserError(
            f"no trial of {job.study.study_name} was"
            f" completed{f'; the last one: {errors[-1]}' if errors else ''}; see"
            f" {job.folder / 'search.json'}"
        )
    write_results(job)  # before the long part
    logger.info(
        "best options: "
        + (", ".join(f"{key} {value}" for key, value in differing(job).items()) or "the default")
    )
    last = max(counted(job.study), key=lambda trial: (trial.datetime_complete, trial.number))
    mine = not done or last.user_attrs.get("worker") == job.command
    retrained = None
    if job.config.search.retrain and mine:
        retrained = retrain(
            replace(job, base=replace(job.base, output=replace(job.base.output, out=None)))
        )
        logger.info(report_gain(retrained, job.base.training.metric))
    elif job.config.search.retrain:
        logger.info(
            f"the winner is retrained by {last.user_attrs.get('worker')}, which ended the last"
            " trial"
        )
    result = write_results(job, retrained)
    best = result["best"]
    counts = ", ".join(f"{result[state]} {state}" for state in ("completed", "pruned", "failed"))
    logger.info(
        f"{result['finished']} trials: {counts}; best validation {result['metric']}"
        f" {best['value']:.4f} in trial {best['trial']}  {job.folder / 'search.html'}"
    )
    return result
