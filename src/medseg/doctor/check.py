"""`medseg data check`: look at every file once, name the faults, sum up the set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from medseg.config import CheckConfig
from medseg.console import progress
from medseg.doctor.collect import Pair, collect
from medseg.doctor.context import context_of
from medseg.doctor.faults import FAULTS, find
from medseg.doctor.finding import Finding
from medseg.doctor.fix import refuse_folder, write_copy
from medseg.doctor.look import Look, look, settle
from medseg.doctor.summary import summarise
from medseg.errors import choose

Progress = Callable[[int, int], None]


def check(config: CheckConfig) -> dict[str, Any]:
    """Every fault of a data set and what it holds, as plain values; with --fix also a repaired
    copy.

    Nothing in the data set is written to. Raises `UserError` where there is no data set to look at,
    for unknown codes to ignore, and for a --fix folder that is in use or inside the data set.
    """
    ignore = [code.strip() for code in config.ignore.split(",") if code.strip()]
    for code in ignore:
        choose("code", code, FAULTS)
    source = collect(config.data, data_root=config.data_root, split=config.split)
    if config.fix:
        refuse_folder(config.fix, source)
    with progress("check", show=config.progress) as advance:
        looks = look_at(
            source.pairs, bit_depth=config.bit_depth, workers=config.workers, progress=advance
        )
        kind = context_of(looks, mask_kind=config.mask_kind, classes=config.classes).kind
        looks = [settle(seen, kind) for seen in looks]
        context = context_of(looks, mask_kind=kind, classes=config.classes)
        findings = find(looks, context, ignore=ignore)
        report = {
            "data": source.name,
            "folder": str(source.root),
            "split": source.split or None,
            **summarise(source, looks, context),
            "found": _by_code(findings),
            "findings": [asdict(finding) for finding in findings],
        }
        if config.fix:
            report["fixed"] = write_copy(
                config.fix,
                source,
                looks,
                context,
                findings,
                bit_depth=config.bit_depth,
                progress=advance,
            )
    return report


def look_at(
    pairs: Sequence[Pair],
    *,
    bit_depth: int = 16,
    workers: int = 0,
    progress: Progress | None = None,
) -> list[Look]:
    """A `Look` at each pair, in order, by as many threads as there are cores."""
    looks = []
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for seen in pool.map(partial(look, bit_depth=bit_depth), pairs):
            looks.append(seen)
            if progress:
                progress(len(looks), len(pairs))
    return looks


def _by_code(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    counts = Counter(finding.code for finding in findings)
    first = {finding.code: finding for finding in reversed(findings)}
    return [
        {
            "code": code,
            "fault": FAULTS[code][0],
            "count": counts[code],
            "such_as": f"{Path(first[code].file).name}: {first[code].text}",
        }
        for code in FAULTS
        if counts[code]
    ]
