"""Numbers in the cells of published tables: bold, with a deviation, in percent, in LaTeX."""

from __future__ import annotations

import html
import re

NUMBER = r"(?:\d+[.,·]?\d*|[.,·]\d+)"
PLAIN = re.compile(r"(\d*(?:[.,·](\d*))?)\s*%?")
# in this order; what is left is the number, or several with slashes between them
MARKUP = (
    (r"<(su[pb])\b.*?</\1>", ""),  # a footnote
    (r"</?[a-zA-Z][^>]*>", " "),
    (r"\\pm(?![a-zA-Z])|\+\s*/?\s*[-−\u2013]", "±"),
    (
        r"(?<=[\d$}%])[_^]\s*(\{[^{}]*\}|\\[a-zA-Z]+|[a-zA-Z†‡§*](?!\w))",
        "",
    ),  # a footnote, or the deviation
    (r"\\(text|cell|row)?color(box)?\s*(\[[^]]*\])?\s*\{[^{}]*\}", ""),
    (r"\\%", "%"),
    (r"\\[a-zA-Z]+\*?|\\.|[{}$]", " "),  # a blank: 91\tiny{2} is not 912
    (r"[*_`†‡§¶↑↓▲▼∗⁎★☆¹²³⁰⁴⁵⁶⁷⁸⁹ᵃᵇᶜᵈ]", ""),
    (rf"[(\[]?\s*±\s*{NUMBER}\s*%?\s*[)\]]?", ""),
    (r"(?<=[\d%])\s*[(\[][^)\]]*[)\]]", ""),  # a deviation or an interval
    (r"[\s~\u200b-\u200f\u2060\ufeff]+", " "),
)


def without_markup(cell: str) -> str:
    """The text of a cell without bold, footnotes and colours, nor the deviation after a number."""
    cell = html.unescape(cell)
    for pattern, text in MARKUP:
        cell = re.sub(pattern, text, cell)
    return cell.strip()


def values(cell: str) -> list[tuple[float, float]]:
    """Each number of a cell and the unit of its last digit; empty where one is not a number.

    Several have slashes between them, as in 0.91/0.95. Of "0.91 ± 0.02" and "0.91 (0.02)" the
    first number counts. A comma may be the decimal point. Printed numbers may be truncated instead
    of rounded.
    """
    numbers = [_number(word) for word in without_markup(cell).split("/")]
    return [each for each in numbers if each] if all(numbers) else []


def _number(word: str) -> tuple[float, float] | None:
    match = PLAIN.fullmatch(word.strip(" ()[]"))
    if not match or not any(c.isdigit() for c in match[1]):
        return None
    return float(re.sub("[,·]", ".", match[1])), 10.0 ** -len(match[2] or "")
