"""The properties of a data set as a whole; many faults are deviations from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.data.masks import LARGEST_INDEX
from medseg.doctor.inspection import Inspection
from medseg.doctor.mask_stats import MaskStats

INVERTED_BORDER = 0.6  # foreground on more than this share of the image border


@dataclass(frozen=True)
class Context:
    """What most files of a data set have in common.

    `kind` is the coding of the masks ("binary-255", "binary-01" or "index"), `classes` their
    declared number with the background (0 where undeclared), `ignores` whether 255 marks ignored
    pixels, `channels` that of most images (0 where unknown), and `inverted` whether most masks look
    inverted.
    """

    kind: str
    classes: int
    ignores: bool
    channels: int
    inverted: bool


def find_context(
    inspections: Sequence[Inspection], *, mask_kind: str = "auto", classes: int = 0
) -> Context:
    """The context of a data set; the coding is that of most masks with foreground if "auto"."""
    masks = [inspection.mask_stats for inspection in inspections if inspection.mask_stats]
    ignores = any(stats.kind != "binary-255" and stats.counts[255] for stats in masks)
    partial = [stats for stats in masks if 0 < stats.foreground < stats.pixels]
    inverted = sum(looks_inverted(stats) for stats in partial)
    return Context(
        kind=_most_common_kind(masks, classes) if mask_kind == "auto" else mask_kind,
        classes=classes,
        ignores=ignores,
        channels=_most_common_channels(inspections),
        inverted=len(partial) > 1 and inverted > len(partial) / 2,
    )


def looks_inverted(stats: MaskStats) -> bool:
    """Whether foreground covers most of the image border, but not the whole image."""
    return stats.border > INVERTED_BORDER and stats.foreground < stats.pixels


def _most_common_kind(masks: Sequence[MaskStats], classes: int) -> str:
    """The coding of most masks with foreground.

    Small values together with 255 are class indices with ignored pixels, unless a mask of the data
    set holds values that no class index has.
    """
    noise = any(stats.counts[LARGEST_INDEX + 1 : 255].any() for stats in masks)
    kinds = Counter(
        "binary-255" if noise and stats.ambiguous else stats.kind
        for stats in masks
        if stats.counts[1:].any()
    )
    if kinds["index"] + kinds["binary-01"] < max(1, kinds["binary-255"]):
        return "binary-255"
    return "index" if kinds["index"] or classes > 2 else "binary-01"


def _most_common_channels(inspections: Sequence[Inspection]) -> int:
    headers = [inspection.image_header for inspection in inspections if inspection.image_header]
    counts = Counter(header.channels for header in headers if header.channels)
    return counts.most_common(1)[0][0] if counts else 0
