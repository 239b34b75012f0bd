"""search.html: one file with the history of a study, what mattered, slices and parallel
coordinates. It loads and runs nothing.
"""

from __future__ import annotations

import html
import math
import warnings
from pathlib import Path
from typing import Any

import medseg
from medseg.files import write_text
from medseg.reports.charts import line_chart
from medseg.reports.evaluation import page

WIDTH, HEIGHT = 320, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 34
Row = dict[str, Any]


def write_page(path: Path, result: dict[str, Any], study: Any | None) -> None:
    """Write the page from search.json; `study` is asked for the importance of the parameters, None
    leaves that out.
    """
    rows = [row for row in result["trials"] if row["state"] == "completed"]
    body = [
        _head(result),
        _history(rows, result["metric"]),
        _importance(study),
        _slices(rows, result),
        _parallel(rows, result),
        _all(result),
    ]
    write_text(path, page(f"Search {result['study']}", body, medseg.__version__))


def importance(study: Any) -> dict[str, float]:
    """The share of each parameter by PED-ANOVA (Watanabe, Bansal and Hutter, arXiv 2304.10255);
    empty for too few trials.

    A parameter that only some trials have, as the weight of a term that some losses lack, is
    weighed among these alone.
    """
    import optuna

    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # that a parameter which few trials have is weighed by few
        try:
            return optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # all trials equal, or fewer than two
            return {}


def _head(result: dict[str, Any]) -> str:
    best, saved, again = result["best"], result["pruning_saved"], result["retrained"]
    facts = (
        f"{result['finished']} trials: {result['completed']} completed, {result['pruned']} pruned,"
        f" {result['failed']} failed"
        + (f" · pruning saved {saved:.0%} of the time" if saved else "")
    )
    words = ""
    if best:
        values = ", ".join(
            f"{_text(key)} {_text(_short(value))}" for key, value in best["params"].items()
        )
        words = (
            f"<div class=headline><span class=number>{best['value']:.4f}</span><p>validation"
            f" {_text(result['metric'])} of trial {best['trial']}, the best. It was chosen on these"
            f" images, so it flatters.</p></div><p class=small>{values}</p>"
        )
    if again:
        low, high = again["interval"]
        ends = f", 95 % {low:+.4f} to {high:+.4f}" if math.isfinite(low) else ""
        part = again["part"]
        words += (
            f"<p>Trained in full and judged once on {part}: {again['best'][part]:.4f} against"
            f" {again['default'][part]:.4f} of the default, gain {again['gain']:+.4f}{ends}"
            f" (n={again['n_images']}).</p>"
        )
    return (
        f"<header><h1>Search {_text(result['study'])}</h1><p"
        f" class=facts>{facts}</p>{words}</header>"
    )


def _history(rows: list[Row], metric: str) -> str:
    so_far: list[tuple[float, float]] = []
    for row in rows:
        before = so_far[-1][1] if so_far else row["value"]
        so_far += [(row["number"], before), (row["number"], max(before, row["value"]))]
    points = [(row["number"], row["value"]) for row in rows]
    chart = (
        line_chart({"best so far": so_far}, x_label="trial", y_label=metric, dots=points)
        if len(rows) > 1
        else ""
    )
    return (
        "<section><h2>History</h2>"
        + (
            f"<p>A dot is a completed trial.</p>{chart}"
            if chart
            else "<p>Fewer than two trials were completed.</p>"
        )
        + "</section>"
    )


def _importance(study: Any | None) -> str:
    found = importance(study) if study is not None else {}
    if not found:
        return ""
    lines = "".join(
        f'<text class="tick" text-anchor="end" x="150" y="{22 * i + 16}">{_text(name)}</text><rect'
        f' class="bar" x="158" y="{22 * i + 4}" width="{max(1.0, 320 * share):.1f}"'
        f' height="16"/><text class="tick" x="{166 + 320 * share:.1f}"'
        f' y="{22 * i + 16}">{share:.2f}</text>'
        for i, (name, share) in enumerate(found.items())
    )
    return (
        "<section><h2>What mattered</h2><p>Share of each parameter in telling good trials from"
        " others (PED-ANOVA).</p>"
        f'<svg viewBox="0 0 540 {22 * len(found) + 8}" role="img"'
        ' xmlns="http://www.w3.org/2000/svg">'
        f"<title>importance of parameters</title>{lines}</svg></section>"
    )


def _slices(rows: list[Row], result: dict[str, Any]) -> str:
    charts = [
        chart
        for path, line in result["space"].items()
        if (chart := _slice(path, line, rows, result["metric"]))
    ]
    return (
        f"<section><h2>Slices</h2><div class=charts>{''.join(charts)}</div></section>"
        if charts
        else ""
    )


def _slice(path: str, line: Any, rows: list[Row], metric: str) -> str:
    """Value over one parameter, a dot a trial."""
    dots = [
        (row["params"][path], row["value"], row["number"]) for row in rows if path in row["params"]
    ]
    if not dots:
        return ""
    low, high = min(value for _, value, _ in dots), max(value for _, value, _ in dots)
    room = (high - low) * 0.08 or 0.01
    low, high = low - room, high + room
    x = lambda value: LEFT + place(value, line) * (WIDTH - LEFT - RIGHT)
    y = lambda value: HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    body = [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}"'
        f' y2="{HEIGHT - BOTTOM}"/>'
    ]
    body += [
        f'<text class="tick" text-anchor="end" x="{LEFT - 5}"'
        f' y="{y(value) + 4:.1f}">{value:.3f}</text>'
        for value in (low + room, high - room)
    ]
    body += [
        f'<text class="tick" text-anchor="middle" x="{x(value):.1f}"'
        f' y="{HEIGHT - BOTTOM + 14}">{_text(_short(value))}</text>'
        for value in ticks(line)
    ]
    body += [
        f'<circle class="bar" r="3.5" fill-opacity="0.7" cx="{x(value):.1f}"'
        f' cy="{y(score):.1f}"><title>trial {number}: {_text(_short(value))},'
        f" {score:.4f}</title></circle>"
        for value, score, number in dots
    ]
    body.append(
        f'<text class="label" text-anchor="middle" x="{(LEFT + WIDTH - RIGHT) / 2}"'
        f' y="{HEIGHT - 4}">{_text(path)}</text>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' xmlns="http://www.w3.org/2000/svg"><title>{_text(metric)} over '
        f"{_text(path)}</title>{''.join(body)}</svg>"
    )


def _parallel(rows: list[Row], result: dict[str, Any]) -> str:
    """A line a trial through all parameters and the value; the stronger the better. It breaks where
    a trial lacks a parameter.
    """
    paths = [path for path in result["space"] if any(path in row["params"] for row in rows)]
    if len(rows) < 2 or not paths:
        return ""
    values = [row["value"] for row in rows]
    low, high = min(values), max(values)
    share = lambda value: (value - low) / ((high - low) or 1)
    gap, bottom = 92, 250
    across = {path: 50 + gap * i for i, path in enumerate([*paths, None])}
    body = []
    for path, x in across.items():
        line = result["space"].get(path)
        names = (
            [(place(value, line), _short(value)) for value in ticks(line)]
            if path
            else [(0, f"{low:.3f}"), (1, f"{high:.3f}")]
        )
        body.append(
            f'<line class="axis" x1="{x}" x2="{x}" y1="30" y2="{bottom}"/><text class="label"'
            f' text-anchor="middle" x="{x}" y="16">{_text(path or result["metric"])}</text>'
        )
        body += [
            f'<text class="tick" x="{x + 4}"'
            f' y="{bottom - at * (bottom - 30) + 4:.1f}">{_text(name)}</text>'
            for at, name in names
        ]
    for row in sorted(rows, key=lambda row: row["value"]):
        at = [
            (
                (
                    x,
                    (
                        share(row["value"])
                        if path is None
                        else place(row["params"][path], result["space"][path])
                    ),
                )
                if path is None or path in row["params"]
                else None
            )
            for path, x in across.items()
        ]
        d, pen = "", "M"
        for point in at:
            d += f"{pen}{point[0]},{bottom - point[1] * (bottom - 30):.1f}" if point else ""
            pen = "L" if point else "M"
        good = share(row["value"])
        body.append(
            f'<path class="line c0" fill="none" stroke-opacity="{0.12 + 0.88 * good**3:.2f}"'
            f' d="{d}"><title>trial '
            f"{row['number']}: {row['value']:.4f}</title></path>"
        )
    width = 50 + gap * len(paths) + 70
    return (
        "<section><h2>Parallel coordinates</h2><p>A line is a completed trial; strong lines are the"
        " best ones.</p>"
        f'<div class=scroll><svg style="max-width:none;min-width:{width}px" viewBox="0 0 {width}'
        f' {bottom + 14}" role="img" '
        'xmlns="http://www.w3.org/2000/svg"><title>parallel'
        f" coordinates</title>{''.join(body)}</svg></div></section>"
    )


def _all(result: dict[str, Any]) -> str:
    paths = list(result["space"])
    head = "".join(
        f"<th scope=col>{_text(name)}</th>"
        for name in ("trial", "state", result["metric"], "steps", "seconds", *paths)
    )
    lines = "".join(
        f"<tr><td>{row['number']}</td><td>{row['state']}</td><td>{_short(row['value'])}</td><td>{row['steps']}</td>"
        f"<td>{_short(row['seconds'])}</td>"
        + "".join(f"<td>{_text(_short(row['params'].get(path)))}</td>" for path in paths)
        + "</tr>"
        for row in result["trials"]
    )
    return (
        f"<details><summary>All {len(result['trials'])} trials</summary><div"
        f" class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div></details>"
    )


def place(value: Any, line: Any) -> float:
    """Where on its axis a value lies, 0 to 1; choices are spread evenly."""
    if isinstance(line, list):
        texts = [str(each) for each in line]
        return (texts.index(str(value)) + 0.5) / len(texts)
    low, high, value = (
        math.log(each) if line["log"] else each for each in (line["low"], line["high"], value)
    )
    return (value - low) / (high - low)


def ticks(line: Any) -> list[Any]:
    """All choices, or the ends of a range."""
    return line if isinstance(line, list) else [line["low"], line["high"]]


def _short(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    return html.escape(str(value))
