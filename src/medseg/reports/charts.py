"""Small charts as inline SVG text: a line chart and a histogram that scale, print and follow the
page's colours.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

Points = Sequence[tuple[float, float]]
DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2", "1 4")  # lines differ by more than colour
WIDTH, HEIGHT = 560, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 36


def line_chart(
    series: dict[str, Points],
    *,
    x_label: str,
    y_label: str,
    mark: float | None = None,
    log: bool = False,
    y_range: tuple[float, float] | None = None,
    dots: Points = (),
) -> str:
    """An SVG with one line a series of (x, y) points; points with NaN are left out. `mark` is a
    vertical line at that x.

    `log` gives the y axis powers of ten; `dots` are points beside the lines. An empty string when
    no series has two points.
    """
    shown = {
        name: kept
        for name, points in series.items()
        if len(kept := [(x, y) for x, y in points if math.isfinite(y) and (not log or y > 0)]) > 1
    }
    if not shown:
        return ""
    xs = [x for points in (*shown.values(), dots) for x, _ in points]
    ys = [math.log10(y) if log else y for points in (*shown.values(), dots) for _, y in points]
    low, high = y_range or _widened(min(ys), max(ys))
    frame = _Frame(min(xs), max(xs), low, high)
    body = [frame.axes(x_label, y_label, log)]
    if mark is not None:
        body.append(
            f'<line class="mark" x1="{frame.x(mark):.1f}" x2="{frame.x(mark):.1f}" y1="{TOP}"'
            f' y2="{HEIGHT - BOTTOM}"/>'
        )
    for i, points in enumerate(shown.values()):
        path = " ".join(
            f"{frame.x(x):.1f},{frame.y(math.log10(y) if log else y):.1f}" for x, y in points
        )
        body.append(
            f'<polyline class="line c{i % 6}" stroke-dasharray="{DASHES[i % 6]}" points="{path}"/>'
        )
    body += [
        f'<circle class="bar" r="3" cx="{frame.x(x):.1f}"'
        f' cy="{frame.y(math.log10(y) if log else y):.1f}"><title>{x:g}: {y:.4g}</title></circle>'
        for x, y in dots
    ]
    names = "".join(
        f'<tspan class="key c{i % 6}" dx="{14 if i else 0}">{"━" if i == 0 else "╍"}'
        f" {html.escape(name)}</tspan>"
        for i, name in enumerate(shown)
    )
    body.append(f'<text class="keys" x="{LEFT + 6}" y="{TOP + 6}">{names}</text>')
    return _svg(body, f"{y_label} over {x_label}: {', '.join(shown)}")


def histogram(
    values: Sequence[float],
    *,
    bins: int = 20,
    low: float = 0.0,
    high: float = 1.0,
    x_label: str,
    y_label: str,
    mark: float | None = None,
) -> str:
    """An SVG of counts in equal bins between `low` and `high`; NaN is left out. `mark` is a
    vertical line.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    counts, edges = np.histogram(np.clip(finite, low, high), bins, (low, high))
    frame = _Frame(low, high, 0, max(1.0, float(counts.max()) * 1.08))
    body = [frame.axes(x_label, y_label, False)]
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        x, top = frame.x(left), frame.y(float(count))
        body.append(
            f'<rect class="bar" x="{x + 0.5:.1f}" y="{top:.1f}"'
            f' width="{frame.x(right) - x - 1:.1f}"'
            f' height="{HEIGHT - BOTTOM - top:.1f}"><title>{left:.2f} to {right:.2f}:'
            f" {count}</title></rect>"
        )
    if mark is not None and math.isfinite(mark):
        body.append(
            f'<line class="mark" x1="{frame.x(mark):.1f}" x2="{frame.x(mark):.1f}" y1="{TOP}"'
            f' y2="{HEIGHT - BOTTOM}"/>'
        )
    return _svg(body, f"{y_label} by {x_label}")


class _Frame:
    """Maps data to pixels."""

    def __init__(self, x_low: float, x_high: float, y_low: float, y_high: float) -> None:
        self.x_low, self.x_span = x_low, (x_high - x_low) or 1.0
        self.y_low, self.y_span = y_low, (y_high - y_low) or 1.0

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / self.x_span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y_low) / self.y_span * (HEIGHT - TOP - BOTTOM)

    def axes(self, x_label: str, y_label: str, log: bool) -> str:
        parts = []
        for value in ticks(self.y_low, self.y_low + self.y_span, 5):
            y = self.y(value)
            text = f"1e{value:g}" if log else f"{value:g}"
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{text}</text>'
            )
        for value in ticks(self.x_low, self.x_low + self.x_span, 8):
            parts.append(
                f'<text class="tick" text-anchor="middle" x="{self.x(value):.1f}"'
                f' y="{HEIGHT - BOTTOM + 16}">{value:g}</text>'
            )
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}"'
            f' y2="{HEIGHT - BOTTOM}"/><text class="label" text-anchor="middle"'
            f' x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}">{html.escape(x_label)}</text><text'
            f' class="label" text-anchor="middle" transform="rotate(-90 12 {middle})" x="12"'
            f' y="{middle}">{html.escape(y_label)}</text>'
        )
        return "".join(parts)


def _svg(body: list[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' xmlns="http://www.w3.org/2000/svg"><title>{html.escape(title)}</title>'
        + "".join(body)
        + "</svg>"
    )


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round values between `low` and `high`."""
    raw = (high - low) / count
    step = 10 ** math.floor(math.log10(raw))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _widened(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room
