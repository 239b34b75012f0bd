"""Images with the same pixels, within a part or across parts.

Each function yields the inspection of a copy, its image file and a description.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medseg.doctor.context import Context
from medseg.doctor.inspection import Inspection, in_a_byte, united_values
from medseg.doctor.mask_stats import foreground


def duplicates(
    inspections: Sequence[Inspection], context: Context
) -> Iterator[tuple[Inspection, Path, str]]:
    """Images with the same pixels as an earlier image of the same part."""
    for group in _groups_of_equal_images(inspections):
        first: dict[str, Inspection] = {}
        for copy in group:
            original = first.setdefault(copy.pair.part, copy)
            if original is not copy:
                difference = _mask_difference(copy, original, context)
                text = f"the same pixels as {_place(original)}{difference}"
                yield copy, copy.pair.image, text


def leaks(
    inspections: Sequence[Inspection], context: Context
) -> Iterator[tuple[Inspection, Path, str]]:
    """Images with the same pixels as an image of a later part."""
    for group in _groups_of_equal_images(inspections):
        last = group[-1]
        for copy in group:
            if copy.pair.part != last.pair.part:
                yield (
                    copy,
                    copy.pair.image,
                    f"the same pixels as {_place(last)}: in {copy.pair.part} and in"
                    f" {last.pair.part}{_mask_difference(copy, last, context)}",
                )


def _place(inspection: Inspection) -> str:
    """The image file, with its page where several are images."""
    pair = inspection.pair
    return str(pair.image) if pair.page is None else f"{pair.image} page {pair.page + 1}"


def _groups_of_equal_images(inspections: Sequence[Inspection]) -> list[list[Inspection]]:
    """Groups of two or more equal images, each in the order of the parts."""
    groups: dict[str, list[Inspection]] = {}
    for inspection in inspections:
        if inspection.image_stats:
            groups.setdefault(inspection.image_stats.digest, []).append(inspection)
    return [group for group in groups.values() if len(group) > 1]


def _mask_difference(one: Inspection, other: Inspection, context: Context) -> str:
    """A note with the Dice of the two masks of equal images; "" where the masks do not differ."""
    if not one.mask_stats or not other.mask_stats or one.mask_size != other.mask_size:
        return ""
    if one.mask_stats.digest == other.mask_stats.digest:
        return ""
    first, second = (
        foreground(in_a_byte(united_values(each.pair, context.layout)), each.mask_stats.kind)
        for each in (one, other)
    )
    total = int(first.sum()) + int(second.sum())
    dice = 2 * int((first & second).sum()) / total if total else 1.0
    return f"; their masks differ (Dice {dice:.3f})" if dice < 1 else ""
