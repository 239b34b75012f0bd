"""search.html: the history of a study, what mattered, slices and parallel coordinates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medseg.files import write_text
from medseg.reports.charts import Ticks, bars, line_chart, parallel_coordinates, scatter
from medseg.reports.page import render
from medseg.reports.tables import Table, table

Row = dict[str, Any]
Range = list[Any] | dict[str, Any]  # all choices, or {"low", "high", "log"}


def write_page(path: Path, result: dict[str, Any], study: Any | None) -> None:
    """Write the page from the content of search.json.

    `study` is asked for the importance of the parameters; None leaves that out.
    """
    rows = [row for row in result["trials"] if row["state"] == "completed"]
    importances = importance(study) if study is not None else {}
    page = render(
        "search.html",
        title=f"Search {result['study']}",
        metric=result["metric"],
        facts=_facts(result),
        best=result["best"],
        params=_params(result["best"]),
        retrained=_retrained(result["retrained"]),
        history=_history(rows, result["metric"]),
        importance=bars(importances, title="importance of parameters"),
        slices=_slices(rows, result),
        parallel=_parallel(rows, result),
        trials=_trial_table(result),
    )
    write_text(path, page)


def importance(study: Any) -> dict[str, float]:
    """The share of each parameter by PED-ANOVA (Watanabe, Bansal and Hutter, arXiv 2304.10255).

    Empty for too few trials. A parameter that only some trials have, such as the weight of a term
    that some losses lack, is weighed among these alone.
    """
    import optuna

    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        # a parameter that few trials have is weighed by these few
        warnings.simplefilter("ignore", UserWarning)
        try:
            return optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # all trials equal, or fewer than two
            return {}


def _facts(result: dict[str, Any]) -> list[str]:
    facts = [
        f"{result['finished']} trials: {result['completed']} completed, {result['pruned']} pruned,"
        f" {result['failed']} failed"
    ]
    if result["pruning_saved"]:
        facts.append(f"pruning saved {result['pruning_saved']:.0%} of the time")
    return facts


def _params(best: dict[str, Any] | None) -> str:
    """The values of the best trial in a line."""
    values = best["params"] if best else {}
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _retrained(found: dict[str, Any] | None) -> str:
    """The test of the best trial against the default in a sentence; empty where there was none."""
    if not found:
        return ""
    part, (low, high) = found["part"], found["interval"]
    ends = f", 95 % {low:+.4f} to {high:+.4f}" if math.isfinite(low) else ""
    return (
        f"Trained in full and evaluated once on {part}: {found['best'][part]:.4f} against"
        f" {found['default'][part]:.4f} of the default, gain {found['gain']:+.4f}{ends}"
        f" (n={found['n_images']})."
    )


def _history(rows: Sequence[Row], metric: str) -> Markup:
    """The value of each completed trial, and the best so far as steps."""
    if len(rows) < 2:
        return Markup()
    steps: list[tuple[float, float]] = []
    best = -math.inf
    for row in rows:
        if steps:
            steps.append((row["number"], best))
        best = max(best, row["value"])
        steps.append((row["number"], best))
    dots = [(row["number"], row["value"]) for row in rows]
    return line_chart({"best so far": steps}, x_label="trial", y_label=metric, dots=dots)


def _slices(rows: Sequence[Row], result: dict[str, Any]) -> list[Markup]:
    """For each parameter a chart of the value over it, a dot per trial."""
    charts = []
    for name, limits in result["space"].items():
        points = []
        for row in rows:
            if name in row["params"]:
                value = row["params"][name]
                text = f"trial {row['number']}: {_short(value)}, {row['value']:.4f}"
                points.append((place(value, limits), row["value"], text))
        chart = scatter(points, x_ticks=_ticks(limits), x_label=name, y_label=result["metric"])
        if chart:
            charts.append(chart)
    return charts


def _parallel(rows: Sequence[Row], result: dict[str, Any]) -> Markup:
    """A line per trial through all parameters and the value, stronger for better trials.

    It breaks where a trial lacks a parameter.
    """
    space = result["space"]
    names = [name for name in space if any(name in row["params"] for row in rows)]
    if len(rows) < 2 or not names:
        return Markup()
    values = [row["value"] for row in rows]
    low, high = min(values), max(values)
    axes = [(name, _ticks(space[name])) for name in names]
    axes.append((result["metric"], [(0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")]))
    lines = []
    for row in sorted(rows, key=lambda row: row["value"]):
        params = row["params"]
        share = (row["value"] - low) / ((high - low) or 1)
        at = [place(params[name], space[name]) if name in params else None for name in names]
        lines.append(([*at, share], share, f"trial {row['number']}: {row['value']:.4f}"))
    return parallel_coordinates(axes, lines)


def _trial_table(result: dict[str, Any]) -> Table:
    names = list(result["space"])
    rows = []
    for row in result["trials"]:
        params = [_short(row["params"].get(name)) for name in names]
        value, seconds = _short(row["value"]), _short(row["seconds"])
        rows.append([row["number"], row["state"], value, row["steps"], seconds, *params])
    return table(["trial", "state", result["metric"], "steps", "seconds", *names], rows)


def place(value: Any, limits: Range) -> float:
    """Where on its axis a value lies, 0 to 1; choices are spread evenly."""
    if isinstance(limits, list):
        texts = [str(each) for each in limits]
        return (texts.index(str(value)) + 0.5) / len(texts)
    low, high = limits["low"], limits["high"]
    if limits["log"]:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _ticks(limits: Range) -> Ticks:
    """All choices, or the ends of a range, with their places."""
    values = limits if isinstance(limits, list) else [limits["low"], limits["high"]]
    return [(place(value, limits), _short(value)) for value in values]


def _short(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
