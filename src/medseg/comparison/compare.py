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

import medseg
from medseg.comparison.page import write_page
from medseg.comparison.results import Results, check_alike, read_results
from medseg.config import CompareConfig
from medseg.console import to_json
from medseg.errors import UserError
from medseg.evaluation.intervals import about
from medseg.files import write_text
from medseg.statistics.bootstrap import group_index, intervals, of_mean
from medseg.statistics.paired import holm, letters, permutation_test, wilcoxon

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
    """Compare the runs pairwise on their common images; write compare.json and compare.html; return
    the former's content.
    """
    results = read_results(config.runs, config.split_part)
    notes = check_alike(results, config.metric)
    document = {"metric": config.metric, **judge_pairs(results, config.metric)}
    folder = _out(config)
    document["notes"] += notes
    document |= {
        "out": str(folder),
        "medseg": medseg.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "compare.json", to_json(document))
    write_page(folder / "compare.html", document)
    return document


def judge_pairs(results: Sequence[Results], metric: str) -> dict[str, Any]:
    """Means, paired differences, tests and letters of runs on the same images.

    {"intervals": how they were made, "n_images", "left_out": images without a defined value in some
    run, "notes",
     "runs": [{"name", "mean", "interval", "letters", and `ABOUT` of its summary}], best first,
     "pairs": [{"a", "b", "difference": mean of a - b, "interval", "a_better", "b_better", "equal":
     images,
                "p_permutation", "p_wilcoxon", "p_permutation_holm", "p_wilcoxon_holm",
                "different"}]}.
    Groups are those of the first run that knows them. A pair is different where the corrected
    permutation test says so at 5 %.
    """
    names = list(results[0].rows)
    table = np.array([[run.rows[name][metric] for name in names] for run in results])
    whole = ~np.isnan(table).any(0)
    if not whole.any():
        raise UserError(
            f"--metric {metric}: no image has a defined value in every run; choose another metric"
        )
    table = table[:, whole]
    known = next(
        (run for run in results if any(row.get("group") for row in run.rows.values())), results[0]
    )
    groups = [
        known.rows[name].get("group") for name, kept in zip(names, whole, strict=True) if kept
    ]
    order = sorted(range(len(results)), key=lambda i: -table[i].mean())
    pairs = list(itertools.combinations(range(len(order)), 2))
    table = table[order]
    top = 1.0 if table.min() >= 0 and table.max() <= 1 else math.inf
    means = intervals(
        {i: of_mean(row) for i, row in enumerate(table)},
        groups,
        bounds=(0.0 if top == 1 else -top, top),
    )
    differences = intervals(
        {pair: of_mean(table[pair[0]] - table[pair[1]]) for pair in pairs},
        groups,
        bounds=(-top, top),
    )
    index = group_index(groups, len(groups))
    tests = _tests(table, pairs, index)
    different = {pair for pair, test in zip(pairs, tests, strict=True) if test["different"]}
    shown = letters(len(order), different)
    made = about(groups)
    runs = [
        {
            "name": results[j].name,
            "mean": float(table[i].mean()),
            "interval": list(means[i]),
            "letters": shown[i],
            **{key: results[j].summary.get(key) for key in ABOUT},
        }
        for i, j in enumerate(order)
    ]
    return {
        "n_images": int(whole.sum()),
        "left_out": int((~whole).sum()),
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


def _too_few(units: int, pairs: int) -> list[str]:
    """What to say where even the smallest p value of the permutation test, 2 in 2^units, is not
    small enough after Holm.
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
    """Both tests of each pair of rows of [runs, N], on whole groups; `index` holds the group of
    each image.
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
    if config.out is None:
        folder = Path("runs") / f"compare-{time.strftime('%Y%m%d-%H%M%S')}"
        return next(
            each
            for each in itertools.chain(
                [folder], (folder.with_name(f"{folder.name}-{i}") for i in itertools.count(2))
            )
            if not each.exists()
        )
    taken = [name for name in ("compare.json", "compare.html") if (config.out / name).exists()]
    if taken and not config.overwrite:
        raise UserError(
            f"--out {config.out}: holds {taken[0]} already; choose another folder or give"
            " --overwrite"
        )
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {config.out}: cannot be made ({error.strerror}); choose a folder you may"
            " write to"
        ) from None
    return config.out
