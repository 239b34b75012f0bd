"""`medseg compare`: which of several runs differ on the same images."""

from __future__ import annotations

import itertools
import math
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.comparison.page import write_page
from medseg.comparison.results import Results, check_alike, read_results
from medseg.config import CompareConfig
from medseg.console import to_json
from medseg.errors import UserError
from medseg.evaluation.intervals import about
from medseg.files import results_folder, write_text
from medseg.statistics.bootstrap import group_index, intervals, of_mean
from medseg.statistics.paired import holm, letters, permutation_test, wilcoxon
from medseg.version import __version__

LEVEL = 0.05
ABOUT = (
    "model",
    "data",
    "split",
    "part",
    "stamp",
    "protocols",
    "intervals",
    "by_size",
    "left_tail",
)


def compare(config: CompareConfig) -> dict[str, Any]:
    """Compare the runs pairwise on their common images.

    Writes compare.json and compare.html; returns the content of the former.
    """
    results = read_results(config.runs, config.split_part)
    notes = check_alike(results, config.metric)
    document = {"metric": config.metric, **compare_pairs(results, config.metric)}
    folder = _out(config)
    document["notes"] += notes
    document |= {
        "out": str(folder),
        "medseg": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "compare.json", to_json(document))
    write_page(folder / "compare.html", document)
    return document


def compare_pairs(results: Sequence[Results], metric: str) -> dict[str, Any]:
    """Means, paired differences, tests and letters of runs on the same images.

    {"intervals": how they were made, "n_images", "left_out": images without a defined value in some
    run, "notes", "runs": [{"name", "mean", "interval", "letters", and `ABOUT` of its summary}],
    best first, "pairs": [{"a", "b", "difference": mean of a - b, "interval", "a_better",
    "b_better", "equal": images, "p_permutation", "p_wilcoxon", "p_permutation_holm",
    "p_wilcoxon_holm", "different"}]}. Groups are those of the first run that knows them. A pair is
    different where the corrected permutation test says so at 5 %.
    """
    table, groups, defined = _values(results, metric)
    order = sorted(range(len(results)), key=lambda i: -table[i].mean())
    table, results = table[order], [results[i] for i in order]
    pairs = list(itertools.combinations(range(len(results)), 2))
    means, differences = _intervals(table, pairs, groups)
    index = group_index(groups, len(groups))
    tests = _tests(table, pairs, index)
    shown = letters(
        len(results),
        {pair for pair, test in zip(pairs, tests, strict=True) if test["different"]},
    )
    made = about(groups)
    runs = [
        {
            "name": run.name,
            "mean": float(row.mean()),
            "interval": list(means[i]),
            "letters": shown[i],
            **{key: run.summary.get(key) for key in ABOUT},
        }
        for i, (run, row) in enumerate(zip(results, table, strict=True))
    ]
    return {
        "n_images": int(defined.sum()),
        "left_out": int((~defined).sum()),
        "intervals": made,
        "level": LEVEL,
        "runs": runs,
        "pairs": [
            {
                "a": runs[a]["name"],
                "b": runs[b]["name"],
                "difference": float((table[a] - table[b]).mean()),
                "interval": list(differences[a, b]),
                **test,
            }
            for (a, b), test in zip(pairs, tests, strict=True)
        ],
        "notes": [*made["notes"], *_too_few(int(index.max()) + 1, len(pairs))],
    }


def _values(
    results: Sequence[Results], metric: str
) -> tuple[np.ndarray, list[str | None], np.ndarray]:
    """The metric [runs, N] of the images where all define it, their groups and their indices."""
    names = list(results[0].rows)
    table = np.array([[run.rows[name][metric] for name in names] for run in results])
    defined = ~np.isnan(table).any(0)
    if not defined.any():
        raise UserError(
            f"--metric {metric}: no image has a defined value in every run; choose another metric"
        )
    with_groups = (run for run in results if any(row.get("group") for row in run.rows.values()))
    known = next(with_groups, results[0])
    groups = [
        known.rows[name].get("group") for name, kept in zip(names, defined, strict=True) if kept
    ]
    return table[:, defined], groups, defined


def _intervals(
    table: np.ndarray, pairs: Sequence[tuple[int, int]], groups: list[str | None]
) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Intervals of each row's mean and of each pair's mean difference."""
    shares = table.min() >= 0 and table.max() <= 1
    top = 1.0 if shares else math.inf
    of_rows = {i: of_mean(row) for i, row in enumerate(table)}
    of_pairs = {(a, b): of_mean(table[a] - table[b]) for a, b in pairs}
    lowest = 0.0 if shares else -top
    return (
        intervals(of_rows, groups, bounds=(lowest, top)),
        intervals(of_pairs, groups, bounds=(-top, top)),
    )


def _too_few(units: int, pairs: int) -> list[str]:
    """A note where no p value of the permutation test could be small enough after Holm.

    The smallest is 2 in 2^units.
    """
    smallest = 2.0 ** (1 - units)
    if smallest * pairs <= LEVEL:
        return []
    return [
        f"{units} independent units allow no p value below {smallest:.3g} in the permutation test:"
        f" with {pairs} pair{'s' * (pairs != 1)} no difference can be shown, however large"
    ]


def _tests(
    table: np.ndarray, pairs: Sequence[tuple[int, int]], index: np.ndarray
) -> list[dict[str, Any]]:
    """Both tests of each pair of rows of [runs, N], on whole groups.

    `index` holds the group of each image.
    """
    size = np.bincount(index)
    found = []
    for a, b in pairs:
        difference = table[a] - table[b]
        sums = np.bincount(index, difference)
        found.append(
            {
                "a_better": int((difference > 0).sum()),
                "b_better": int((difference < 0).sum()),
                "equal": int((difference == 0).sum()),
                "p_permutation": permutation_test(sums),
                "p_wilcoxon": wilcoxon(sums / size),
            }
        )
    for test in ("p_permutation", "p_wilcoxon"):
        for each, p in zip(found, holm([each[test] for each in found]), strict=True):
            each[f"{test}_holm"] = p
    return [each | {"different": each["p_permutation_holm"] <= LEVEL} for each in found]


def _out(config: CompareConfig) -> Path:
    """The folder of the results; earlier ones in it are not replaced without --overwrite."""
    if config.out is None:
        return _free_folder(Path("runs") / f"compare-{time.strftime('%Y%m%d-%H%M%S')}")
    return results_folder(config.out, ("compare.json", "compare.html"), overwrite=config.overwrite)


def _free_folder(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that does not exist."""
    candidates = itertools.chain(
        [folder], (folder.with_name(f"{folder.name}-{i}") for i in itertools.count(2))
    )
    return next(each for each in candidates if not each.exists())
