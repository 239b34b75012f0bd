"""`medseg search`: open or go on with a study, work on it alone or with others, and write what came
out.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.config import SearchConfig, TrainConfig, flatten, make
from medseg.config.fields import specs
from medseg.data.sources.dataset import load_dataset
from medseg.errors import UserError
from medseg.training.parts import check


def search(config: SearchConfig) -> dict[str, Any]:
    """Run the study to its end; returns the content of search.json, in a worker of another process
    {}.

    Raises `UserError` for wrong use, `Interrupted` when stopped: the same call goes on.
    """
    from medseg.search.processes import STORAGE, WORKER
    from medseg.search.study import (
        default_storage,
        storage_errors,
    )  # says what to install, where Optuna is missing

    config = replace(
        config,
        data=replace(config.data, folds=config.data.folds or 0, workers=config.data.workers or 1),
    )
    folder = config.output.out or Path("runs") / f"search-{config.search.study}"
    url = config.search.storage or os.environ.get(STORAGE) or default_storage(folder)
    with storage_errors(url), _stopped_by_sigterm():
        if config.search.dashboard:
            from medseg.search.dashboard import dashboard

            return dashboard(url, config.search.study)
        job = prepare(config, folder, url)
        if WORKER in os.environ:
            from medseg.search.worker import work

            _say_little()
            work(job, lambda: _log_last(job))
            return {}
        done = _take_part(job)
        return _finish(job, done)


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


def _say_little() -> None:
    """Workers speak at once: a line for each trial and warnings; what a training says is in the
    log.txt of its run.
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


def prepare(config: SearchConfig, folder: Path, url: str) -> Any:
    """The work of this process, with everything checked before the first trial."""
    from medseg.search.folds import fold_datasets
    from medseg.search.processes import WORKER
    from medseg.search.space import plain, read_space
    from medseg.search.study import make_pruner, make_sampler, open_storage, open_study
    from medseg.search.job import FREE, Job

    base = training_of(config)
    _check(config, base)
    check(base)
    space = read_space(config.search.space, base)
    make_sampler(config.search.sampler, 0)
    dataset = load_dataset(
        base.data.data,
        data_root=base.data.data_root,
        split=base.data.split,
        hold_out=base.data.hold_out,
    )
    if config.data.folds:
        fold_datasets(dataset, config.data.folds)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {folder}: cannot be made ({error.strerror}); choose a folder you may write to"
        ) from None
    steps = config.data.folds or base.training.epochs
    about = {key: value for key, value in flatten(base).items() if key not in FREE}
    about |= {"folds": config.data.folds, "space": plain(space)}
    about |= {
        f"{part} images": _fingerprint(dataset.parts[part]) for part in ("train", "validation")
    }
    study = open_study(
        config.search.study,
        open_storage(url, config.search.grace),
        about=about,
        pruner=make_pruner(config.search.pruner, steps=steps, startup=config.search.startup),
    )
    me = os.environ.get(WORKER) or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    return Work(config, base, space, dataset, folder, study, url, me)


def _fingerprint(items: Any) -> str:
    """The number of images and a digest of their names: the same on every machine that holds them."""
    names = "\n".join(sorted(item.name for item in items))
    return f"{len(items)}, names {hashlib.blake2b(names.encode(), digest_size=4).hexdigest()}"


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
            "--resume: is for medseg train; a study goes on when its command is given again"
        )


def _take_part(job: Any) -> int:
    """Trials done by this command, in this process or in --workers of its own, with the table of
    trials in view.
    """
    from medseg.search.processes import run_workers
    from medseg.search.table import live_table
    from medseg.search.worker import work

    shown = job.base.output.progress and sys.stderr.isatty()
    with live_table(job) if shown else nullcontext():
        if job.config.data.workers == 1:
            if shown:  # one display at a time
                job = replace(
                    job, base=replace(job.base, output=replace(job.base.output, progress=False))
                )
            return work(job, lambda: _log_last(job))
        return run_workers(job, quiet=shown)


def _log_last(job: Any) -> None:
    from medseg.search.table import last_line

    logger.info(last_line(job))


def _finish(job: Any, done: int) -> dict[str, Any]:
    """Write the results; one command, that of the last trial, trains the winner and the default."""
    from medseg.search.results import best_trial, differing, report_gain, retrain, write_results
    from medseg.search.study import counted

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
