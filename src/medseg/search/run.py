"""`medseg search`: open or go on with a study, work on it alone or with others, and write what came out."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.config import SearchConfig, TrainConfig, dump, flatten, make
from medseg.config.fields import specs
from medseg.data.parts import load_dataset
from medseg.errors import UserError
from medseg.files import write_text
from medseg.hardware import cores
from medseg.training import engine
from medseg.training.parts import check

# what may differ between two workers of a study, or two calls: it changes no trial's result, but for the hardware's rounding
FREE = frozenset({"data", "data_root", "cache_dir", "workers", "out", "resume", "tensorboard", "pictures", "log_every", "progress",
                  "profile", "accelerator", "devices", "num_nodes", "precision", "threads", "compile", "deterministic",
                  "val_batch_size"})
WORKER = "MEDSEG_SEARCH_WORKER"  # set in the processes that --workers starts: the name of the command they belong to
STORAGE = "MEDSEG_STORAGE"


def search(config: SearchConfig) -> dict[str, Any]:
    """Run the study to its end; returns the content of search.json, in a worker of another process {}.

    Raises `UserError` for wrong use, `engine.Interrupted` when stopped: the same call goes on.
    """
    from medseg.search.study import default_storage  # says what to install, where Optuna is missing

    folder = config.output.out or Path("runs") / f"search-{config.search.study}"
    url = config.search.storage or os.environ.get(STORAGE) or default_storage(folder)
    if config.search.dashboard:
        return dashboard(url, config.search.study)
    job = prepare(config, folder, url)
    if WORKER in os.environ:
        from medseg.search.work import work

        work(job)
        return {}
    done = _take_part(job)
    return _finish(job, done)


def prepare(config: SearchConfig, folder: Path, url: str) -> Any:
    """The work of this process, with everything checked before the first trial."""
    from medseg.search.folds import fold_datasets
    from medseg.search.space import plain, read_space
    from medseg.search.study import make_pruner, make_sampler, open_storage, open_study
    from medseg.search.work import Work

    base = training_of(config)
    _check(config, base)
    check(base)
    space = read_space(config.search.space, base)
    make_sampler(config.search.sampler, 0)
    dataset = load_dataset(base.data.data, data_root=base.data.data_root, split=base.data.split, hold_out=base.data.hold_out)
    if config.data.folds:
        fold_datasets(dataset, config.data.folds)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be made ({error.strerror}); choose a folder you may write to") from None
    steps = config.data.folds or base.training.epochs
    about = {key: value for key, value in flatten(base).items() if key not in FREE}
    about |= {"folds": config.data.folds, "space": plain(space), "train images": len(dataset.parts["train"]),
              "validation images": len(dataset.parts["validation"])}
    study = open_study(config.search.study, open_storage(url, config.search.grace), about=about,
                       pruner=make_pruner(config.search.pruner, steps=steps, startup=config.search.startup))
    me = os.environ.get(WORKER) or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    return Work(config, base, space, dataset, folder, study, url, me)


def training_of(config: SearchConfig) -> TrainConfig:
    """The training that trials start from; its threads share the cores with the other workers."""
    names = {spec.name for spec in specs(TrainConfig)}
    flat = {key: value for key, value in flatten(config).items() if key in names}
    flat |= {"workers": 0, "folds": None, "out": None}
    if config.data.workers > 1 and not config.hardware.threads:
        flat["threads"] = max(1, cores() // config.data.workers // config.hardware.devices)
    return make(TrainConfig, flat)


def _check(config: SearchConfig, base: TrainConfig) -> None:
    if "TORCHELASTIC_RUN_ID" in os.environ or base.hardware.num_nodes > 1:
        raise UserError("medseg search: starts its processes by itself; run it without torchrun, with --devices for the devices "
                        "of a trial and the same command on each machine")
    if config.data.folds and base.hardware.devices > 1:
        raise UserError("--folds: trains one fold after the other on one device; use --devices 1, and --workers for the others")
    if config.data.folds == 1:
        raise UserError("--folds 1: expected at least 2, or 0 for the validation part")
    if base.output.resume is not None:
        raise UserError("--resume: is for medseg train; a study goes on when its command is given again")


def _take_part(job: Any) -> int:
    """Trials done by this command, in this process or in --workers of its own, with the table of trials in view."""
    from medseg.search.table import live_table
    from medseg.search.work import work

    shown = job.base.output.progress and sys.stderr.isatty()
    with live_table(job) if shown else nullcontext():
        if job.config.data.workers == 1:
            if shown:  # one display at a time
                job = replace(job, base=replace(job.base, output=replace(job.base.output, progress=False)))
            return work(job, lambda: _log_last(job))
        return _workers(job)


def _log_last(job: Any) -> None:
    from medseg.search.table import last_line

    logger.info(last_line(job))


def _workers(job: Any) -> int:
    """Start the workers and wait for them; a lost one is told of, and the others take over its trial."""
    from medseg.search.study import tally

    before, flat = tally(job.study).finished, flatten(job.config)
    file = job.folder / "workers.yaml"
    secret = {"storage": None}  # may hold a password: handed on in the environment
    write_text(file, dump(make(SearchConfig, flat | secret | {"workers": 1, "threads": job.base.hardware.threads, "progress": False,
                                                              "out": str(job.folder), "json": False})))
    processes = []
    for number in range(job.config.data.workers):
        environment = os.environ | {WORKER: job.me, STORAGE: job.url} | _device(number, job.base)
        processes.append(subprocess.Popen([sys.executable, "-m", "medseg", "search", "--config", str(file)], env=environment))
    write_text(job.folder / "workers.pid", "".join(f"{process.pid}\n" for process in processes))
    try:
        codes = [process.wait() for process in processes]
    except KeyboardInterrupt:  # a terminal tells the workers too; a plain signal to us does not
        for process in processes:
            if process.poll() is None:
                time.sleep(0.5)
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()
        raise engine.Interrupted(str(job.folder)) from None
    if 130 in codes:
        raise engine.Interrupted(str(job.folder))
    found = tally(job.study)
    if any(codes):
        logger.warning(f"workers ended with exit codes {', '.join(map(str, codes))}")
    if found.finished < job.config.search.trials:
        raise UserError(f"all workers have ended after {found.finished} of {job.config.search.trials} trials (exit codes "
                        f"{', '.join(map(str, codes))}); see above, then give the same command again")
    return found.finished - before


def _device(number: int, base: TrainConfig) -> dict[str, str]:
    """Workers take GPUs in turns."""
    if base.hardware.accelerator == "cpu" or "CUDA_VISIBLE_DEVICES" in os.environ:
        return {}
    import torch

    count, each = torch.cuda.device_count(), base.hardware.devices
    if count < 2 * each:
        return {}
    first = number * each % (count // each * each)
    return {"CUDA_VISIBLE_DEVICES": ",".join(str(first + i) for i in range(each))}


def _finish(job: Any, done: int) -> dict[str, Any]:
    """Write the results; one command, that of the last trial, trains the winner and the default."""
    from medseg.search.results import best_trial, differing, report_gain, retrain, write_results
    from medseg.search.study import counted

    if best_trial(job) is None:
        result = write_results(job)
        errors = [row["error"] for row in result["trials"] if "error" in row]
        raise UserError(f"no trial of {job.study.study_name} was completed{f'; the last one: {errors[-1]}' if errors else ''}; see "
                        f"{job.folder / 'search.json'}")
    write_results(job)  # before the long part
    logger.info("best options: " + (", ".join(f"{key} {value}" for key, value in differing(job).items()) or "the default"))
    last = max(counted(job.study), key=lambda trial: (trial.datetime_complete, trial.number))
    mine = not done or last.user_attrs.get("worker") == job.me
    retrained = None
    if job.config.search.retrain and mine:
        retrained = retrain(replace(job, base=replace(job.base, output=replace(job.base.output, out=None))))
        logger.info(report_gain(retrained, job.base.training.metric))
    elif job.config.search.retrain:
        logger.info(f"the winner is retrained by {last.user_attrs.get('worker')}, which ended the last trial")
    result = write_results(job, retrained)
    best = result["best"]
    counts = ", ".join(f"{result[state]} {state}" for state in ("completed", "pruned", "failed"))
    logger.info(f"{result['finished']} trials: {counts}; best validation {result['metric']} {best['value']:.4f} in trial "
                f"{best['trial']}  {job.folder / 'search.html'}")
    return result


def dashboard(url: str, study: str) -> dict[str, Any]:
    """optuna-dashboard on the storage, until stopped."""
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise UserError("--dashboard: optuna-dashboard is not installed; pip install optuna-dashboard") from None
    from medseg.search.study import open_storage

    storage = open_storage(url, 120)
    known = [each.study_name for each in storage.get_all_studies()]
    if study not in known:
        raise UserError(f"--study {study}: not in this storage; it has {', '.join(known) or 'none'}")
    logger.info("http://127.0.0.1:8080/dashboard (Ctrl-C ends it)")
    run_server(storage, host="127.0.0.1", port=8080)
    return {}
