"""The report of a check in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medseg.config import CheckConfig
from medseg.console import print_table


def lines(report: dict[str, Any]) -> Iterator[str]:
    """One line for each finding, as compilers print them."""
    yield from (f"{found['file']}: {found['code']} {found['text']}" for found in report["findings"])


def summary(report: dict[str, Any]) -> Iterator[str]:
    """What the set holds, and what was found and repaired, in a few lines."""
    parts = ", ".join(f"{part} {count}" for part, count in report["parts"].items() if part != "all")
    yield f"{report['data']}: {report['images']} images, {report['masks']} masks" + (
        f" ({parts})" if parts else ""
    )
    sizes = report["sizes"]
    if sizes["distinct"]:
        common, count = next(iter(sizes["counts"].items()))
        spread = (
            f"{sizes['width'][0]}-{sizes['width'][2]} x {sizes['height'][0]}-{sizes['height'][2]}"
        )
        yield (
            f"sizes: {common}"
            if sizes["distinct"] == 1
            else (
                f"sizes: {spread} pixels, {sizes['distinct']} different, most often {common}"
                f" ({count})"
            )
        )
        yield (
            f"colours, red green blue from 0 to 1: mean {_numbers(report['mean'])}, deviation"
            f" {_numbers(report['deviation'])}"
        )
    yield f"masks ({report['mask_kind']}): " + "; ".join(
        f"class {row['class']} {row['pixel_share']:.2%} of pixels, in {row['masks']} masks"
        for row in report["classes"]
    )
    most = max([1, *(row["masks"] for row in report["foreground_shares"])])
    yield "share of the image that is foreground:"
    for row in report["foreground_shares"]:
        name = "none" if row["to"] == 0 else f"{100 * row['from']:g}-{100 * row['to']:g} %"
        yield f"  {name:>8}  {row['masks']:>6}  {'#' * round(40 * row['masks'] / most)}"
    total = len(report["findings"])
    kinds = len(report["found"])
    yield (
        f"{total} finding{'s' * (total != 1)} of {kinds} kind{'s' * (kinds != 1)}; --list names"
        " every file"
        if total
        else "nothing found"
    )
    if fixed := report.get("fixed"):
        yield (
            f"repaired copy: {fixed['folder']}, {fixed['written']} pairs, {fixed['repaired']} of"
            f" them repaired, {fixed['left_out']} left out; what was done to each is in fixes.csv"
            " there"
        )


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def show(report: dict[str, Any], config: CheckConfig) -> None:
    """Print the findings, or the summary and one line per code."""
    if config.list:
        for line in lines(report):
            print(line)
        return
    print("\n".join(summary(report)))
    if report["found"]:
        about = "docs/data-check.md has a section for each code"
        print_table(f"faults of {report['data']} ({about})", report["found"])
