"""A repaired copy of a data set.

What can be mended without guessing is mended, what cannot be used is left out, and what only the
owner of the data can decide stays as it is; `fixes.csv` says for each finding which it was.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medseg.data.decode import read_image, read_mask
from medseg.data.sources.folder import part_folders
from medseg.data.sources.splits import write_split
from medseg.doctor.collect import WHOLE, Pair, Source
from medseg.doctor.context import Context
from medseg.doctor.file_faults import SUFFIXES, mask_turn
from medseg.doctor.finding import Finding
from medseg.doctor.look import Head, Look, foreground_of, small_parts
from medseg.doctor.mask_faults import fits_threshold
from medseg.errors import UserError
from medseg.files import new_folder, write_csv

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation -> upright
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
MENDED = {
    "MS003": "mask resized to its image, nearest pixel",
    "MS004": "turned upright, stored as PNG without the tag",
    "MS005": "values brought to those of the set",
    "MS006": "split at the threshold, stored as PNG",
    "MS007": "smoothed and split at one half",
    "MS008": "foreground and background exchanged",
    "MS011": "islands removed, holes filled",
    "MS016": "stored with the channels of the set",
    "MS017": "extension corrected",
}
LEFT_OUT = {
    "MS001": "left out: cannot be read",
    "MS002": "left out: no pair",
    "MS013": "left out: the first copy stays",
    "MS014": "left out: the copy in the later part stays",
}
KEPT = "left unchanged: for you to decide"


def refuse_folder(out: Path, source: Source) -> None:
    """Make the folder of the copy; `UserError` when it is in use or lies inside the data set."""
    if out.resolve().is_relative_to(source.root.resolve()):
        raise UserError(
            f"--fix {out}: lies inside the data set, which is never written to; choose a folder"
            " elsewhere"
        )
    new_folder(out, "--fix", "choose another, or remove it first")


def write_copy(
    out: Path,
    source: Source,
    looks: Sequence[Look],
    context: Context,
    findings: Sequence[Finding],
    *,
    bit_depth: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write images, masks, lists and `fixes.csv` to the empty folder `out`.

    Returns counts of what was done. Files without a finding are copied byte for byte. With a split
    of an undivided folder, `out/split` holds its lists.
    """
    codes: dict[str, set[str]] = {}  # by file: two images may share a name
    for finding in findings:
        codes.setdefault(finding.file, set()).add(finding.code)
    plans = [_plan(seen, _codes_of(seen, codes), context) for seen in looks]
    rows = [
        {"part": seen.pair.part, "name": seen.pair.name, "code": code, "what": what}
        for seen, plan in zip(looks, plans, strict=True)
        for code, what in plan.items()
    ]
    of_the_set = [finding for finding in findings if not finding.name]
    rows += [{"part": "", "name": "", "code": each.code, "what": KEPT} for each in of_the_set]
    divided = bool(part_folders(source.root))
    kept = []
    try:
        with tempfile.TemporaryDirectory(prefix=".repairing-", dir=out.parent) as work:
            copy = Path(work) / "copy"
            for done, (seen, plan) in enumerate(zip(looks, plans, strict=True), 1):
                if _stays(seen, plan):
                    repairs = {code for code, what in plan.items() if what != KEPT}
                    folder = copy / seen.pair.part if divided else copy
                    _write(seen, repairs, context, bit_depth, folder)
                    kept.append(seen.pair)
                if progress:
                    progress(done, len(looks))
            _write_tables(copy, source, _lists(source, kept), divided)
            write_csv(copy / "fixes.csv", rows or [dict.fromkeys(("part", "name", "code", "what"))])
            out.rmdir()  # empty: refuse_folder has seen to that
            copy.rename(out)
    except OSError as error:
        raise UserError(
            f"--fix {out}: cannot be written ({error.strerror or error}); make room or choose"
            " another folder"
        ) from None
    mended = {(row["part"], row["name"]) for row in rows if row["what"] in MENDED.values()}
    return {
        "folder": str(out),
        "written": len(kept),
        "repaired": len(mended & {(pair.part, pair.name) for pair in kept}),
        "left_out": len(looks) - len(kept),
    }


def _codes_of(seen: Look, codes: Mapping[str, set[str]]) -> set[str]:
    """The codes found in the files of a pair."""
    files = [str(path) for path in (seen.pair.image, seen.pair.mask) if path] or [seen.pair.name]
    return set().union(*(codes.get(file, ()) for file in files))


def _lists(source: Source, kept: Sequence[Pair]) -> dict[str, list[str]]:
    """The names of the kept pairs by part."""
    return {part: [pair.name for pair in kept if pair.part == part] for part in source.parts}


def _plan(seen: Look, codes: set[str], context: Context) -> dict[str, str]:
    """What is done about each code of a pair."""
    doing = {}
    for code in sorted(codes):
        if code in LEFT_OUT:
            doing[code] = LEFT_OUT[code]
        elif code == "MS005" and not _values_mendable(seen, context):
            doing[code] = "left out: its values cannot be brought to those of the set"
        elif code == "MS003" and not _same_aspect(seen):
            doing[code] = "left out: mask and image are of different shape"
        else:
            doing[code] = (
                MENDED[code] if code in MENDED and _mendable(seen, code, context) else KEPT
            )
    return doing


def _stays(seen: Look, doing: dict[str, str]) -> bool:
    return bool(seen.pair.image and seen.pair.mask) and not any(
        what.startswith("left out") for what in doing.values()
    )


def _mendable(seen: Look, code: str, context: Context) -> bool:
    if code in ("MS007", "MS008", "MS011"):
        return context.kind != "index"
    if code == "MS016":
        return context.channels == 3 or (context.channels == 1 and _is_grey(seen))
    return code != "MS017" or all(
        head and head.kind in SUFFIXES.values() for head in (seen.image_head, seen.mask_head)
    )


def _values_mendable(seen: Look, context: Context) -> bool:
    shape = seen.shape
    if not shape or context.kind == "index":
        return False
    return fits_threshold(shape) if shape.kind == "binary-255" else shape.kind == "binary-01"


def _same_aspect(seen: Look) -> bool:
    """Whether the mask is its image in another size, up to a pixel."""
    (height, width), (mask_height, mask_width) = seen.image_size, seen.mask_size
    return (
        abs(width * mask_height / height - mask_width) <= 1
        and abs(height * mask_width / width - mask_height) <= 1
    )


def _is_grey(seen: Look) -> bool:
    pixels = read_image(seen.pair.image).pixels
    return bool((pixels == pixels[..., :1]).all())


def _write(seen: Look, codes: set[str], context: Context, bit_depth: int, folder: Path) -> None:
    image, mask = seen.pair.image, seen.pair.mask
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    turned = "MS004" in codes
    if (turned and seen.image_head.orientation != 1) or "MS016" in codes:
        pixels = read_image(
            image, channels=1 if context.channels == 1 else 3, bit_depth=bit_depth
        ).pixels
        _write_png(folder / "images" / f"{image.stem}.png", pixels[..., ::-1])
    else:
        shutil.copyfile(image, folder / "images" / _named(image, seen.image_head, codes))
    if codes & {"MS003", "MS005", "MS006", "MS007", "MS008", "MS011"} or (
        turned and (mask_turn(seen) != 1 or seen.mask_head.orientation != 1)
    ):
        _write_png(folder / "masks" / f"{mask.stem}.png", mended_mask(seen, codes, context))
    else:
        shutil.copyfile(mask, folder / "masks" / _named(mask, seen.mask_head, codes))


def mended_mask(seen: Look, codes: set[str], context: Context) -> np.ndarray:
    """uint8 [H, W]: the values of a pair's mask with the faults of `codes` repaired, coded as the
    set is.
    """
    values = read_mask(seen.pair.mask)
    if context.kind != "index":
        binary = foreground_of(values, seen.shape.kind)
        if "MS008" in codes:
            binary = 1 - binary
        if "MS007" in codes:
            binary = (cv2.GaussianBlur(binary * 255, (0, 0), 2) > 127).astype(np.uint8)
        if codes & {"MS007", "MS011"}:
            binary[small_parts(binary, 8)] = 0
            binary[small_parts(1 - binary, 4)] = 1
        ignored = (values == 255) & (context.kind == seen.shape.kind == "binary-01")
        values = np.where(
            ignored, np.uint8(255), binary * np.uint8(255 if context.kind == "binary-255" else 1)
        )
    if "MS004" in codes and mask_turn(seen) != 1:
        values = TURNS[mask_turn(seen)](values)
    if "MS003" in codes:
        values = cv2.resize(values, seen.image_size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.ascontiguousarray(values)


def _named(path: Path, head: Head, codes: set[str]) -> str:
    """The name of a file, with the extension of what it really is where that is to be corrected."""
    if "MS017" not in codes or SUFFIXES[path.suffix.lower()] == head.kind:
        return path.name
    return path.stem + next(suffix for suffix, kind in SUFFIXES.items() if kind == head.kind)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes())


def _write_tables(copy: Path, source: Source, lists: dict[str, list[str]], divided: bool) -> None:
    """The lists of a split, and the tables that came with the data set."""
    copy.mkdir(parents=True, exist_ok=True)
    if source.split and not divided:
        write_split(copy / "split", {part: names for part, names in lists.items() if part != WHOLE})
    for part, folder in {"": source.root, **part_folders(source.root)}.items():
        if (folder / "groups.csv").is_file() and (copy / part).is_dir():
            shutil.copyfile(folder / "groups.csv", copy / part / "groups.csv")
    about = source.root / "dataset.json"
    if about.is_file():
        text = about.read_text(encoding="utf-8")
        with suppress(
            ValueError, TypeError
        ):  # a file of that name that is not ours goes along unchanged
            text = json.dumps(
                json.loads(text) | {"parts": {part: len(names) for part, names in lists.items()}},
                indent=2,
            )
        (copy / "dataset.json").write_text(text, encoding="utf-8")
