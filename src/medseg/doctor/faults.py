"""The table of faults by code, and the search for them.

Codes are stable: one is never given to another fault. docs/data-check.md has a section for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.doctor import duplicate_faults, file_faults, mask_faults
from medseg.doctor.context import Context
from medseg.doctor.inspection import Inspection

PairSearch = Callable[[Inspection, Context], Iterator[tuple[Path, str]]]
SetSearch = Callable[[Sequence[Inspection], Context], Iterator[tuple[Inspection | None, Path, str]]]


@dataclass(frozen=True)
class Fault:
    """A kind of fault: its title, and the function that searches a data set for it."""

    title: str
    search: SetSearch


@dataclass(frozen=True)
class Finding:
    """One fault of one file; `part` and `name` are empty for a fault of the whole data set."""

    code: str
    part: str
    name: str
    file: str
    text: str


def find_faults(
    inspections: Sequence[Inspection], context: Context, *, ignore: Sequence[str] = ()
) -> list[Finding]:
    """All findings, in the order of codes, then of files; the codes in `ignore` are skipped."""
    findings = []
    for code, fault in FAULTS.items():
        if code in ignore:
            continue
        for inspection, path, text in fault.search(inspections, context):
            part = inspection.pair.part if inspection else ""
            name = inspection.pair.name if inspection else ""
            if inspection and inspection.pair.page is not None:
                text = f"page {inspection.pair.page + 1}: {text}"
            findings.append(Finding(code, part, name, str(path), text))
    return findings


def _each(search: PairSearch) -> SetSearch:
    """Apply a search of single pairs to every pair of the data set."""

    def search_all(
        inspections: Sequence[Inspection], context: Context
    ) -> Iterator[tuple[Inspection | None, Path, str]]:
        for inspection in inspections:
            for path, text in search(inspection, context):
                yield inspection, path, text

    return search_all


FAULTS: dict[str, Fault] = {
    "MS001": Fault("unreadable file", _each(file_faults.unreadable)),
    "MS002": Fault("unpaired file", _each(file_faults.unpaired)),
    "MS003": Fault("size mismatch", _each(file_faults.size_mismatch)),
    "MS004": Fault("EXIF rotation", _each(file_faults.rotated)),
    "MS005": Fault("mask values not as declared", mask_faults.wrong_values),
    "MS006": Fault("JPEG ringing in mask", _each(mask_faults.ringing)),
    "MS007": Fault("dithered mask", _each(mask_faults.dithered)),
    "MS008": Fault("inverted mask", mask_faults.inverted),
    "MS009": Fault("empty mask", _each(mask_faults.empty)),
    "MS010": Fault("full mask", _each(mask_faults.full)),
    "MS011": Fault("tiny specks in mask", _each(mask_faults.specks)),
    "MS012": Fault("image nearly black", _each(file_faults.dark)),
    "MS013": Fault("duplicate image", duplicate_faults.duplicates),
    "MS014": Fault("duplicate across parts (leak)", duplicate_faults.leaks),
    "MS015": Fault("extreme aspect ratio", _each(file_faults.extreme_aspect)),
    "MS016": Fault("mixed channel counts", _each(file_faults.mixed_channels)),
    "MS017": Fault("mislabelled file type", _each(file_faults.mislabelled)),
    "MS018": Fault("several pages", _each(file_faults.several_pages)),
}
