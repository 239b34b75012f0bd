"""Images that occur twice."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.data.decode import read_mask
from medseg.doctor.context import Context
from medseg.doctor.finding import OfSet
from medseg.doctor.look import Look, foreground_of


def duplicates(looks: Sequence[Look], context: Context) -> OfSet:
    """Images with the same pixels in one part."""
    for group in _same_pixels(looks):
        first: dict[str, Look] = {}
        for seen in group:
            same = first.setdefault(seen.pair.part, seen)
            if same is not seen:
                yield (
                    seen,
                    seen.pair.image,
                    f"the same pixels as {same.pair.image}{_masks(seen, same)}",
                )


def leaks(looks: Sequence[Look], context: Context) -> OfSet:
    """Images with the same pixels in two parts."""
    for group in _same_pixels(looks):
        last = group[-1]
        for seen in group:
            if seen.pair.part != last.pair.part:
                yield (
                    seen,
                    seen.pair.image,
                    (
                        f"the same pixels as {last.pair.image}: in {seen.pair.part} and in "
                        f"{last.pair.part}{_masks(seen, last)}"
                    ),
                )


def _same_pixels(looks: Sequence[Look]) -> list[list[Look]]:
    """Groups of two or more looks whose images are equal, each in the order of the parts."""
    groups: dict[str, list[Look]] = {}
    for seen in looks:
        if seen.colours:
            groups.setdefault(seen.colours.digest, []).append(seen)
    return [group for group in groups.values() if len(group) > 1]


def _masks(one: Look, other: Look) -> str:
    """What to say of the masks of two equal images, where they differ."""
    if (
        not one.shape
        or not other.shape
        or one.shape.digest == other.shape.digest
        or one.mask_size != other.mask_size
    ):
        return ""
    first, second = (
        foreground_of(read_mask(seen.pair.mask), seen.shape.kind) for seen in (one, other)
    )
    total = int(first.sum()) + int(second.sum())
    dice = 2 * int((first & second).sum()) / total if total else 1.0
    return f"; their masks differ (Dice {dice:.3f})" if dice < 1 else ""
