"""A comparison as rows for the terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from medseg.comparison.page import p_text
from medseg.config import CompareConfig
from medseg.console import print_table


def run_rows(document: dict[str, Any]) -> list[dict[str, str]]:
    """One row per run, best first."""
    return [
        {
            "run": run["name"],
            "mean": f"{run['mean']:.4f}",
            "95 %": _ends(run["interval"]),
            "letters": run["letters"],
        }
        for run in document["runs"]
    ]


def pair_rows(document: dict[str, Any]) -> list[dict[str, str]]:
    """One row per pair, with p values after Holm's correction."""
    return [
        {
            "better": pair["a"],
            "than": pair["b"],
            "by": f"{pair['difference']:.4f}",
            "95 %": _ends(pair["interval"]),
            "p perm.": p_text(pair["p_permutation_holm"]),
            "p Wilc.": p_text(pair["p_wilcoxon_holm"]),
            "differ": "yes" if pair["different"] else "no",
        }
        for pair in document["pairs"]
    ]


def _ends(ends: Sequence[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if all(map(math.isfinite, ends)) else "–"


def show(document: dict[str, Any], config: CompareConfig) -> None:
    """Print means, pairs and notes."""
    print_table(f"{document['metric']}, {document['n_images']} images", run_rows(document))
    print_table("pairs; p values after Holm", pair_rows(document))
    for note in document["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(f"{document['out']}/compare.html")
