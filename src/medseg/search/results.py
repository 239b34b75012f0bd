"""What a study leaves behind: search.json, the winner's recipe, search.html, the gain."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from medseg.config import TrainConfig, dump, flatten, make, read_yaml
from medseg.console import to_json
from medseg.errors import UserError
from medseg.evaluation.rows import read_rows
from medseg.files import write_text
from medseg.search.job import FREE, Job
from medseg.search.page import write_page
from medseg.search.space import Space, configure, named_values, plain
from medseg.search.study import FrozenTrial, TrialState, counted, hidden, outcomes, tally
from medseg.statistics.bootstrap import mean_interval
from medseg.training.session import train


def write_results(job: Job, retrained: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write search.json, best.yaml and search.html into the study's folder.

    Returns the content of search.json.
    """
    study, found, best = job.study, tally(job.study), best_trial(job)
    trials = study.get_trials(deepcopy=False)
    rows = [
        _trial_row(job, trial, state) for trial, state in zip(trials, outcomes(trials), strict=True)
    ]
    result = {
        "study": study.study_name,
        "storage": hidden(job.url),
        "metric": job.base.training.metric,
        "best": _best_row(job, best),
        "wanted": job.config.search.trials,
        "finished": found.finished,
        "completed": found.completed,
        "pruned": found.pruned,
        "failed": found.failed,
        "tried_again_or_surplus": found.freed,
        "pruning_saved": saved_by_pruning(rows, job.steps),
        "retrained": retrained,
        "space": plain(job.space),
        "trials": rows,
    }
    write_text(job.folder / "search.json", to_json(result))
    if best:
        text = (
            f"# The best of {found.finished} trials of the study {study.study_name}: validation "
            f"{job.base.training.metric} {best.value:.4f}\n# medseg train --config "
            f"{job.folder / 'best.yaml'} --out runs/best\n"
        )
        write_text(job.folder / "best.yaml", text + dump(best_config(job)))
    write_page(job.folder / "search.html", result, study if found.completed > 1 else None)
    return result


def _trial_row(job: Job, trial: FrozenTrial, state: str) -> dict[str, Any]:
    """A trial as search.json holds it."""
    row = {
        "number": trial.number,
        "state": state,
        "value": trial.value if state == "completed" else None,
        "steps": len(trial.intermediate_values),
        "seconds": trial.user_attrs.get("seconds"),
        "steps_took": trial.user_attrs.get("steps_took"),
        "run": trial.user_attrs.get("run"),
        "params": named_values(job.space, trial.params),
    }
    if "error" in trial.user_attrs:
        row["error"] = trial.user_attrs["error"]
    return row


def _best_row(job: Job, best: FrozenTrial | None) -> dict[str, Any] | None:
    """The winner as search.json holds it."""
    if best is None:
        return None
    return {
        "trial": best.number,
        "value": best.value,
        "params": named_values(job.space, best.params),
        "run": best.user_attrs.get("run"),
    }


def best_trial(job: Job) -> FrozenTrial | None:
    """The completed trial with the highest value, the earliest of equal ones; None without any."""
    done = [trial for trial in counted(job.study) if trial.state == TrialState.COMPLETE]
    return max(done, key=lambda trial: (trial.value, -trial.number), default=None)


def best_config(job: Job) -> TrainConfig:
    """The training that the best trial stands for."""
    return configure(job.base, job.space, named_values(job.space, best_trial(job).params))


def saved_by_pruning(rows: list[dict[str, Any]], steps: int) -> float | None:
    """The share of the time of all trials that pruning saved.

    A pruned trial is assumed to continue at the pace of its own steps. What a trial costs beside
    its steps (start, report) is counted once, and the report that a pruned one would have ended
    with is not: the share is rather too low than too high.
    """
    spent = saved = 0.0
    for row in rows:
        if row["state"] in ("completed", "pruned") and row["seconds"]:
            spent += row["seconds"]
            if row["state"] == "pruned" and row["steps"] and row["steps_took"]:
                saved += row["steps_took"] * (steps / row["steps"] - 1)
    return saved / (spent + saved) if spent else None


def retrain(job: Job) -> dict[str, Any]:
    """Train the winner and the default in full, and test each once.

    Returns {"trial", "best", "default": {"run", "validation", "test"}, "part", "gain", "interval"}:
    the mean over images of the difference of the metric, with its 95 % interval over groups of
    images. It is kept in the study, and what is there for the winner is not repeated, wherever it
    was done; neither are finished trainings.
    """
    best = best_trial(job).number
    kept = json.loads(job.study.user_attrs.get("retrained", "{}"))
    if kept.get("trial") == best:
        logger.info(f"trial {best} was retrained and tested before: {kept['best']['run']}")
        kept["interval"] = [math.nan if end is None else end for end in kept["interval"]]
        return kept
    found = {"trial": best} | _compare(job)
    job.study.set_user_attr("retrained", to_json(found))
    return found


def _compare(job: Job) -> dict[str, Any]:
    """Winner and default, trained and tested."""
    metric, made = job.base.training.metric, {}
    for name, config in (("best", best_config(job)), ("default", job.base)):
        _put_aside(job.folder / name, config, job.space)
        made[name] = _train(name, config, job, metric)
    part = "test" if made["best"]["test"] is not None else "validation"
    best, default = (_rows_by_name(job.folder / name, part) for name in ("best", "default"))
    names = [name for name in best if name in default]
    differences = [best[name][metric] - default[name][metric] for name in names]
    groups = [best[name].get("group") for name in names]
    low, high = mean_interval(differences, groups, bounds=(-1.0, 1.0))
    defined = [value for value in differences if not math.isnan(value)]
    return made | {
        "part": part,
        "gain": sum(defined) / max(1, len(defined)),
        "interval": [low, high],
        "n_images": len(defined),
    }


def _rows_by_name(run: Path, part: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in read_rows(run / "report" / part / "per_image.csv")}


def _put_aside(folder: Path, config: TrainConfig, space: Space) -> None:
    """Rename a run of other options.

    That of the winner before more trials were made, or of another study in this folder.
    """
    if not (folder / "config.yaml").exists():
        return
    before, now = flatten(make(TrainConfig, read_yaml(folder / "config.yaml"))), flatten(config)
    for key, unset in (("classes", 0), ("mask_kind", "auto"), ("batch_size", 0)):
        if now[key] == unset:  # the data decided
            now[key] = before[key]
    searched = any(each.name == "batch_size" for each in space)
    if now["batch_size"] > before["batch_size"] and not searched:  # cut to the number of images
        now["batch_size"] = before["batch_size"]
    if any(before[key] != now[key] for key in now if key not in FREE):
        aside = folder
        while aside.exists():
            aside = aside.with_name(f"{aside.name}-earlier")
        folder.rename(aside)
        logger.info(f"{folder}: the run of other options, now {aside}")


def _train(name: str, config: TrainConfig, job: Job, metric: str) -> dict[str, Any]:
    """The folder and the scores of a training, made now, resumed, or done before."""
    folder = job.folder / name
    report = folder / "report"
    if not (report / "validation" / "summary.json").exists():
        logger.info(f"training the {name} options in full")
        resume = folder if (folder / "last.pt").exists() else None
        if folder.exists() and resume is None and any(folder.iterdir()):
            raise UserError(
                f"{folder}: was stopped before its first checkpoint; remove this folder and run"
                " the command again"
            )
        config = replace(config, output=replace(config.output, out=folder, resume=resume))
        train(config, dataset=job.dataset, coding=job.coding)  # that of the trials, by their lists
    found: dict[str, Any] = {"run": str(folder)}
    for part in ("validation", "test"):
        file = report / part / "summary.json"
        found[part] = None
        if file.exists():
            protocols = json.loads(file.read_text())["protocols"]
            found[part] = protocols["per-image-foreground"][metric]
    return found


def report_gain(retrained: dict[str, Any], metric: str) -> str:
    """The gain in a line."""
    part, (low, high) = retrained["part"], retrained["interval"]
    ends = "no interval: too few images"
    if not math.isnan(low):
        ends = f"95 % {low:+.4f} to {high:+.4f}"
    note = ""
    if part != "test":
        note = "; there is no test part, so the winner was chosen on these images: optimistic"
    return (
        f"{part} {metric}: best {retrained['best'][part]:.4f}, default"
        f" {retrained['default'][part]:.4f}, gain {retrained['gain']:+.4f} ({ends},"
        f" n={retrained['n_images']}{note})"
    )


def differing(job: Job) -> dict[str, Any]:
    """Options of the winner that are not the default's."""
    before, after = flatten(job.base), flatten(best_config(job))
    return {key: after[key] for key in after if after[key] != before[key]}
