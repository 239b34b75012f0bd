"""What to tell the user of a pairing: how it was made, what is left out, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from medseg.data.sources.layouts import Layout
from medseg.data.sources.matching import Match
from medseg.data.sources.names import some
from medseg.data.sources.rules import ADVICE
from medseg.data.sources.tree import Folder
from medseg.data.sources.words import role_of
from medseg.errors import UserError, counted

DRAWN = (".txt", ".json", ".xml", ".geojson")  # polygons instead of masks
PAPERS = (".csv", ".txt", ".md", ".json", ".yaml", ".yml", ".html", ".pdf", ".xlsx", ".py", ".zip")
CONVERT = "polygons are drawn as masks by 'medseg data convert'"


def how_paired(layout: Layout, root: Path) -> str:
    """How the images were paired, in one line."""
    texts = []
    for part, match in layout.matches.items():
        spots = [spot for spot in layout.spots if spot.part == part]
        folder = spots[0].images.path.relative_to(root)
        mask_folder = (spots[0].masks or spots[0].images).path.relative_to(root)
        images = folder / f"{match.image_text}{_suffix(match.masks)}"
        masks = mask_folder / f"{match.text}{_suffix(chain.from_iterable(match.masks.values()))}"
        others = len(spots) - 1
        more = f" and {counted(others, 'more folder', 'more folders')}" if others else ""
        total = len(match.masks) + len(match.problems)
        texts.append(
            f"{images.as_posix()} with masks {masks.as_posix()}{more}"
            f" ({len(match.masks)} of {total})"
        )
    return "pairing: " + "; ".join(texts)


def _suffix(files: Iterable[Path]) -> str:
    """The extension that all files have, else ".*"."""
    suffixes = {file.suffix for file in files}
    return suffixes.pop() if len(suffixes) == 1 else ".*"


def left_out(
    layout: Layout, root: Path, folders: Sequence[Folder], aside: Sequence[Path]
) -> list[str]:
    """What of the data set is not used, by name."""
    used = {folder.path for spot in layout.spots for folder in (spot.images, spot.masks) if folder}
    bare = {folder.path for folder in layout.bare}
    notes = [
        f"{folder.path}: no masks lie beside"
        f" {counted(len(folder.images), 'image, which is', 'images, which are')} left out"
        for folder in layout.bare
    ]
    others = [each for each in folders if each.images and each.path not in used | bare]
    if others:
        named = [
            f"{each.path.relative_to(root)} ({counted(len(each.images), 'image', 'images')})"
            for each in others
        ]
        notes.append(f"{root}: not used, and left out: {some(named, 6)}")
    if aside:
        notes.append(
            f"{counted(len(aside), 'further file', 'further files')} of the images left out:"
            f" {some(file.name for file in aside)}"
        )
    for folder in folders:
        strange = folder.strangers if folder.path in used else ()
        if not folder.role:
            strange = [file for file in strange if file.suffix.lower() not in PAPERS]
        if strange:
            notes.append(
                f"{counted(len(strange), 'file is', 'files are')} in {folder.path} of a kind that"
                f" is not read, and left out: {some(file.name for file in strange)}"
            )
    return notes


def what_to_do(match: Match, folders: Sequence[Folder], root: Path) -> str:
    """What to do about an image that has no mask."""
    if not match.masks:
        drawn = _drawn(folders)
        if drawn:
            return f"{drawn.relative_to(root)} may hold its outline: {CONVERT}"
    total = len(match.masks) + len(match.problems)
    rule = f"masks named {match.text} pair {len(match.masks)} of {total} images; "
    return (
        f"{rule if match.text else ''}add or remove files, or say how they pair, such as {ADVICE}"
    )


def channels_of(match: Match) -> dict[Path, str]:
    """What to say of images that are channels of one case: c_0000, c_0001, ..."""
    cases: dict[tuple[Path, str], list[Path]] = {}
    for image in (*match.masks, *match.problems):
        if channel := re.fullmatch(r"(.+)_\d{4}", image.stem):
            cases.setdefault((image.parent, channel[1]), []).append(image)
    return {
        image: f"{some(each.name for each in sorted(files))} are channels of one image; store them"
        f" in one file, or choose one by --images '{{id}}_0000*' --masks '{{id}}*' with the folders"
        for files in cases.values()
        if len(files) > 1
        for image in files
    }


def _drawn(folders: Sequence[Folder]) -> Path | None:
    """The first file that may hold outlines of objects."""
    for folder in folders:
        for file in folder.strangers:
            named = file.stem.lower() not in ("readme", "classes", "license", "requirements")
            if file.suffix.lower() in DRAWN and named and file.name != "dataset.json":
                return file
    return None


def nothing_to_pair(root: Path, folders: Sequence[Folder]) -> UserError:
    """The error for a folder in which nothing can be paired."""
    found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
    drawn = _drawn(folders)
    more = f"; {drawn.relative_to(root)} may hold outlines: {CONVERT}" if drawn else ""
    below = sorted(path for path in root.rglob("*") if path.is_dir())
    empty = next((path for path in below if role_of(path.name) == "image"), None)
    if empty and not any(each.images for each in folders):
        return UserError(
            f"{empty}: no image in this folder; expected JPEG, PNG, TIFF, BMP, WebP or GIF"
            f" files{more}"
        )
    return UserError(
        f"{root}: expected the folders images and masks, or train, validation and test; found"
        f" {found}{more}; where images and masks have other places, say so, such as {ADVICE}"
    )
