"""Several trainings as one result: the mean over seeds per image, or all test folds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medseg.errors import UserError
from medseg.evaluation.conventions import PER_IMAGE, summarise, sums_from_counts
from medseg.evaluation.intervals import about, ends_of, left_tail, row_quantities
from medseg.evaluation.lesions import by_size
from medseg.evaluation.rows import TEXT
from medseg.metrics.overlap import METRICS
from medseg.statistics.bootstrap import Sums, of_mean

Rows = list[dict[str, Any]]
COMMON = (
    "data",
    "split",
    "part",
    "model",
    "classes",
    "masks",
    "parameters",
    "size",
    "resize",
    "threshold",
    "precision",
    "medseg",
)
Summaries = dict[str, dict[str, Any]]
Quantities = dict[tuple[str, str], Sums]


def merge_seeds(rows: dict[str, Rows], summaries: Summaries) -> tuple[Rows, dict[str, Any]]:
    """Rows with the mean over seeds of each image's values, and their summary.

    Each number of the summary is the mean over seeds; its interval resamples images (groups) with
    all seeds of theirs, so that it is about the mean of such trainings and says nothing about the
    spread, which is beside it. An undefined value of one seed is left out of an image's mean.
    """
    first = next(iter(rows.values()))
    names = [row["name"] for row in first]
    groups = [row.get("group") for row in first]
    by_name = {seed: {row["name"]: row for row in each} for seed, each in rows.items()}
    merged = [_mean_row(row, [by_name[seed][row["name"]] for seed in rows]) for row in first]
    of_seeds = [
        _quantities([by_name[seed][name] for name in names], summaries[seed]["classes"])
        for seed in rows
    ]
    repeats = _repeats("seed", summaries)
    means = {
        convention: {name: each["mean"] for name, each in metrics.items()}
        for convention, metrics in repeats["protocols"].items()
    }
    return merged, {
        **_head("seed", summaries),
        "n_images": len(names),
        "protocols": means,
        "by_size": by_size(merged),
        "left_tail": left_tail(merged),
        "intervals": _intervals(_side_by_side(of_seeds, len(names)), merged, groups),
        **_mean_empty_masks(summaries),
        "repeats": repeats,
    }


def _mean_row(row: dict[str, Any], of_seeds: Rows) -> dict[str, Any]:
    """An image's row with the mean over seeds of each number."""
    return {
        key: value if key in TEXT else _mean([each[key] for each in of_seeds])
        for key, value in row.items()
    }


def _side_by_side(of_seeds: list[Quantities], images: int) -> Quantities:
    """The sums of all seeds as columns of one quantity: an image is drawn with all of them."""
    joined = {}
    for key in of_seeds[0]:
        columns = [[each[key][side].reshape(images, -1) for each in of_seeds] for side in (0, 1)]
        joined[key] = tuple(np.concatenate(side, axis=1) for side in columns)
    return joined


def _mean_empty_masks(summaries: Summaries) -> dict[str, Any]:
    """The block of images without foreground, its counts as means over seeds."""
    found = [each["empty_masks"] for each in summaries.values() if "empty_masks" in each]
    if not found:
        return {}
    means = {
        key: value if isinstance(value, str) else _mean([each[key] for each in found])
        for key, value in found[0].items()
    }
    return {"empty_masks": means}


def merge_folds(rows: dict[str, Rows], summaries: Summaries) -> tuple[Rows, dict[str, Any]]:
    """The rows of all folds, and their summary: each image by the network that did not see it.

    With more than two classes only the per-image convention can be had from rows. Raises
    `UserError` for an image in two folds.
    """
    _check_disjoint(rows)
    merged = [row for each in rows.values() for row in each]
    groups = [row.get("group") for row in merged]
    head = _head("fold", summaries)
    if head["classes"] == 2:
        numbers = summarise(_counts(merged), [row["name"] for row in merged])
    else:
        means = {key: _mean([row[key] for row in merged]) for key in METRICS}
        numbers = {"protocols": {PER_IMAGE.name: means}}
    return merged, {
        **head,
        "part": "out-of-fold",
        "n_images": len(merged),
        **numbers,
        "by_size": by_size(merged),
        "left_tail": left_tail(merged),
        "intervals": _intervals(_quantities(merged, head["classes"]), merged, groups),
        "repeats": _repeats("fold", summaries),
    }


def _check_disjoint(rows: dict[str, Rows]) -> None:
    """`UserError` for an image in the test parts of two folds."""
    fold_of: dict[str, str] = {}
    for fold, each in rows.items():
        for name in (row["name"] for row in each):
            if name in fold_of:
                raise UserError(
                    f"{name}: is in test of fold {fold_of[name]} and of fold {fold}; in"
                    " cross-validation each image is evaluated once, so remake the folds"
                )
            fold_of[name] = fold


def _intervals(
    of_conventions: Quantities, merged: Rows, groups: list[str | None]
) -> dict[str, Any]:
    found = {("protocols", *path): sums for path, sums in of_conventions.items()}
    return about(groups) | ends_of(found | row_quantities(merged), groups)


def _head(kind: str, summaries: Summaries) -> dict[str, Any]:
    """What all trainings share, the worst stamp of a split, and every note once."""
    first = next(iter(summaries.values()))
    head = {key: first[key] for key in COMMON if key in first}
    stamps = {name: each["stamp"] for name, each in summaries.items() if each.get("stamp")}
    if stamps:
        rank = ("grouped", "other", "unknown", "seen", "LEAKY")
        name, worst = max(stamps.items(), key=lambda pair: rank.index(pair[1]["verdict"]))
        alike = sum(stamp["verdict"] == worst["verdict"] for stamp in stamps.values())
        head["stamp"] = {
            "verdict": worst["verdict"],
            "text": f"{alike} of {len(stamps)} trainings; of {kind} {name}: {worst['text']}",
        }
    notes = (note for each in summaries.values() for note in each.get("notes", []))
    head["notes"] = list(dict.fromkeys(notes))
    return head


def _repeats(kind: str, summaries: Summaries) -> dict[str, Any]:
    """The numbers of each training: {convention: {metric: {"values", "mean", "sd"}}} and names."""
    tables = [each["protocols"] for each in summaries.values()]
    spread = {
        convention: {
            name: _spread([table[convention][name] for table in tables]) for name in metrics
        }
        for convention, metrics in tables[0].items()
    }
    return {
        "kind": kind,
        "names": list(summaries),
        "n_images": [each["n_images"] for each in summaries.values()],
        "protocols": spread,
    }


def _spread(values: list[float | None]) -> dict[str, Any]:
    """The values of a number, their mean and their standard deviation with n - 1."""
    values = [math.nan if value is None else value for value in values]
    defined = [value for value in values if not math.isnan(value)]
    sd = float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan
    return {"values": values, "mean": _mean(values), "sd": sd}


def _quantities(rows: Rows, classes: int) -> Quantities:
    """Numerators and denominators that rows hold: of all count conventions with two classes."""
    if classes == 2:
        return sums_from_counts(_counts(rows))
    return {(PER_IMAGE.name, key): of_mean(np.array([row[key] for row in rows])) for key in METRICS}


def _counts(rows: Rows) -> np.ndarray:
    """The confusion counts [N, 2, 2] behind rows of two classes."""
    cells = [[[row["tn"], row["fp"]], [row["fn"], row["tp"]]] for row in rows]
    return np.array(cells).round().astype(np.int64)


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
