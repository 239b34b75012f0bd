"""`medseg train` once for each seed or fold, and their results as one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.config import TrainConfig, flatten, read_yaml
from medseg.data.sample import Dataset
from medseg.data.sources.dataset import dataset_of
from medseg.data.sources.listing import natural
from medseg.errors import Interrupted, UserError
from medseg.evaluation.intervals import headline
from medseg.evaluation.redraw import redraw
from medseg.evaluation.repeats import merge_folds, merge_seeds
from medseg.evaluation.results import Evaluation, Subject
from medseg.evaluation.rows import read_rows
from medseg.reports.evaluation import write_report
from medseg.training import session as single
from medseg.training.resume import same_data, unchanged, with_absolute_paths
from medseg.training.run_folder import make_run_folder, write_description
from medseg.training.runtime import world_of

FOLD = re.compile(r"fold-?(\d+)$")  # fold-1, or grouped-kfold-5-seed0-fold1


def train(config: TrainConfig) -> dict[str, Any]:
    """Train once, or once for each of --seeds or --folds, and evaluate the trainings together.

    With both, each fold is trained with each seed. Each training is a run folder of its own below
    the run, such as seed-0 or fold-1; the run's report/test holds the mean over seeds per image, or
    all test parts of the folds. Returns what a single training does. A stopped run is resumed as a
    whole: finished trainings are kept.
    """
    config = with_absolute_paths(config)
    if not config.training.seeds and not config.data.folds:
        return single.train(config)
    if world_of(config.hardware) != (1, 1):
        raise UserError(
            "--seeds and --folds train one after the other in one process; use --devices 1, or"
            " start each training by itself with its --seed and --split"
        )
    kind = "seed" if config.training.seeds else "fold"
    children = dict(_of_seeds(config) if kind == "seed" else _of_folds(config))
    run = config.output.resume or make_run_folder(config, Path(config.data.data).name)
    write_description(run, config)
    results = {}
    for number, (name, child) in enumerate(children.items(), 1):
        logger.info(f"{kind} {name} ({number} of {len(children)})")
        try:
            results[name] = _train_one(child, run, f"{kind}-{name}")
        except Interrupted:
            raise Interrupted(str(run)) from None
    return {"run": str(run), "summaries": _evaluate_together(config, kind, run, results)}


def _of_seeds(config: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    """The name and the config of the training of each seed."""
    for seed in config.training.seeds:
        yield str(seed), replace(config, training=replace(config.training, seed=seed, seeds=None))


def _of_folds(config: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    """The name and the config of the training of each fold."""
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
                f"{fold}: holds no test.txt; a fold without test images cannot be evaluated"
            )
        yield (
            FOLD.search(fold.name)[1],
            replace(config, data=replace(config.data, split=str(fold), folds=None)),
        )


def _train_one(config: TrainConfig, run: Path, name: str) -> dict[str, dict[str, Any]]:
    """The summaries of one training: run now, resumed, or read where it is finished."""
    folder = run / name
    if not (folder / "config.yaml").exists():
        output = replace(config.output, out=folder, resume=None)
        config = replace(config, output=output)
        if config.data.folds:  # those of one seed
            return train(config)["summaries"]
        return single.train(config, dataset=_same_as_before(config, run, name))["summaries"]
    if not config.data.folds:
        finished = _finished(config, folder)
        if finished is not None:
            logger.info(f"{folder} is finished already")
            return finished
        if not (folder / "last.pt").exists():
            raise UserError(
                f"{folder}: was stopped before its first checkpoint; remove this folder and resume"
                " again"
            )
    output = replace(config.output, out=folder, resume=folder)
    return train(replace(config, output=output))["summaries"]


def _same_as_before(config: TrainConfig, run: Path, name: str) -> Dataset | None:
    """The data of the next training: for one more seed, the images of the first one.

    None for the first training. Raises `UserError` where an image or mask is gone, or is not what
    it was in an earlier training: they would not be trainings of one thing.
    """
    data = config.data
    dataset = None
    for folder in sorted(each.parent.parent for each in run.glob("*/splits/digests.csv")):
        if name.startswith("seed-"):
            return same_data(folder, data)
        dataset = dataset or dataset_of(data)
        unchanged(folder, [*dataset.parts["train"], *dataset.parts["validation"]], data)
    return dataset


def _finished(config: TrainConfig, folder: Path) -> dict[str, dict[str, Any]] | None:
    """The summaries of a single training that is finished; None for one that is not."""
    found = {
        part: folder / "report" / part / "summary.json"
        for part in ("validation", "test")
        if (folder / "splits" / f"{part}.txt").exists()
    }
    if not all(path.exists() for path in found.values()):
        return None
    if read_yaml(folder / "config.yaml")["epochs"] != config.training.epochs:
        return None
    return {part: json.loads(path.read_text(encoding="utf-8")) for part, path in found.items()}


def _evaluate_together(
    config: TrainConfig, kind: str, run: Path, results: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Merge the reports of all trainings into that of the run, part by part."""
    found = {}
    for part in ("validation", "test") if kind == "seed" else ("test",):
        each = {name: summaries[part] for name, summaries in results.items() if part in summaries}
        if len(each) == len(results):
            found[part] = _merge(config, kind, run, part, each)
    return found


def _merge(
    config: TrainConfig, kind: str, run: Path, part: str, summaries: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Write the report of one part over all seeds or folds; returns its summary."""
    rows = {
        name: read_rows(run / f"{kind}-{name}" / "report" / part / "per_image.csv")
        for name in summaries
    }
    merged, summary = (merge_seeds if kind == "seed" else merge_folds)(rows, summaries)
    if kind == "fold":
        summary["split"] = f"{Path(config.data.split).name}, {len(summaries)} folds"
    folder = run / "report" / part
    subject = Subject({}, flatten(config))
    evaluation = Evaluation(subject, summary, merged, redraw(run, part, merged, config.data.data))
    evaluation.write(folder)
    write_report(folder / "report.html", evaluation)
    dice = summary["repeats"]["protocols"]["per-image-foreground"]["dice"]
    logger.info(
        f"{summary['part']}: {headline(summary)}; {kind}s {dice['mean']:.4f} ± {dice['sd']:.4f}"
        f"  {folder / 'report.html'}"
    )
    return summary
