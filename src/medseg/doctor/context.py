"""The properties of a data set as a whole; many faults are deviations from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.data.masks import Declared, FileFacts, Layout, MaskCoding, Plane, coding_of, plane_of
from medseg.doctor.inspection import Inspection
from medseg.doctor.mask_stats import MaskStats
from medseg.errors import UserError

INVERTED_BORDER = 0.6  # foreground on more than this share of the image border


@dataclass(frozen=True)
class Context:
    """What most files of a data set have in common.

    `coding` is how training reads the masks, or, where it refuses them, for the reason `problem`,
    how it would read the most alike of them; None where it would read none. `channels` is that of
    most images (0 where unknown), and `inverted` whether most masks look inverted.
    """

    coding: MaskCoding | None
    problem: str
    channels: int
    inverted: bool

    @property
    def kind(self) -> str:
        """The kind of coding."""
        return self.coding.kind if self.coding else "binary-255"

    @property
    def layout(self) -> Layout:
        """How the samples of the files become values."""
        return self.coding.layout if self.coding else Layout()

    @property
    def classes(self) -> int:
        """The number of classes, with the background."""
        return self.coding.classes if self.coding else 2


def find_coding(
    inspections: Sequence[Inspection], declared: Declared
) -> tuple[MaskCoding | None, str]:
    """How training reads the masks of a data set, and why it refuses them, if it does."""
    found = [each for each in inspections if each.mask_facts]
    if not found:
        return None, ""
    try:
        return coding_of([each.mask_facts for each in found], declared), ""
    except UserError as error:
        return _coding_of_most(found, declared), str(error)


def find_context(
    inspections: Sequence[Inspection], coding: MaskCoding | None, problem: str
) -> Context:
    """The context of a data set whose masks have been measured by its coding."""
    masks = [inspection.mask_stats for inspection in inspections if inspection.mask_stats]
    partial = [stats for stats in masks if 0 < stats.foreground < stats.pixels]
    inverted = sum(looks_inverted(stats) for stats in partial)
    return Context(
        coding=coding,
        problem=problem,
        channels=_most_common_channels(inspections),
        inverted=len(partial) > 1 and inverted > len(partial) / 2,
    )


def looks_inverted(stats: MaskStats) -> bool:
    """Whether foreground covers most of the image border, but not the whole image."""
    return stats.border > INVERTED_BORDER and stats.foreground < stats.pixels


def plane_in(inspection: Inspection, layout: Layout) -> Plane:
    """The values of a mask in the layout of the set, as recognising them asks for."""
    facts: FileFacts = inspection.mask_facts
    return Plane(facts.path, plane_of(facts, layout), facts.lossy)


def _coding_of_most(found: Sequence[Inspection], declared: Declared) -> MaskCoding | None:
    """The coding of the masks that look like most of those with foreground."""
    drawn = [each for each in found if each.mask_stats and each.mask_stats.counts[1:].any()]
    for kind, _ in Counter(each.mask_stats.kind for each in drawn).most_common():
        alike = [each for each in drawn if each.mask_stats.kind == kind]
        for values, _ in [(None, 0), *Counter(map(_values_of, alike)).most_common()]:
            same = [each for each in alike if values in (None, _values_of(each))]
            try:  # all of the kind, then those of the same values: some may be odd in themselves
                return coding_of([each.mask_facts for each in same], declared)
            except UserError:
                continue
    return None


def _values_of(inspection: Inspection) -> tuple[int, ...]:
    return tuple(np.flatnonzero(inspection.mask_stats.counts).tolist())


def _most_common_channels(inspections: Sequence[Inspection]) -> int:
    headers = [inspection.image_header for inspection in inspections if inspection.image_header]
    counts = Counter(header.channels for header in headers if header.channels)
    return counts.most_common(1)[0][0] if counts else 0
