"""compare.html: forest plots of the means and of the paired differences, with the tests beside
them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.files import write_text
from medseg.reports.breakdown import table
from medseg.reports.charts import ticks
from medseg.reports.evaluation import page
from medseg.reports.sections import interval_text, stamp_lines

WIDTH, LEFT, RIGHT, ROW, FOOT = 640, 210, 16, 26, 44
Row = tuple[str, float, float, float]


def write_page(path: Path, document: dict[str, Any]) -> None:
    """The page of a comparison as `compare` returns it."""
    title = (
        f"{document['metric'].capitalize()} of {len(document['runs'])} runs on the same"
        f" {document['n_images']} images"
    )
    body = [
        _head(title, document),
        _means(document),
        _differences(document),
        _conventions(document["runs"]),
        _sizes(document["runs"]),
        (
            "<section><h2>Methods, ready for a"
            f" paper</h2><p>{html.escape(methods(document))}</p></section>"
        ),
    ]
    write_text(path, page(title, body, document["medseg"]))


def methods(document: dict[str, Any]) -> str:
    """A paragraph for a paper, plain text."""
    made = document["intervals"]
    grouped = made["unit"] == "group"
    over = f"{made['n_groups']} groups (sequences or patients)" if grouped else "images"
    return (
        f"Models were compared on the same {document['n_images']} images{_of(document['runs'])} by"
        f" the mean difference of their {document['metric']}, paired by image; Dice and IoU are of"
        " the foreground, of each image at the native resolution of its mask. Intervals are at"
        f" {100 * made['level']:g} %, by the studentised bootstrap over {over}, each for one pair"
        " alone. P values are of a two-sided permutation test that exchanges the models within"
        f" whole {'groups' if grouped else 'images'} and of Wilcoxon's signed-rank test on"
        f" {'the mean difference of each group' if grouped else 'the differences'}, both corrected"
        f" for {len(document['pairs'])} pair{'s' * (len(document['pairs']) != 1)} by Holm's method."
        " Models that share a letter cannot be told apart by the permutation test at"
        f" {100 * document['level']:g} %. Software: medseg {document['medseg']}, Python"
        f" {document['python']}, numpy {document['numpy']}."
    )


def _of(runs: Sequence[dict[str, Any]]) -> str:
    """The data, part and split of the runs, each once, in words."""
    sets = dict.fromkeys(
        f" of the {run['part']} part of {run['data']} (split: {run['split']})"
        for run in runs
        if run["data"] and run["part"]
    )
    return " and".join(sets)


def forest(rows: Sequence[Row], *, label: str, zero: bool = False) -> str:
    """An SVG with a point and an interval for each (name, value, low, high); `zero` draws a line at
    0.

    An interval that is not known is left out; an empty string without rows.
    """
    values = [value for row in rows for value in row[1:] if math.isfinite(value)] + (
        [0.0] if zero else []
    )
    if not rows or not values:
        return ""
    room = (max(values) - min(values)) * 0.05 or 0.05
    low, high = min(values) - room, max(values) + room
    height = ROW * len(rows) + FOOT
    bottom = height - FOOT + 6

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    body = [
        f'<line class="grid" x1="{x(each):.1f}" x2="{x(each):.1f}" y1="4" y2="{bottom}"/><text'
        f' class="tick" text-anchor="middle" x="{x(each):.1f}" y="{bottom + 15}">{each:g}</text>'
        for each in ticks(low, high, 6)
    ]
    if zero:
        body.append(f'<line class="mark" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="4" y2="{bottom}"/>')
    for i, (name, value, left, right) in enumerate(rows):
        y = 8 + ROW * i + ROW / 2
        short = name if len(name) <= 34 else f"{name[:33]}…"
        body.append(
            f'<text class="tick" text-anchor="end" x="{LEFT - 10}"'
            f' y="{y + 4:.1f}"><title>{html.escape(name)}</title>{html.escape(short)}</text>'
        )
        if math.isfinite(left) and math.isfinite(right):
            body.append(
                f'<line class="line c0" x1="{x(left):.1f}" x2="{x(right):.1f}" y1="{y:.1f}"'
                f' y2="{y:.1f}"/>'
            )
        body.append(
            f'<rect class="bar" x="{x(value) - 4:.1f}" y="{y - 4:.1f}" width="8"'
            f' height="8"><title>{html.escape(name)}: {value:.4f}</title></rect>'
        )
    body.append(
        f'<text class="label" text-anchor="middle" x="{(LEFT + WIDTH - RIGHT) / 2}"'
        f' y="{height - 6}">{html.escape(label)}</text>'
    )
    return (
        f'<div class="scroll"><svg class="wide" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' xmlns="http://www.w3.org/2000/svg">'
        f"<title>{html.escape(label)}</title>{''.join(body)}</svg></div>"
    )


def p_text(p: float) -> str:
    """A p value, never 0."""
    return "< .0001" if p < 1e-4 else f"{p:.3g}" if p < 0.1 else f"{p:.2f}"


def _head(title: str, document: dict[str, Any]) -> str:
    different = sum(pair["different"] for pair in document["pairs"])
    facts = " · ".join(dict.fromkeys(str(run["data"]) for run in document["runs"] if run["data"]))
    left_out = (
        [
            f"{document['left_out']} images are left out, since {document['metric']} is undefined"
            " in some run"
        ]
        if document["left_out"]
        else []
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in (*left_out, *document["notes"]))
    stamps = "".join(
        f"<p class=small>{html.escape(run['name'])}: {line}</p>"
        for run in document["runs"]
        for line in stamp_lines(run)
    )
    return (
        f"<header><h1>{html.escape(title)}</h1><p"
        f" class=facts>{html.escape(facts)}</p><p>{different} of {len(document['pairs'])} pairs"
        f" differ (permutation test, Holm, {100 * document['level']:g}"
        f" %).</p>{stamps}{f'<ul class=notes>{notes}</ul>' if notes else ''}</header>"
    )


def _means(document: dict[str, Any]) -> str:
    lines = "".join(
        "<tr><th"
        f" scope=row>{html.escape(run['name'])}<small>{html.escape(str(run['model'] or ''))}</small></th>"
        f"<td>{run['mean']:.4f}</td><td>{_ends(run['interval'])}</td><td>{run['letters']}</td></tr>"
        for run in document["runs"]
    )
    return (
        "<section><h2>Each run</h2>"
        + forest(
            [(run["name"], run["mean"], *run["interval"]) for run in document["runs"]],
            label=f"mean {document['metric']} with 95 % interval",
        )
        + "<div class=scroll><table><thead><tr><th scope=col>Run</th><th scope=col>Mean</th><th"
        " scope=col>95 % interval</th><th"
        f" scope=col>Letters</th></tr></thead><tbody>{lines}</tbody></table></div><p"
        " class=small>Runs that share a letter cannot be told apart. Intervals may overlap"
        " although the runs differ: the pairs below are what to look at.</p></section>"
    )


def _differences(document: dict[str, Any]) -> str:
    rows = [
        (f"{pair['a']} − {pair['b']}", pair["difference"], *pair["interval"])
        for pair in document["pairs"]
    ]
    lines = "".join(
        "<tr><th"
        f" scope=row>{html.escape(name)}</th><td>{value:+.4f}</td><td>{_ends(pair['interval'], '+')}</td><td>{pair['a_better']}"
        f" / {pair['equal']} / {pair['b_better']}</td>"
        + "".join(
            f"<td>{p_text(pair[key])}<small>{p_text(pair[f'{key}_holm'])} with Holm</small></td>"
            for key in ("p_permutation", "p_wilcoxon")
        )
        + f"<td>{'yes' if pair['different'] else 'no'}</td></tr>"
        for (name, value, *_), pair in zip(rows, document["pairs"], strict=True)
    )
    return (
        "<section><h2>Each pair</h2>"
        + forest(rows, label=f"mean difference of {document['metric']}, paired", zero=True)
        + "<div class=scroll><table><thead><tr><th scope=col>Pair</th><th scope=col>Difference</th>"
        "<th scope=col>95 % interval</th><th scope=col>Images better / equal / worse</th>"
        "<th scope=col>p, permutation</th><th scope=col>p, Wilcoxon</th>"
        f"<th scope=col>Different</th></tr></thead><tbody>{lines}</tbody></table></div></section>"
    )


def _conventions(runs: Sequence[dict[str, Any]]) -> str:
    """The Dice of each run in every convention that all of them have."""
    names = [
        name
        for name in runs[0]["protocols"] or {}
        if all(name in (run["protocols"] or {}) for run in runs)
    ]
    if not names:
        return ""
    rows = [
        (
            name,
            *(
                (run["protocols"][name].get("dice"), interval_text(run, "protocols", name, "dice"))
                for run in runs
            ),
        )
        for name in names
    ]
    return (
        "<section><h2>Dice in every convention</h2><p>Different quantities: compare along a line,"
        " never down a column. In small figures 95 %"
        f" intervals.</p>{table(('Convention', *(run['name'] for run in runs)), rows)}</section>"
    )


def _sizes(runs: Sequence[dict[str, Any]]) -> str:
    """The mean Dice of each run by lesion size, and its left tail."""
    if not all(run["by_size"] and run["left_tail"] for run in runs):
        return ""
    rows = [
        (
            f"{line['size']} ({line['images']} images)",
            *(
                (run["by_size"][i]["dice"], interval_text(run, "by_size", line["size"], "dice"))
                for run in runs
            ),
        )
        for i, line in enumerate(runs[0]["by_size"])
    ]
    rows.append(
        (
            "share below .5",
            *(
                (run["left_tail"]["share"], interval_text(run, "left_tail", "share"))
                for run in runs
            ),
        )
    )
    return (
        "<section><h2>By lesion size, and the left tail</h2><p>Mean Dice of the images by the"
        " share that is lesion (small below 2 %, large from 10 % on), and the share of all images"
        " with a Dice below one"
        f" half.</p>{table(('Size', *(run['name'] for run in runs)), rows)}</section>"
    )


def _ends(ends: Sequence[float], sign: str = "") -> str:
    return f"{ends[0]:{sign}.4f} to {ends[1]:{sign}.4f}" if all(map(math.isfinite, ends)) else "–"
