"""Several trainings as one result: the mean over seeds of each image, or the test parts of all
folds together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medseg.errors import UserError
from medseg.evaluation.intervals import about, ends_of, left_tail, quantities, row_quantities
from medseg.evaluation.lesions import by_size
from medseg.evaluation.protocols import summarise
from medseg.evaluation.rows import TEXT
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
METRICS = ("dice", "iou", "precision", "recall", "specificity")


def merge_seeds(
    rows: dict[str, Rows], summaries: dict[str, dict[str, Any]]
) -> tuple[Rows, dict[str, Any]]:
    """Rows with the mean over seeds of each image's values, and their summary.

    Each number of the summary is the mean over seeds; its interval resamples images (groups) with
    all seeds of theirs, so that it is about the mean of such trainings and says nothing of the
    spread, which is beside it. An undefined value of one seed is left out of an image's mean.
    """
    first = next(iter(rows.values()))
    names = [row["name"] for row in first]
    table = {seed: {row["name"]: row for row in each} for seed, each in rows.items()}
    merged = []
    for row in first:
        values = {
            key: [table[seed][row["name"]][key] for seed in table] for key in row if key not in TEXT
        }
        merged.append(
            {key: row[key] for key in TEXT if key in row}
            | {key: _mean(each) for key, each in values.items()}
        )
    groups = [row.get("group") for row in first]
    columns = [
        _quantities([table[seed][name] for name in names], summaries[seed]["classes"])
        for seed in table
    ]
    joined = {
        key: tuple(
            np.concatenate([each[key][side].reshape(len(names), -1) for each in columns], axis=1)
            for side in (0, 1)
        )
        for key in columns[0]
    }
    repeats = _repeats("seed", summaries)
    empty = [each["empty_masks"] for each in summaries.values() if "empty_masks" in each]
    return merged, _head("seed", summaries) | {
        "n_images": len(names),
        "protocols": {
            convention: {name: each["mean"] for name, each in metrics.items()}
            for convention, metrics in repeats["protocols"].items()
        },
        "by_size": by_size(merged),
        "left_tail": left_tail(merged),
        "intervals": _intervals(joined, merged, groups),
        **(
            {
                "empty_masks": {
                    key: value if isinstance(value, str) else _mean([each[key] for each in empty])
                    for key, value in empty[0].items()
                }
            }
            if empty
            else {}
        ),
        "repeats": repeats,
    }


def merge_folds(
    rows: dict[str, Rows], summaries: dict[str, dict[str, Any]]
) -> tuple[Rows, dict[str, Any]]:
    """The rows of all folds, and their summary: every image judged once, by the network that did
    not see it.

    With more than two classes only the per-image convention can be had from rows. Raises
    `UserError` for an image in two folds.
    """
    merged = [row for each in rows.values() for row in each]
    where: dict[str, str] = {}
    for fold, each in rows.items():
        for row in each:
            if row["name"] in where:
                raise UserError(
                    f"{row['name']}: is in test of fold {where[row['name']]} and of fold {fold}; in"
                    " cross-validation each image is judged once, so remake the folds"
                )
            where[row["name"]] = fold
    groups = [row.get("group") for row in merged]
    head = _head("fold", summaries)
    names = [row["name"] for row in merged]
    if head["classes"] == 2:
        numbers = summarise(_counts(merged), names)
    else:
        numbers = {
            "protocols": {
                "per-image-foreground": {
                    key: _mean([row[key] for row in merged]) for key in METRICS
                }
            }
        }
    return merged, head | {
        "part": "out-of-fold",
        "n_images": len(merged),
        **numbers,
        "by_size": by_size(merged),
        "left_tail": left_tail(merged),
        "intervals": _intervals(_quantities(merged, head["classes"]), merged, groups),
        "repeats": _repeats("fold", summaries),
    }


def _intervals(
    conventions: dict[tuple[str, str], Sums], merged: Rows, groups: list[str | None]
) -> dict[str, Any]:
    found = {("protocols", *path): sums for path, sums in conventions.items()} | row_quantities(
        merged
    )
    return about(groups) | ends_of(found, groups)


def _head(kind: str, summaries: dict[str, dict[str, Any]]) -> dict[str, Any]:
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
    head["notes"] = list(
        dict.fromkeys(note for each in summaries.values() for note in each.get("notes", []))
    )
    return head


def _repeats(kind: str, summaries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """{"kind", "names", "n_images", "protocols": {convention: {metric: {"values", "mean", "sd"}}}};
    sd with n - 1.
    """
    tables = [each["protocols"] for each in summaries.values()]
    spread = {}
    for convention, metrics in tables[0].items():
        spread[convention] = {}
        for name in metrics:
            values = [
                math.nan if table[convention][name] is None else table[convention][name]
                for table in tables
            ]
            defined = [value for value in values if not math.isnan(value)]
            spread[convention][name] = {
                "values": values,
                "mean": _mean(values),
                "sd": float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan,
            }
    return {
        "kind": kind,
        "names": list(summaries),
        "n_images": [each["n_images"] for each in summaries.values()],
        "protocols": spread,
    }


def _quantities(rows: Rows, classes: int) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    if classes == 2:
        return quantities(_counts(rows))
    return {
        ("per-image-foreground", key): of_mean(np.array([row[key] for row in rows]))
        for key in METRICS
    }


def _counts(rows: Rows) -> np.ndarray:
    """The confusion counts [N, 2, 2] behind rows of two classes."""
    return (
        np.array([[[row["tn"], row["fp"]], [row["fn"], row["tp"]]] for row in rows])
        .round()
        .astype(np.int64)
    )


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
