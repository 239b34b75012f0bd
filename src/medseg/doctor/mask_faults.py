"""Faults of masks: values, compression noise, dithering, inversion, emptiness, specks.

Each function yields the file and a description of the fault, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from medseg.data.masks import THRESHOLD, misread
from medseg.doctor.context import Context, looks_inverted, plane_in
from medseg.doctor.inspection import Inspection
from medseg.doctor.mask_stats import MaskStats, fits_threshold
from medseg.errors import counted

# Isolated pixels per changing pair: real masks reach 0.04, dithered soft edges start at 0.09.
DITHERED_SHARE = 0.06
DITHERED_PIXELS = 16
CODINGS = {
    "binary-255": "0/255",
    "binary-01": "0/1",
    "binary": "two values",
    "index": "class indices",
}


def wrong_values(
    inspections: Sequence[Inspection], context: Context
) -> Iterator[tuple[Inspection | None, Path, str]]:
    """Masks with values that do not belong to the coding of the data set.

    What training would say of the whole set comes first, if no file by itself shows it.
    """
    found = list(_wrong_files(inspections, context))
    if context.problem and not found:
        first = next(each for each in inspections if each.mask_facts)
        yield None, first.pair.mask.parent, context.problem
    yield from found


def _wrong_files(
    inspections: Sequence[Inspection], context: Context
) -> Iterator[tuple[Inspection, Path, str]]:
    for inspection in inspections:
        text = inspection.mask_values_error
        if not text and inspection.mask_stats and context.coding:
            text = _wrong_values(inspection, context)
        if text:
            yield inspection, inspection.pair.mask, text


def _wrong_values(inspection: Inspection, context: Context) -> str:
    """What is wrong with the values of a mask; "" for nothing."""
    coding, stats = context.coding, inspection.mask_stats
    if coding.layout.plane == "colours":
        return ""
    problem = misread(plane_in(inspection, context.layout), coding)
    if problem:
        return f"{problem} (the data set holds {CODINGS[coding.kind]})"
    if coding.kind != "binary-255":
        return ""
    if not fits_threshold(stats):
        return f"holds {list_values(stats.counts)}, but the data set holds 0/255"
    between = int(stats.counts[1:255].sum())
    if not between or _is_lossy(inspection):
        return ""
    return (
        f"{_percent(between, stats)} of pixels hold values between 0 and 255"
        f" ({list_values(stats.counts)}); they are split at {THRESHOLD}"
    )


def ringing(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A 0/255 mask with the noise of a lossy codec."""
    stats = inspection.mask_stats
    known = stats and context.coding
    if not known or stats.kind != "binary-255" or context.kind != "binary-255":
        return
    between = stats.counts[1:255]
    if between.any() and fits_threshold(stats) and _is_lossy(inspection):
        yield (
            inspection.pair.mask,
            f"{_percent(int(between.sum()), stats)} of pixels hold {np.count_nonzero(between)}"
            " values between 0 and 255, typical of a lossy codec",
        )


def _is_lossy(inspection: Inspection) -> bool:
    header = inspection.mask_header
    return inspection.mask_stats.ringing or bool(header and header.lossy)


def dithered(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A mask in which grey edges were turned into dots."""
    stats = inspection.mask_stats
    if stats and _is_dithered(stats):
        text = f"{stats.isolated} pixels differ from all their neighbours: grey drawn as dots"
        yield inspection.pair.mask, text


def _is_dithered(stats: MaskStats) -> bool:
    return stats.isolated >= DITHERED_PIXELS and stats.isolated > DITHERED_SHARE * stats.changes


def inverted(
    inspections: Sequence[Inspection], context: Context
) -> Iterator[tuple[Inspection | None, Path, str]]:
    """Masks in which object and background are swapped: one finding if most masks look so."""
    masks = [inspection for inspection in inspections if inspection.mask_stats]
    suspects = [inspection for inspection in masks if looks_inverted(inspection.mask_stats)]
    if context.inverted:
        yield (
            None,
            suspects[0].pair.mask.parent,
            f"foreground covers most of the image border in {len(suspects)} of {len(masks)} masks:"
            " are object and background swapped?",
        )
        return
    for inspection in suspects:
        stats = inspection.mask_stats
        yield (
            inspection,
            inspection.pair.mask,
            f"foreground covers {stats.border:.0%} of the image border and"
            f" {_percent(stats.foreground, stats)} of the image: object and background seem to be"
            " swapped",
        )


def empty(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A mask without foreground."""
    stats = inspection.mask_stats
    if not stats or stats.foreground:
        return
    if stats.kind != "binary-255" or fits_threshold(stats):
        yield inspection.pair.mask, "no foreground: correct only if the image shows no object"


def full(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A mask without background."""
    stats = inspection.mask_stats
    if stats and stats.foreground == stats.pixels:
        yield inspection.pair.mask, "foreground everywhere"


def specks(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A mask with islands or holes of a few pixels; dithering is a fault of its own."""
    stats = inspection.mask_stats
    if stats and stats.specks and not _is_dithered(stats):
        specks = counted(stats.specks, "island or hole", "islands or holes")
        yield inspection.pair.mask, f"{specks} of a few pixels"


def list_values(counts: np.ndarray) -> str:
    """The values that occur in a histogram of 256 bins; of more than six, the first and last."""
    values = np.flatnonzero(counts).tolist()
    text = ", ".join(map(str, values[:6]))
    return f"{text}, ... {values[-1]} ({len(values)} values)" if len(values) > 6 else text


def _percent(count: int, stats: MaskStats) -> str:
    return f"{100 * count / stats.pixels:.2g} %"
