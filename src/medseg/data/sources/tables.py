"""Texts and tables as people save them: any byte order mark, delimiter, quoting and blanks."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import UserError

# the first of equals: a table has commas in its cells more often than it has the others
DELIMITERS = ("\t", "|", ";", ",")
# the mark of UTF-32 begins with that of UTF-16
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LARGEST = 64  # MiB; a table of names is far smaller


def read_text(path: Path, largest: int = LARGEST) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with their mark; lines end with "\\n".

    Raises `UserError` for a file that cannot be read or has more than `largest` MiB, and for other
    bytes, naming the line.
    """
    try:
        if path.stat().st_size > largest * 2**20:
            raise UserError(f"{path}: is larger than {largest} MiB; divide it, or give another")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line} holds bytes that are no {encoding[:6].strip('-').upper()}; save"
            " it as UTF-8"
        ) from None
    if "\0" in text:  # UTF-16 without its mark, or no text at all
        raise UserError(f"{path}: holds bytes that are no text in UTF-8; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_table(path: Path) -> list[list[str]]:
    """The lines of a table, the header first, without blank ones; all as wide as the header.

    Cells are as they stand in the file, without quotes and the blanks before them. Of
    `DELIMITERS` the one counts that divides the most lines as it divides the header; a table in
    Markdown is one with bars. Raises `UserError` as `read_text` does, and for a line with more
    cells than the header.
    """
    text, delimiters = read_text(path), DELIMITERS
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # a hint for Excel
        text, delimiters = rest, (first.strip()[4],)
    lines = max((_divided(text, each) for each in delimiters), key=_likelihood)
    width = len(lines[0]) if lines else 0
    for number, line in enumerate(lines, 1):
        if any(cell.strip() for cell in line[width:]):
            raise UserError(
                f"{path}: line {number} has {len(line)} cells, the header {width}; put a cell that"
                " holds the delimiter between double quotes"
            )
    return [(line + [""] * width)[:width] for line in lines]


def _divided(text: str, delimiter: str) -> list[list[str]]:
    """The cells of each line that is not blank; none for what is no table with this delimiter."""
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error:  # such as a quote that never ends
        return []
    if delimiter == "|":
        lines = [line for line in lines if not set("".join(line)) <= set("-: ")]
        for end in (0, -1):  # the outer bars of Markdown
            if lines and not any(line[end].strip() for line in lines):
                lines = [line[1:] if end == 0 else line[:-1] for line in lines]
    return lines if all(lines) else []


def _likelihood(lines: Sequence[Sequence[str]]) -> tuple[bool, float]:
    """How likely a text was meant to be divided so, as a sort key."""
    if not lines:
        return False, 0.0
    width = len(lines[0])
    return width > 1, sum(len(line) == width for line in lines) / len(lines)
