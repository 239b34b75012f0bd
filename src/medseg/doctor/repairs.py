"""What is done about each fault of a pair, and how a mask is repaired.

Faults with one clearly right repair are repaired, pairs that cannot be used are left out, and what
only the owner of the data can decide is left unchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from medseg.data.decode import IMAGE_SUFFIXES, read_image, upright
from medseg.doctor.context import Context
from medseg.doctor.faults import Finding
from medseg.doctor.inspection import UPRIGHT, Inspection, in_a_byte, mask_rotation, united_values
from medseg.doctor.mask_stats import fits_threshold, foreground, small_components

REPAIRED = {
    "MS003": "mask resized to the size of its image, nearest neighbour",
    "MS004": "rotated upright, stored as PNG without the tag",
    "MS005": "values converted to the coding of the data set",
    "MS006": "split at the threshold, stored as PNG",
    "MS007": "smoothed and split at one half",
    "MS008": "foreground and background swapped",
    "MS011": "islands removed, holes filled",
    "MS016": "stored with the channels of most images",
    "MS017": "extension corrected",
}
LEFT_OUT = {
    "MS001": "left out: cannot be read",
    "MS002": "left out: unpaired",
    "MS003": "left out: mask and image differ in aspect ratio",
    "MS005": "left out: its values cannot be converted to the coding of the data set",
    "MS013": "left out: the first copy is kept",
    "MS014": "left out: the copy in the later part is kept",
}
UNCHANGED = "left unchanged: for you to decide"
MASK_REPAIRS = {"MS003", "MS005", "MS006", "MS007", "MS008", "MS011"}  # these rewrite the mask
BLUR_SIGMA = 2  # pixels; smooths dithered dots into an edge


@dataclass(frozen=True)
class Action:
    """What is done about one fault of a pair, and the text that tells it in `fixes.csv`."""

    outcome: Literal["repaired", "left out", "unchanged"]
    text: str


@dataclass(frozen=True)
class Plan:
    """A pair and the action for each of its faults, by code."""

    inspection: Inspection
    actions: dict[str, Action]

    @property
    def kept(self) -> bool:
        """Whether the pair goes into the repaired copy."""
        pair = self.inspection.pair
        complete = bool(pair.image and pair.mask)
        return complete and all(action.outcome != "left out" for action in self.actions.values())

    @property
    def repairs(self) -> set[str]:
        """The codes of the faults that are repaired."""
        return {code for code, action in self.actions.items() if action.outcome == "repaired"}


def plan_repairs(
    inspections: Sequence[Inspection], findings: Sequence[Finding], context: Context
) -> list[Plan]:
    """Decide for each pair what is done about its findings."""
    codes_by_file: dict[str, set[str]] = {}  # not by name, which two images may share
    for finding in findings:
        codes_by_file.setdefault(finding.file, set()).add(finding.code)
    plans = []
    for inspection in inspections:
        pair = inspection.pair
        files = [str(path) for path in (pair.image, pair.mask) if path] or [pair.name]
        codes = set().union(*(codes_by_file.get(file, ()) for file in files))
        actions = {code: _choose_action(inspection, code, context) for code in sorted(codes)}
        plans.append(Plan(inspection, actions))
    return plans


def _choose_action(inspection: Inspection, code: str, context: Context) -> Action:
    if code in MASK_REPAIRS and context.coding is None:
        return Action("unchanged", UNCHANGED)  # nobody knows what its values mean
    if code in REPAIRED and _is_repairable(inspection, code, context):
        return Action("repaired", REPAIRED[code])
    if code in LEFT_OUT:
        return Action("left out", LEFT_OUT[code])
    return Action("unchanged", UNCHANGED)


def _is_repairable(inspection: Inspection, code: str, context: Context) -> bool:
    """Whether the repair of a fault in `REPAIRED` is safe for this pair."""
    if code == "MS003":
        return _has_same_aspect(inspection)
    if code == "MS005":
        return _has_convertible_values(inspection, context)
    if code in ("MS007", "MS008", "MS011"):
        return context.kind != "index"
    if code == "MS016":
        return context.channels == 3 or (context.channels == 1 and _is_grey(inspection))
    if code == "MS017":
        headers = (inspection.image_header, inspection.mask_header)
        return all(header and header.format in IMAGE_SUFFIXES.values() for header in headers)
    return True


def _has_same_aspect(inspection: Inspection) -> bool:
    """Whether the mask has the aspect ratio of its image, to within one pixel."""
    height, width = inspection.image_size
    mask_height, mask_width = inspection.mask_size
    width_fits = abs(width * mask_height / height - mask_width) <= 1
    return width_fits and abs(height * mask_width / width - mask_height) <= 1


def _has_convertible_values(inspection: Inspection, context: Context) -> bool:
    """Whether a mask of foreign values can become one of the two-valued coding of the data set."""
    stats = inspection.mask_stats
    if not stats or context.kind == "index":
        return False
    return fits_threshold(stats) if stats.kind == "binary-255" else stats.kind == "binary-01"


def _is_grey(inspection: Inspection) -> bool:
    pixels = read_image(inspection.pair.image).pixels
    return bool((pixels == pixels[..., :1]).all())


def repair_mask(inspection: Inspection, codes: Collection[str], context: Context) -> np.ndarray:
    """uint8 [H, W]: the mask with the faults in `codes` repaired, in the coding of the data set."""
    values = in_a_byte(united_values(inspection.pair, context.layout))
    if context.kind != "index":
        kind = inspection.mask_stats.kind
        coding = context.coding if kind == context.kind else kind
        binary = _repair_foreground(foreground(values, coding or kind), codes)
        keeps_ignored = context.kind == kind == "binary-01"
        ignored = (values == 255) & keeps_ignored
        one = np.uint8(_foreground_value(context))
        values = np.where(ignored, np.uint8(255), binary * one)
    rotation = mask_rotation(inspection)
    if "MS004" in codes and rotation != UPRIGHT:
        values = upright(values, rotation)
    if "MS003" in codes:
        height, width = inspection.image_size
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.ascontiguousarray(values)


def _foreground_value(context: Context) -> int:
    """What the copy stores for foreground: as the data set does."""
    if context.kind in ("binary-255", "binary-01"):
        return 255 if context.kind == "binary-255" else 1
    return next((value for value, index in context.coding.table if index == 1), 255)


def _repair_foreground(binary: np.ndarray, codes: Collection[str]) -> np.ndarray:
    """The 0/1 mask, uint8 [H, W], inverted, smoothed and without specks where `codes` ask for it.

    Specks are removed in place.
    """
    if "MS008" in codes:
        binary = 1 - binary
    if "MS007" in codes:
        binary = (cv2.GaussianBlur(binary * 255, (0, 0), BLUR_SIGMA) > 127).astype(np.uint8)
    if "MS007" in codes or "MS011" in codes:
        binary[small_components(binary, 8)] = 0
        binary[small_components(1 - binary, 4)] = 1
    return binary
