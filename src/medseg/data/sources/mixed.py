"""A folder of images and masks together: which of its files are the masks, by their names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from medseg.data.sources.affixes import is_cut
from medseg.data.sources.names import name_of
from medseg.data.sources.words import MASK_WORDS, OBSERVER_WORDS, OTHER_WORDS, words_of

LOSSY = (".jpg", ".jpeg", ".jfif", ".jpe")


def others_among(files: Sequence[Path]) -> list[Path]:
    """Overlays and the like of other files."""
    names = {name_of(file) for file in files}
    others = [file for file in files if OTHER_WORDS & set(words_of(file.stem))]
    return [file for file in others if _extends(name_of(file), names)]


def masks_by_format(files: Sequence[Path]) -> set[Path]:
    """Photographs as JPEG beside masks of the same names in a lossless format."""
    photos = {name_of(file) for file in files if file.suffix.lower() in LOSSY}
    masks = {file for file in files if file.suffix.lower() not in LOSSY}
    same = photos == {name_of(file) for file in masks}
    return masks if same and 2 * len(masks) == len(files) else set()


def masks_by_words(files: Sequence[Path]) -> set[Path]:
    """Files in whose names a word says that they are masks."""
    known = {*MASK_WORDS, *OBSERVER_WORDS}
    return {file for file in files if known & set(words_of(file.stem))}


def masks_by_others(files: Sequence[Path]) -> set[Path]:
    """Files whose name is that of another file and more, such as p1 beside 1."""
    names = {name_of(file) for file in files}
    return {file for file in files if _extends(name_of(file), names)}


def _extends(name: str, names: Collection[str]) -> bool:
    cuts = ((name[:at], name[at:]) for at in range(1, len(name)))
    return any((a in names or b in names) and is_cut(a, b) for a, b in cuts)
