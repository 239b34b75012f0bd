"""The processes of `--workers`: started, waited for, and stopped with the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from loguru import logger

from medseg.config import SearchConfig, TrainConfig, dump, flatten, make
from medseg.errors import Interrupted, UserError
from medseg.files import write_text
from medseg.hardware import cores
from medseg.search.job import Job
from medseg.search.study import tally

WORKER = "MEDSEG_SEARCH_WORKER"  # set in these processes: the name of the command they belong to
STORAGE = "MEDSEG_STORAGE"


def run_workers(job: Job, *, quiet: bool) -> int:
    """Start the workers and wait for them; returns how many trials they finished.

    Where `quiet`, what they say goes to worker-N.log in the study's folder, for the sake of a live
    table. A lost worker is reported, and the others take over its trial.
    """
    before = tally(job.study).finished
    codes = _run(job, quiet)
    if 130 in codes:
        raise Interrupted(str(job.folder))
    finished, wanted = tally(job.study).finished, job.config.search.trials
    said = ", ".join(map(str, codes))
    if any(codes):
        logger.warning(f"workers ended with exit codes {said}")
    if finished < wanted:
        where = job.folder / "worker-1.log" if quiet else "above"
        raise UserError(
            f"all workers have ended after {finished} of {wanted} trials (exit codes {said}); see"
            f" {where}, then run the same command again"
        )
    return finished - before


def _run(job: Job, quiet: bool) -> list[int]:
    """The exit codes of all workers."""
    file = job.folder / "workers.yaml"
    write_text(file, dump(_config(job)))
    processes: list[subprocess.Popen] = []
    with ExitStack() as files:
        try:
            for number in range(job.config.data.workers):
                log = None
                if quiet:
                    log = files.enter_context(open(job.folder / f"worker-{number + 1}.log", "ab"))
                processes.append(_start(job, number, file, log))
            pids = "".join(f"{process.pid}\n" for process in processes)
            write_text(job.folder / "workers.pid", pids)
            return [process.wait() for process in processes]
        except KeyboardInterrupt:
            _stop(processes)
            raise Interrupted(str(job.folder)) from None


def _start(job: Job, number: int, config: Path, log: BinaryIO | None) -> subprocess.Popen:
    """One worker, its standard error going to `log` where there is one."""
    own = {WORKER: job.command, STORAGE: job.url} | _device(number, job.base)
    return subprocess.Popen(
        [sys.executable, "-m", "medseg", "search", "--config", str(config)],
        env=os.environ | own,
        stderr=log,
    )


def _config(job: Job) -> SearchConfig:
    """What each worker is told: the command's own options, with a share of the cores."""
    config = job.config
    share = cores() // config.data.workers // config.hardware.devices
    own = {
        "storage": None,  # may hold a password: handed on in the environment
        "workers": 1,
        "threads": config.hardware.threads or max(1, share),
        "progress": False,
        "json": False,
        "out": str(job.folder),
    }
    return make(SearchConfig, flatten(config) | own)


def _stop(processes: list[subprocess.Popen]) -> None:
    """Have all workers save and end: a terminal has told them already, a plain signal has not."""
    for process in processes:
        if process.poll() is None:
            time.sleep(0.5)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait()


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
