"""Write a repaired copy of a data set; `fixes.csv` in it says what was done about each finding."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medseg.data.decode import IMAGE_SUFFIXES, read_image
from medseg.data.sources.folder import part_folders
from medseg.data.sources.groups import TABLE, copy_groups
from medseg.data.sources.splits import write_split
from medseg.doctor.collect import WHOLE, Source
from medseg.doctor.context import Context
from medseg.doctor.faults import Finding
from medseg.doctor.inspection import UPRIGHT, FileHeader, Inspection, mask_rotation
from medseg.doctor.repairs import MASK_REPAIRS, UNCHANGED, Plan, plan_repairs, repair_mask
from medseg.errors import UserError
from medseg.files import new_folder, write_csv

COLUMNS = ("part", "name", "code", "what")  # of fixes.csv


def create_folder(out: Path, source: Source) -> None:
    """Create the folder of the copy; `UserError` if it is in use or lies inside the data set.

    Where pages of a file are images of their own, nothing is repaired.
    """
    if out.resolve().is_relative_to(source.root.resolve()):
        raise UserError(
            f"--fix {out}: lies inside the data set, which is never written to; choose a folder"
            " elsewhere"
        )
    pages = [pair for pair in source.pairs if pair.page is not None]
    if pages:
        raise UserError(
            f"--fix {out}: repairs files of one picture, {pages[0].image} holds several; give"
            " --pages first, or store each page in a file of its own"
        )
    new_folder(out, "--fix", "choose another, or remove it first")


def write_copy(
    out: Path,
    source: Source,
    inspections: Sequence[Inspection],
    context: Context,
    findings: Sequence[Finding],
    *,
    bit_depth: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write images, masks, lists and `fixes.csv` to the empty folder `out`; count what was done.

    Files without a finding are copied byte for byte. With a split of an undivided folder,
    `out/split` holds its lists. Raises `UserError` if the copy cannot be written.
    """
    plans = plan_repairs(inspections, findings, context)
    divided = source.split == "as-is"
    several = any(pair.further for pair in source.pairs)
    try:
        with tempfile.TemporaryDirectory(prefix=".repairing-", dir=out.parent) as work:
            copy = Path(work) / "copy"
            for done, plan in enumerate(plans, 1):
                if plan.kept:
                    folder = copy / plan.inspection.pair.part if divided else copy
                    _write_pair(plan, context, bit_depth, folder, several)
                if progress:
                    progress(done, len(plans))
            copy.mkdir(exist_ok=True)
            _write_lists(copy, source, plans, divided)
            rows = _rows(plans, findings)
            write_csv(copy / "fixes.csv", rows or [dict.fromkeys(COLUMNS)])
            out.rmdir()  # empty: create_folder has made sure of that
            copy.rename(out)
    except OSError as error:
        raise UserError(
            f"--fix {out}: cannot be written ({error.strerror or error}); free some space or choose"
            " another folder"
        ) from None
    return _counts(out, plans)


def _write_pair(plan: Plan, context: Context, bit_depth: int, folder: Path, several: bool) -> None:
    """Write the image and the mask of a pair, repaired where planned, else as they are.

    In a set where images have `several` masks, these are called x_mask, x_mask_1, ... in the copy.
    """
    inspection, codes = plan.inspection, plan.repairs
    pair = inspection.pair
    image, mask = pair.image, pair.mask
    above = Path(pair.name).parent  # of a patient's folder, where names of files alone are not one
    images, masks = folder / "images" / above, folder / "masks" / above
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    rotates = "MS004" in codes
    if "MS016" in codes or (rotates and _is_rotated(inspection.image_header)):
        channels = 1 if context.channels == 1 else 3
        pixels = read_image(image, channels=channels, bit_depth=bit_depth).pixels
        _write_png(images / f"{image.stem}.png", pixels[..., ::-1])  # OpenCV writes BGR
    else:
        shutil.copyfile(image, images / _file_name(image, inspection.image_header, codes))
    mask_rotates = _is_rotated(inspection.mask_header) or mask_rotation(inspection) != UPRIGHT
    if codes & MASK_REPAIRS or (rotates and mask_rotates):
        name = f"{image.stem}_mask" if several else mask.stem
        _write_png(masks / f"{name}.png", repair_mask(inspection, codes, context))
        return
    for number, each in enumerate(pair.masks):
        first = each == mask
        name = _file_name(each, inspection.mask_header if first else None, codes if first else ())
        if several:
            name = f"{image.stem}_mask{f'_{number}' if number else ''}{Path(name).suffix}"
        shutil.copyfile(each, masks / name)


def _is_rotated(header: FileHeader | None) -> bool:
    return header is not None and header.orientation != UPRIGHT


def _file_name(path: Path, header: FileHeader | None, codes: Collection[str]) -> str:
    """The name of a file in the copy: with MS017 repaired, its extension is that of its format."""
    if "MS017" not in codes or IMAGE_SUFFIXES[path.suffix.lower()] == header.format:
        return path.name
    return path.stem + next(
        suffix for suffix, file_format in IMAGE_SUFFIXES.items() if file_format == header.format
    )


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes())


def _write_lists(copy: Path, source: Source, plans: Sequence[Plan], divided: bool) -> None:
    """Write the lists of a split without the pairs left out, and the tables of the data set."""
    kept = [plan.inspection.pair for plan in plans if plan.kept]
    lists = {part: [pair.name for pair in kept if pair.part == part] for part in source.parts}
    if source.split and not divided:
        write_split(copy / "split", {part: names for part, names in lists.items() if part != WHOLE})
    for part, folder in {"": source.root, **part_folders(source.root)}.items():
        if (folder / TABLE).is_file() and (copy / part).is_dir():
            copy_groups(folder / TABLE, copy / part / TABLE, [f"{p.part}/{p.name}" for p in kept])
    description = source.root / "dataset.json"
    if description.is_file():
        text = description.read_text(encoding="utf-8")
        with suppress(ValueError, TypeError):  # a file of that name that is not ours: unchanged
            counts = {part: len(names) for part, names in lists.items()}
            text = json.dumps(json.loads(text) | {"parts": counts}, indent=2)
        (copy / "dataset.json").write_text(text, encoding="utf-8")


def _rows(plans: Sequence[Plan], findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The lines of `fixes.csv`: those of each pair, then those of the whole data set."""
    rows = []
    for plan in plans:
        pair = plan.inspection.pair
        for code, action in plan.actions.items():
            rows.append({"part": pair.part, "name": pair.name, "code": code, "what": action.text})
    for finding in findings:
        if not finding.name:
            rows.append({"part": "", "name": "", "code": finding.code, "what": UNCHANGED})
    return rows


def _counts(out: Path, plans: Sequence[Plan]) -> dict[str, Any]:
    """What the report says about the copy."""
    kept = sum(plan.kept for plan in plans)
    return {
        "folder": str(out),
        "written": kept,
        "repaired": sum(plan.kept and bool(plan.repairs) for plan in plans),
        "left_out": len(plans) - kept,
    }
