"""compare.html: forest plots of the means and of the paired differences, with their tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.files import write_text
from medseg.reports.charts import forest
from medseg.reports.page import render
from medseg.reports.stamp import stamp_of
from medseg.reports.tables import Cell, Table, cell_at, interval_text, table

Document = dict[str, Any]
Runs = Sequence[dict[str, Any]]


def write_page(path: Path, document: Document) -> None:
    """Write the page of a comparison as `compare` returns it."""
    runs, pairs, metric = document["runs"], document["pairs"], document["metric"]
    means = [(run["name"], run["mean"], *run["interval"]) for run in runs]
    differences = [(_pair_name(pair), pair["difference"], *pair["interval"]) for pair in pairs]
    stamps = [(run["name"], stamp_of(run)) for run in runs]
    page = render(
        "comparison.html",
        version=document["medseg"],
        title=(
            f"{metric.capitalize()} of {len(runs)} runs on the same {document['n_images']} images"
        ),
        facts=list(dict.fromkeys(str(run["data"]) for run in runs if run["data"])),
        different=sum(pair["different"] for pair in pairs),
        n_pairs=len(pairs),
        level=f"{100 * document['level']:g}",
        stamps=[(name, stamp) for name, stamp in stamps if stamp],
        notes=_notes(document),
        mean_chart=forest(means, label=f"mean {metric} with 95 % interval"),
        means=_mean_table(runs),
        pair_chart=forest(differences, label=f"mean difference of {metric}, paired", zero=True),
        pairs=_pair_table(pairs),
        conventions=_convention_table(runs),
        sizes=_size_table(runs),
        methods=methods(document),
    )
    write_text(path, page)


def methods(document: Document) -> str:
    """A paragraph for a paper, plain text."""
    made, n_pairs = document["intervals"], len(document["pairs"])
    if made["unit"] == "group":
        over = f"{made['n_groups']} groups (sequences or patients)"
        units, ranked = "groups", "the mean difference of each group"
    else:
        over = units = "images"
        ranked = "the differences"
    return (
        f"Models were compared on the same {document['n_images']} images{_of(document['runs'])} by"
        f" the mean difference of their {document['metric']}, paired by image; Dice and IoU are of"
        " the foreground, of each image at the native resolution of its mask. Intervals are at"
        f" {100 * made['level']:g} %, by the studentised bootstrap over {over}, each for one pair"
        " alone. P values are of a two-sided permutation test that exchanges the models within"
        f" whole {units} and of Wilcoxon's signed-rank test on {ranked}, both corrected for"
        f" {n_pairs} pair{'s' * (n_pairs != 1)} by Holm's method. Models that share a letter cannot"
        f" be told apart by the permutation test at {100 * document['level']:g} %. Software: medseg"
        f" {document['medseg']}, Python {document['python']}, numpy {document['numpy']}."
    )


def p_text(p: float) -> str:
    """A p value, never 0."""
    if p < 1e-4:
        return "< 0.0001"
    return f"{p:.3g}" if p < 0.1 else f"{p:.2f}"


def _of(runs: Runs) -> str:
    """The data, part and split of the runs, each once, in words."""
    sets = dict.fromkeys(
        f" of the {run['part']} part of {run['data']} (split: {run['split']})"
        for run in runs
        if run["data"] and run["part"]
    )
    return " and".join(sets)


def _notes(document: Document) -> list[str]:
    if not document["left_out"]:
        return document["notes"]
    left_out = (
        f"{document['left_out']} images are left out, since {document['metric']} is undefined in"
        " some run"
    )
    return [left_out, *document["notes"]]


def _mean_table(runs: Runs) -> Table:
    rows = []
    for run in runs:
        name = Cell(run["name"], run["model"] or "")
        rows.append([name, run["mean"], _ends(run["interval"]), run["letters"]])
    return table(["Run", "Mean", "95 % interval", "Letters"], rows)


def _pair_table(pairs: Sequence[dict[str, Any]]) -> Table:
    head = [
        "Pair",
        "Difference",
        "95 % interval",
        "Images better / equal / worse",
        "p, permutation",
        "p, Wilcoxon",
        "Different",
    ]
    rows = []
    for pair in pairs:
        tests = [
            Cell(p_text(pair[key]), f"{p_text(pair[f'{key}_holm'])} with Holm")
            for key in ("p_permutation", "p_wilcoxon")
        ]
        rows.append(
            [
                _pair_name(pair),
                f"{pair['difference']:+.4f}",
                _ends(pair["interval"], "+"),
                f"{pair['a_better']} / {pair['equal']} / {pair['b_better']}",
                *tests,
                "yes" if pair["different"] else "no",
            ]
        )
    return table(head, rows)


def _convention_table(runs: Runs) -> Table | None:
    """The Dice of each run in every convention that all of them have; None without one."""
    protocols = [run["protocols"] or {} for run in runs]
    names = [name for name in protocols[0] if all(name in each for each in protocols)]
    if not names:
        return None
    rows = [[name, *(cell_at(run, "protocols", name, "dice") for run in runs)] for name in names]
    return table(["Convention", *(run["name"] for run in runs)], rows)


def _size_table(runs: Runs) -> Table | None:
    """The mean Dice of each run by lesion size, and its left tail; None where one lacks them."""
    if not all(run["by_size"] and run["left_tail"] for run in runs):
        return None
    rows = []
    for i, line in enumerate(runs[0]["by_size"]):
        values = [
            Cell(run["by_size"][i]["dice"], interval_text(run, "by_size", line["size"], "dice"))
            for run in runs
        ]
        rows.append([f"{line['size']} ({line['images']} images)", *values])
    rows.append(["share below 0.5", *(cell_at(run, "left_tail", "share") for run in runs)])
    return table(["Size", *(run["name"] for run in runs)], rows)


def _pair_name(pair: dict[str, Any]) -> str:
    return f"{pair['a']} − {pair['b']}"


def _ends(ends: Sequence[float], sign: str = "") -> str:
    if not all(map(math.isfinite, ends)):
        return "–"
    return f"{ends[0]:{sign}.4f} to {ends[1]:{sign}.4f}"
