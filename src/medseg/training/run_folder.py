"""The run folder of a training: made or reopened, locked, with its log file open."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from loguru import logger

from medseg.config import TrainConfig, dump
from medseg.console import log_to_file, to_json
from medseg.data.ancestors import remember_ancestors
from medseg.data.remembered import recall, remember
from medseg.data.sample import Dataset
from medseg.environment import environment
from medseg.files import lock, new_folder, write_text
from medseg.hardware import cores
from medseg.runs import find_checkpoint


def open_run_folder(config: TrainConfig, dataset: Dataset) -> Path:
    """The run folder with its config, environment and splits; an existing one only to resume."""
    run = config.output.resume
    if run is None:
        run = make_run_folder(config, dataset.name)
    if not recall(run).digests:  # a new run, or one of a medseg that kept none
        remember(run, dataset, ("train", "validation"), config.data.workers or cores())
    if config.output.resume is None:
        remember_ancestors(run, ancestors_of(config))
    write_description(run, config)
    return run


def ancestors_of(config: TrainConfig) -> dict[str, Path]:
    """The folders of the runs that a training takes its weights or its teaching from."""
    files = {f"--init {config.model.init}": config.model.init} if config.model.init else {}
    files |= {f"--teacher {path}": path for path in config.distill.teacher or ()}
    return {source: find_checkpoint(path).parent for source, path in files.items()}


def make_run_folder(config: TrainConfig, data: str) -> Path:
    """A new folder: --out, or a free name below runs/."""
    return new_folder(
        config.output.out or free_name(data, config.model.model),
        "--out",
        "choose another, or resume it with --resume",
    )


def write_description(run: Path, config: TrainConfig) -> None:
    """Write config.yaml and environment.json."""
    output = replace(config.output, resume=None, out=run)
    write_text(run / "config.yaml", dump(replace(config, output=output)))
    write_text(run / "environment.json", to_json(environment()))


def free_name(data: str, model: str) -> Path:
    """A folder below runs/ that does not exist yet."""
    name = f"{data}-{model}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = Path("runs") / name
    for number in itertools.count(2):
        if not path.exists():
            break
        path = path.with_name(f"{name}-{number}")
    return path


@contextmanager
def in_use(run: Path | None) -> Iterator[None]:
    """The run folder locked against a second process, and its log file open; None does nothing."""
    if run is None:
        yield
        return
    with lock(
        run / ".lock", f"{run} is in use by another process; wait for it or choose another --out"
    ):
        handle = log_to_file(run / "log.txt")
        logger.info(f"run {run}")
        try:
            yield
        finally:
            logger.remove(handle)
