"""The report of a check as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medseg.config import CheckConfig
from medseg.console import print_table
from medseg.errors import counted

BAR_WIDTH = 40  # characters of the longest bar of the histogram


def show(report: dict[str, Any], config: CheckConfig) -> None:
    """Print the findings, or the summary and one line per code."""
    if config.list:
        for line in lines(report):
            print(line)
        return
    print("\n".join(summary(report)))
    if report["found"]:
        title = f"faults of {report['data']} (docs/data-check.md has a section for each code)"
        print_table(title, report["found"])


def lines(report: dict[str, Any]) -> Iterator[str]:
    """One line per finding, in the format of compiler messages."""
    for finding in report["findings"]:
        yield f"{finding['file']}: {finding['code']} {finding['text']}"


def summary(report: dict[str, Any]) -> Iterator[str]:
    """A few lines: what the data set holds, what was found, and what was repaired."""
    parts = ", ".join(f"{part} {count}" for part, count in report["parts"].items() if part != "all")
    counts = f"{report['data']}: {report['images']} images, {report['masks']} masks"
    yield f"{counts} ({parts})" if parts else counts
    for part, count in report["without_masks"].items():
        yield f"{part}: {count} images, and no masks beside them: no fault; training omits them"
    if report["sizes"]["distinct"]:
        yield _sizes(report["sizes"])
        yield (
            f"colours, red green blue from 0 to 1: mean {_numbers(report['mean'])},"
            f" standard deviation {_numbers(report['deviation'])}"
        )
    classes = "; ".join(
        f"class {row['class']} {row['pixel_share']:.2%} of pixels, in {row['masks']} masks"
        for row in report["classes"]
    )
    if report["masks_refused"]:
        yield f"masks: training refuses them: {report['masks_refused']}"
    elif report["masks_read_as"]:
        yield report["masks_read_as"]
    yield f"pixels: {classes}"
    yield from _histogram(report["foreground_shares"])
    yield _findings(len(report["findings"]), len(report["found"]))
    if fixed := report.get("fixed"):
        yield (
            f"repaired copy: {fixed['folder']}, {fixed['written']} pairs, {fixed['repaired']} of"
            f" them repaired, {fixed['left_out']} left out; fixes.csv there says what was done to"
            " each"
        )


def _sizes(sizes: dict[str, Any]) -> str:
    common, count = next(iter(sizes["counts"].items()))
    if sizes["distinct"] == 1:
        return f"sizes: {common}"
    width, height = sizes["width"], sizes["height"]
    return (
        f"sizes: {width[0]}-{width[2]} x {height[0]}-{height[2]} pixels, {sizes['distinct']}"
        f" different, most often {common} ({count})"
    )


def _histogram(rows: list[dict[str, Any]]) -> Iterator[str]:
    highest = max([1, *(row["masks"] for row in rows)])
    yield "foreground as a share of the image, number of masks:"
    for row in rows:
        name = "none" if row["to"] == 0 else f"{100 * row['from']:g}-{100 * row['to']:g} %"
        bar = "#" * round(BAR_WIDTH * row["masks"] / highest)
        yield f"  {name:>8}  {row['masks']:>6}  {bar}"


def _findings(total: int, kinds: int) -> str:
    if not total:
        return "nothing found"
    findings = counted(total, "finding", "findings")
    return f"{findings} of {counted(kinds, 'kind', 'kinds')}; --list names every file"


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
