"""Charts as inline SVG: they scale, print, and follow the page's colours and scheme.

All text is escaped, and lines differ by their dashes as well as by colour. A chart is empty where
there is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from medseg.reports import svg
from medseg.reports.svg import CHARACTER, Frame

Points = Sequence[tuple[float, float]]
Ticks = Sequence[tuple[float, str]]  # where on the axis, and its text
Row = tuple[str, float, float, float]
DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2", "1 4")


def line_chart(
    series: dict[str, Points],
    *,
    x_label: str,
    y_label: str,
    mark: float | None = None,
    log: bool = False,
    y_range: tuple[float, float] | None = None,
    dots: Points = (),
) -> Markup:
    """One line per series of (x, y) points; points with NaN are left out.

    `mark` is a vertical line at that x, `log` makes the y axis logarithmic, and `dots` are points
    beside the lines. Empty when no series has two points.
    """
    shown = {}
    for name, points in series.items():
        kept = [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not log)]
        if len(kept) > 1:
            shown[name] = [(x, math.log10(y) if log else y) for x, y in kept]
    if not shown:
        return Markup()
    dots = [(x, math.log10(y) if log else y) for x, y in dots]
    every = [point for points in (*shown.values(), dots) for point in points]
    xs, ys = zip(*every, strict=True)
    low, high = y_range or _widened(min(ys), max(ys))
    y_ticks = [(at, f"{10**at:.2g}" if log else f"{at:g}") for at in ticks(low, high, 5)]
    frame = Frame((min(xs), max(xs)), (low, high), left=_left_margin(y_ticks))
    whole = all(float(x).is_integer() for x in xs)
    body = _axes(frame, _texts(ticks(*frame.x_range, 8, whole=whole)), y_ticks, x_label, y_label)
    body += _mark(frame, mark)
    for i, points in enumerate(shown.values()):
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
        dashes = DASHES[i % len(DASHES)]
        body.append(
            svg.tag("polyline", class_=f"line c{i % 6}", stroke_dasharray=dashes, points=path)
        )
    for x, y in dots:
        title = f"{x:g}: {10**y if log else y:.4g}"
        body.append(svg.dot(frame.x(x), frame.y(y), title))
    body.append(_key(frame, list(shown)))
    return svg.drawing(
        body, f"{y_label} over {x_label}: {', '.join(shown)}", frame.width, frame.height
    )


def histogram(
    values: Sequence[float], *, x_label: str, y_label: str, mark: float | None = None
) -> Markup:
    """Counts in 20 bins between 0 and 1; NaN is left out, `mark` is a vertical line."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Markup()
    counts, edges = np.histogram(np.clip(finite, 0, 1), 20, (0, 1))
    top = max(1.0, float(counts.max()) * 1.08)
    y_ticks = _texts(ticks(0, top, 5, whole=True))
    frame = Frame((0.0, 1.0), (0, top), left=_left_margin(y_ticks), top=14)
    body = _axes(frame, _texts(ticks(0.0, 1.0, 8)), y_ticks, x_label, y_label)
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        x, y = frame.x(left), frame.y(float(count))
        text = f"{left:.2f} to {right:.2f}: {count}"
        body.append(svg.bar(x + 0.5, y, frame.x(right) - x - 1, frame.floor - y, text))
    body += _mark(frame, mark)
    return svg.drawing(body, f"{y_label} by {x_label}", frame.width, frame.height)


def forest(rows: Sequence[Row], *, label: str, zero: bool = False) -> Markup:
    """A point and an interval for each (name, value, low, high); `zero` draws a line at 0.

    An interval that is not known is left out.
    """
    values = [value for row in rows for value in row[1:] if math.isfinite(value)]
    if not values:
        return Markup()
    if zero:
        values.append(0.0)
    around = (max(values) - min(values)) * 0.05 or 0.05
    limits, step = (min(values) - around, max(values) + around), 26
    height = 8 + step * len(rows) + 40
    frame = Frame(limits, (0, 1), 640, height, left=210, right=16, top=4, bottom=40)
    room = int((frame.left - 10) / CHARACTER)
    body = []
    for at in ticks(*limits, 6):
        body.append(svg.line("grid", frame.x(at), frame.top, frame.x(at), frame.floor))
        body.append(svg.label("tick", frame.x(at), frame.floor + 15, f"{at:g}"))
    body += _mark(frame, 0.0 if zero else None)
    for i, (name, value, low, high) in enumerate(rows):
        y = 8 + step * (i + 0.5)
        body.append(svg.label("tick", frame.left - 10, y + 4, name, anchor="end", room=room))
        if math.isfinite(low) and math.isfinite(high):
            body.append(svg.line("line c0", frame.x(low), y, frame.x(high), y))
        body.append(svg.bar(frame.x(value) - 4, y - 4, 8, 8, f"{name}: {value:.4f}"))
    middle = (frame.left + frame.width - frame.right) / 2
    body.append(svg.label("label", middle, height - 6, label))
    return svg.drawing(body, label, frame.width, height, class_="wide")


def bars(values: dict[str, float], *, title: str) -> Markup:
    """A horizontal bar for each value from 0 to 1, with its name before and its number after it."""
    if not values:
        return Markup()
    left, step, longest = CHARACTER * max(map(len, values)) + 16, 22, 320
    body = []
    for i, (name, value) in enumerate(values.items()):
        y, length = step * i, max(1.0, longest * value)
        body.append(svg.label("tick", left - 8, y + 16, name, anchor="end"))
        body.append(svg.bar(left, y + 4, length, 16, f"{name}: {value:.2f}"))
        body.append(svg.label("tick", left + length + 8, y + 16, f"{value:.2f}", anchor="start"))
    return svg.drawing(body, title, left + longest + 50, step * len(values) + 8)


def scatter(
    points: Sequence[tuple[float, float, str]], *, x_ticks: Ticks, x_label: str, y_label: str
) -> Markup:
    """A dot for each (x from 0 to 1, y, what it is); the y axis names its lowest and highest."""
    if not points:
        return Markup()
    lowest, highest = min(y for _, y, _ in points), max(y for _, y, _ in points)
    room = (highest - lowest) * 0.08 or 0.01
    y_ticks = [(lowest, f"{lowest:.3f}"), (highest, f"{highest:.3f}")]
    y_range = (lowest - room, highest + room)
    longest = min(16, max(len(text) for _, text in x_ticks))
    width = max(320, 84 + len(x_ticks) * (CHARACTER * longest + 8))
    frame = Frame((0, 1), y_range, width, 200, left=60, right=24, top=10)
    body = _axes(frame, x_ticks, y_ticks, x_label, y_label)
    body += [svg.dot(frame.x(x), frame.y(y), text, fill_opacity="0.7") for x, y, text in points]
    return svg.drawing(body, f"{y_label} over {x_label}", frame.width, frame.height)


def parallel_coordinates(
    axes: Sequence[tuple[str, Ticks]], lines: Sequence[tuple[Sequence[float | None], float, str]]
) -> Markup:
    """A line through all axes for each (position on each axis, strength, what it is).

    Axes are (label, ticks), positions and strengths 0 to 1. A line breaks where it has no position.
    """
    longest = max(len(label) for label, _ in axes)
    gap, top, bottom = max(92, CHARACTER * longest + 12), 30, 250
    names = []  # above the lines
    body = []
    for i, (label, axis_ticks) in enumerate(axes):
        x = gap * (i + 0.5)
        body.append(svg.line("axis", x, top, x, bottom))
        names.append(svg.label("label", x, 16, label))
        for at, text in axis_ticks:
            y, room = bottom - at * (bottom - top) + 4, int((gap - 10) / CHARACTER)
            names.append(svg.label("tick over", x + 5, y, text, anchor="start", room=room))
    for positions, strength, title in lines:
        path, pen = "", "M"
        for i, at in enumerate(positions):
            if at is None:
                pen = "M"
                continue
            path += f"{pen}{gap * (i + 0.5):.1f},{bottom - at * (bottom - top):.1f}"
            pen = "L"
        look = {"class_": "line c0", "stroke_opacity": f"{0.25 + 0.75 * strength**3:.2f}"}
        body.append(svg.tag("path", svg.title(title), **look, d=path))
    width, height = gap * len(axes), bottom + 14
    return svg.drawing([*body, *names], "parallel coordinates", width, height, class_="fixed")


def ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """About `count` round values between `low` and `high`, only whole numbers with `whole`."""
    raw = ((high - low) or 1.0) / count
    step = 10 ** math.floor(math.log10(raw))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step >= raw)
    if whole:
        step = max(1, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _texts(values: Sequence[float]) -> list[tuple[float, str]]:
    return [(value, f"{value:g}") for value in values]


def _left_margin(y_ticks: Ticks) -> float:
    """Room for the label, and for the longest tick beside it."""
    return max(44.0, 30 + CHARACTER * max((len(text) for _, text in y_ticks), default=0))


def _widened(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _axes(frame: Frame, x_ticks: Ticks, y_ticks: Ticks, x_label: str, y_label: str) -> list[Markup]:
    right = frame.width - frame.right
    parts = []
    for value, text in y_ticks:
        y = frame.y(value)
        parts.append(svg.line("grid", frame.left, y, right, y))
        parts.append(svg.label("tick", frame.left - 6, y + 4, text, anchor="end"))
    room = int((right - frame.left) / max(1, len(x_ticks)) / CHARACTER)
    for value, text in x_ticks:
        parts.append(svg.label("tick", frame.x(value), frame.floor + 16, text, room=max(4, room)))
    parts.append(svg.line("axis", frame.left, frame.floor, right, frame.floor))
    parts.append(svg.label("label", (frame.left + right) / 2, frame.height - 4, x_label))
    middle = (frame.top + frame.floor) / 2
    turned = f"rotate(-90 12 {middle:g})"
    parts.append(svg.label("label", 12, middle, y_label, transform=turned))
    return parts


def _key(frame: Frame, names: Sequence[str]) -> Markup:
    """The names of the lines, in their colours, above the chart."""
    spans = []
    for i, name in enumerate(names):
        sample = "╍" if i else "━"
        span = svg.tag("tspan", f"{sample} {name}", class_=f"key c{i % 6}", dx=14 if i else 0)
        spans.append(span)
    return svg.tag("text", *spans, class_="keys", x=frame.left, y=14)


def _mark(frame: Frame, x: float | None) -> list[Markup]:
    """A vertical line, or nothing."""
    if x is None or not math.isfinite(x):
        return []
    return [svg.line("mark", frame.x(x), frame.top, frame.x(x), frame.floor)]
