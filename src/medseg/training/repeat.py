"""`medseg train` once for each seed or fold, and their results as one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.config import TrainConfig, dump, flatten, read_yaml
from medseg.console import to_json
from medseg.data.sources.folder import natural
from medseg.environment import environment
from medseg.errors import UserError
from medseg.evaluation.intervals import headline
from medseg.evaluation.redraw import redraw
from medseg.evaluation.repeats import merge_folds, merge_seeds
from medseg.evaluation.results import Evaluation, Subject
from medseg.evaluation.rows import read_rows
from medseg.files import new_folder, write_text
from medseg.reports.evaluation import write_report
from medseg.training import loop as engine
from medseg.training import session as single
from medseg.training.runtime import world_of

FOLD = re.compile(r"fold-?(\d+)$")  # fold-1, or grouped-kfold-5-seed0-fold1


def train(config: TrainConfig) -> dict[str, Any]:
    """Train once, or for each of --seeds or --folds (both: each fold of each seed), and judge the
    trainings together.

    Each training is a run folder of its own below the run, such as seed-0 or fold-1; the run's
    report/test holds the mean over seeds of each image, or all test parts of the folds. Returns
    what a single training does. A stopped run is resumed as a whole: trainings that are done are
    kept.
    """
    if not config.training.seeds and not config.data.folds:
        return single.train(config)
    if world_of(config.hardware) != (1, 1):
        raise UserError(
            "--seeds and --folds train one after the other in one process; use --devices 1, or"
            " start each training by itself with its --seed and --split"
        )
    kind = "seed" if config.training.seeds else "fold"
    children = dict(_of_seeds(config) if kind == "seed" else _of_folds(config))
    run = config.output.resume or new_folder(
        config.output.out or single.free_name(config.data.data, config.model.model),
        "--out",
        "choose another, or go on with it by --resume",
    )
    write_text(
        run / "config.yaml",
        dump(replace(config, output=replace(config.output, resume=None, out=run))),
    )
    write_text(run / "environment.json", to_json(environment()))
    results = {}
    for number, (name, child) in enumerate(children.items(), 1):
        logger.info(f"{kind} {name} ({number} of {len(children)})")
        try:
            results[name] = _train_one(child, run / f"{kind}-{name}")
        except engine.Interrupted:
            raise engine.Interrupted(str(run)) from None  # what to resume
    return {"run": str(run), "summaries": _judge_together(config, kind, run, results)}


def _of_seeds(config: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    for seed in config.training.seeds:
        yield str(seed), replace(config, training=replace(config.training, seed=seed, seeds=None))


def _of_folds(config: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    if config.data.split is None:
        raise UserError("--folds all: give the folder that holds fold-1, fold-2, ... as --split")
    folder = Path(config.data.split)
    folds = sorted(
        (path for path in folder.glob("*fold*") if path.is_dir() and FOLD.search(path.name)),
        key=lambda path: natural(path.name),
    )
    if len(folds) < 2:
        raise UserError(
            f"--split {folder}: holds {len(folds)} folders named fold-1, fold-2, ...; --folds all"
            " needs at least two, each with train.txt and test.txt, as 'medseg data split' writes"
            " them"
        )
    for fold in folds:
        if not (fold / "test.txt").exists():
            raise UserError(
                f"{fold}: holds no test.txt; a fold without test images cannot be judged"
            )
        yield (
            FOLD.search(fold.name)[1],
            replace(config, data=replace(config.data, split=str(fold), folds=None)),
        )


def _train_one(config: TrainConfig, folder: Path) -> dict[str, dict[str, Any]]:
    """The summaries of one training, made now, gone on with, or read where it was done before."""
    if not (folder / "config.yaml").exists():
        return train(replace(config, output=replace(config.output, out=folder, resume=None)))[
            "summaries"
        ]
    if not config.data.folds:
        found = {
            part: folder / "report" / part / "summary.json"
            for part in ("validation", "test")
            if (folder / "splits" / f"{part}.txt").exists()
        }
        if (
            all(path.exists() for path in found.values())
            and read_yaml(folder / "config.yaml")["epochs"] == config.training.epochs
        ):
            logger.info(f"{folder} is done already")
            return {
                part: json.loads(path.read_text(encoding="utf-8")) for part, path in found.items()
            }
        if not (folder / "last.pt").exists():
            raise UserError(
                f"{folder}: was stopped before its first checkpoint; remove this folder and resume"
                " again"
            )
    return train(replace(config, output=replace(config.output, out=folder, resume=folder)))[
        "summaries"
    ]


def _judge_together(
    config: TrainConfig, kind: str, run: Path, results: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Merge the reports of all trainings into that of the run, part by part."""
    found = {}
    for part in ("validation", "test") if kind == "seed" else ("test",):
        each = {name: summaries[part] for name, summaries in results.items() if part in summaries}
        if len(each) < len(results):
            continue
        rows = {
            name: read_rows(run / f"{kind}-{name}" / "report" / part / "per_image.csv")
            for name in each
        }
        merged, summary = (merge_seeds if kind == "seed" else merge_folds)(rows, each)
        if kind == "fold":
            summary["split"] = f"{Path(config.data.split).name}, {len(each)} folds"
        folder = run / "report" / part
        subject = Subject({}, flatten(config))
        evaluation = Evaluation(subject, summary, merged, redraw(run, part, merged))
        evaluation.write(folder)
        write_report(folder / "report.html", evaluation)
        dice = summary["repeats"]["protocols"]["per-image-foreground"]["dice"]
        logger.info(
            f"{summary['part']}: {headline(summary)}; {kind}s {dice['mean']:.4f} ± {dice['sd']:.4f}"
            f"  {folder / 'report.html'}"
        )
        found[part] = summary
    return found
