"""The faults by code. Codes are stable: one is never given to another fault.

docs/data-check.md has a section for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medseg.doctor import copies, file_faults, mask_faults
from medseg.doctor.context import Context
from medseg.doctor.finding import Fault, Finding, OfSet, Texts
from medseg.doctor.look import Look


def find(looks: Sequence[Look], context: Context, *, ignore: Sequence[str] = ()) -> list[Finding]:
    """Every finding, in the order of codes, then of files."""
    findings = []
    for code, (_, fault) in FAULTS.items():
        if code in ignore:
            continue
        for seen, path, text in fault(looks, context):
            part, name = (seen.pair.part, seen.pair.name) if seen else ("", "")
            findings.append(Finding(code, part, name, str(path), text))
    return findings


def each(fault: Callable[[Look, Context], Texts]) -> Fault:
    """A fault of single pairs as one of the set."""

    def of_set(looks: Sequence[Look], context: Context) -> OfSet:
        for seen in looks:
            for path, text in fault(seen, context):
                yield seen, path, text

    return of_set


FAULTS: dict[str, tuple[str, Fault]] = {
    "MS001": ("unreadable file", each(file_faults.unreadable)),
    "MS002": ("unpaired file", each(file_faults.unpaired)),
    "MS003": ("size mismatch", each(file_faults.size_mismatch)),
    "MS004": ("EXIF rotation", each(file_faults.rotated)),
    "MS005": ("mask values not as declared", each(mask_faults.mask_values)),
    "MS006": ("JPEG ringing in mask", each(mask_faults.ringing)),
    "MS007": ("dithered mask", each(mask_faults.dithered)),
    "MS008": ("inverted mask", mask_faults.inverted),
    "MS009": ("empty mask", each(mask_faults.empty)),
    "MS010": ("full mask", each(mask_faults.full)),
    "MS011": ("tiny specks in mask", each(mask_faults.tiny)),
    "MS012": ("image nearly black", each(file_faults.dark)),
    "MS013": ("duplicate image", copies.duplicates),
    "MS014": ("duplicate across parts (leak)", copies.leaks),
    "MS015": ("extreme aspect ratio", each(file_faults.aspect)),
    "MS016": ("mixed channel counts", each(file_faults.channels)),
    "MS017": ("mislabelled file type", each(file_faults.mislabelled)),
}
