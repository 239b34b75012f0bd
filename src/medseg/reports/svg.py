"""SVG elements of the charts: the only markup made in Python. Text in an element is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

CHARACTER = 6.9  # pixels, about the width of one at the size of ticks and labels
WIDTH, HEIGHT = 540, 240


@dataclass(frozen=True)
class Frame:
    """The area of a chart and the ranges of data that it shows; maps data to pixels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = 52
    right: float = 14
    top: float = 28
    bottom: float = 36

    def x(self, value: float) -> float:
        """Pixels from the left for a value on the horizontal axis."""
        low, high = self.x_range
        share = (value - low) / ((high - low) or 1.0)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Pixels from the top for a value on the vertical axis."""
        low, high = self.y_range
        share = (value - low) / ((high - low) or 1.0)
        return self.floor - share * (self.floor - self.top)

    @property
    def floor(self) -> float:
        """Pixels from the top of the horizontal axis."""
        return self.height - self.bottom


def drawing(
    elements: Sequence[Markup], text: str, width: float, height: float, **attributes: Any
) -> Markup:
    """The <svg> around elements, with a title; shown at its own size, or smaller where it must."""
    attributes |= {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "role": "img"}
    return tag("svg", title(text), *elements, xmlns="http://www.w3.org/2000/svg", **attributes)


def line(class_: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight line in pixels."""
    return tag("line", class_=class_, x1=x1, y1=y1, x2=x2, y2=y2)


def dot(x: float, y: float, text: str, **attributes: Any) -> Markup:
    """A point, with what it is as its title."""
    return tag("circle", title(text), class_="bar", r="3.5", cx=x, cy=y, **attributes)


def bar(x: float, y: float, width: float, height: float, text: str) -> Markup:
    """A filled rectangle, with what it is as its title."""
    return tag("rect", title(text), class_="bar", x=x, y=y, width=width, height=height)


def label(
    class_: str,
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "middle",
    room: int = 0,
    **attributes: Any,
) -> Markup:
    """A text at a place; one longer than `room` characters is shortened, and whole in its title."""
    content = [text]
    if 0 < room < len(text):
        content = [title(text), f"{text[: room - 1]}…"]
    return tag("text", *content, class_=class_, x=x, y=y, text_anchor=anchor, **attributes)


def title(text: str) -> Markup:
    """What is read out, and shown beside the pointer."""
    return tag("title", text)


def tag(name: str, *content: str | Markup, **attributes: Any) -> Markup:
    """An element; text in it is escaped.

    `class_` stands for class and stroke_width for stroke-width; floats have one decimal.
    """
    written = ""
    for key, value in attributes.items():
        text = f"{value:.1f}" if isinstance(value, float) else str(value)
        written += f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"'
    return Markup(f"<{name}{written}>{Markup().join(content)}</{name}>")
