"""`medseg data check`: inspect every file once, find the faults, summarise the data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from medseg.config import CheckConfig
from medseg.console import progress
from medseg.data.masks import declared_by
from medseg.data.sources.description import read_description
from medseg.data.sources.rules import Rule
from medseg.doctor.collect import Pair, collect, with_pages
from medseg.doctor.context import find_coding, find_context
from medseg.doctor.faults import FAULTS, Finding, find_faults
from medseg.doctor.fix import create_folder, write_copy
from medseg.doctor.inspection import Inspection, inspect_pair, remeasure
from medseg.doctor.summary import summarise
from medseg.doctor.tables import check_tables
from medseg.errors import choose
from medseg.hardware import cores

Progress = Callable[[int, int], None]  # called with the number done and the total


def check(config: CheckConfig) -> dict[str, Any]:
    """Find every fault of a data set and summarise it, as plain values.

    With `config.fix`, a repaired copy is written to that new folder; the data set itself is never
    written to. Raises `UserError` for a missing data set or split, a groups.csv that training would
    refuse, unknown codes to ignore, and a `fix` folder that is in use or inside the data set.
    """
    ignore = [code.strip() for code in config.ignore.split(",") if code.strip()]
    for code in ignore:
        choose("code", code, FAULTS)
    rule = Rule(config.images, config.masks)
    source = collect(
        config.data,
        data_root=config.data_root,
        split=config.split,
        rule=rule,
    )
    check_tables(source, config.split)  # which names files
    description = read_description(source.root)
    if (config.pages or description.pages) == "all":
        source = with_pages(source)
    if config.fix:
        create_folder(config.fix, source)
    with progress("check", show=config.progress) as advance:
        inspections = inspect_all(
            source.pairs, bit_depth=config.bit_depth, workers=config.workers, advance=advance
        )
    # A mask on its own may be ambiguous: find the coding of the data set, then measure by it.
    declared = declared_by(config, description)
    coding, problem = find_coding(inspections, declared)
    inspections = [remeasure(inspection, coding) for inspection in inspections]
    context = find_context(inspections, coding, problem)
    findings = find_faults(inspections, context, ignore=ignore)
    report = {
        "data": source.name,
        "folder": str(source.root),
        "split": source.split or None,
        **summarise(source, inspections, context),
        "found": _count_by_code(findings),
        "findings": [asdict(finding) for finding in findings],
    }
    if config.fix:
        with progress("repair", show=config.progress) as advance:
            report["fixed"] = write_copy(
                config.fix,
                source,
                inspections,
                context,
                findings,
                bit_depth=config.bit_depth,
                progress=advance,
            )
    return report


def inspect_all(
    pairs: Sequence[Pair],
    *,
    bit_depth: int = 16,
    workers: int = 0,
    advance: Progress | None = None,
) -> list[Inspection]:
    """Inspect each pair, in order, with `workers` threads; 0 is one per core."""
    inspections = []
    with ThreadPoolExecutor(workers or cores()) as pool:
        for inspection in pool.map(partial(inspect_pair, bit_depth=bit_depth), pairs):
            inspections.append(inspection)
            if advance:
                advance(len(inspections), len(pairs))
    return inspections


def _count_by_code(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """For each code found: its title, the number of findings, and the first as an example."""
    counts = Counter(finding.code for finding in findings)
    first = {finding.code: finding for finding in reversed(findings)}
    return [
        {
            "code": code,
            "fault": fault.title,
            "count": counts[code],
            "such_as": f"{Path(first[code].file).name}: {first[code].text}",
        }
        for code, fault in FAULTS.items()
        if counts[code]
    ]
