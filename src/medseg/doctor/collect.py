"""Collect every file of a data set, paired where its name allows.

Nothing is refused here: a file that fits nowhere is reported as a problem of its pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from medseg.data.sources.catalog import Entry
from medseg.data.sources.folder import lists_of, locate, part_folders
from medseg.data.sources.listing import child, list_images
from medseg.data.sources.names import name_of
from medseg.data.sources.pairing import IMAGE_FOLDERS, MASK_FOLDERS, match, mispaired
from medseg.data.sources.splits import PARTS
from medseg.errors import UserError

WHOLE = "all"  # the only part of a data set that is not divided


@dataclass(frozen=True)
class Pair:
    """An image and its mask; if one of them is missing, `problem` says what is wrong."""

    part: str
    name: str
    image: Path | None
    mask: Path | None
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """A data set as it lies on disk.

    `split` is the name of the split, "as-is" for part folders, and "" if nothing divides it.
    """

    root: Path
    name: str
    split: str
    pairs: tuple[Pair, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that hold pairs, train first."""
        present = {pair.part for pair in self.pairs}
        return tuple(part for part in (WHOLE, *PARTS) if part in present)


def collect(
    data: str | Path, *, data_root: Path = Path("data"), split: str | None = None
) -> Source:
    """Collect all images and masks of a data set, in the order of parts and names.

    Without `split`, an undivided folder is one part, "all"; with it, only listed images count.
    Raises `UserError` only if there is no such folder, nothing in it that looks like a data set,
    or no such split.
    """
    root, entry = locate(data, data_root)
    name = entry.folder if entry else root.resolve().name
    parts = part_folders(root)
    if parts:
        if split:
            raise UserError(
                f"--split {split}: {root} is already divided ({', '.join(parts)}); omit --split"
            )
        pairs: list[Pair] = []
        for part, folder in parts.items():
            pairs += _pairs(folder, part)
        source = Source(root, name, "as-is", tuple(pairs))
    else:
        _require_image_folder(root)
        source = Source(root, name, "", tuple(_pairs(root, WHOLE)))
        source = _divide(source, entry, split) if split else source
    if not any(pair.image for pair in source.pairs):
        raise UserError(
            f"{root}: contains no images; expected JPEG, PNG, TIFF, BMP, WebP or GIF files"
        )
    return source


def _require_image_folder(root: Path) -> None:
    if child(root, IMAGE_FOLDERS) is None:
        found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
        raise UserError(
            f"{root}: expected the folders images and masks, or train, validation and test;"
            f" found {found}"
        )


def _pairs(folder: Path, part: str) -> list[Pair]:
    """The pairs of one part, then its masks without an image."""
    images, masks = child(folder, IMAGE_FOLDERS), child(folder, MASK_FOLDERS)
    image_files = list_images(images) if images else []
    mask_files = list_images(masks) if masks else []
    same_name: dict[str, list[str]] = {}
    for file in image_files:
        same_name.setdefault(name_of(file), []).append(file.name)
    pairs: list[Pair] = []
    used: set[Path] = set()
    for file, candidates in match(image_files, mask_files):
        used.update(candidates)
        others = ", ".join(name for name in same_name[name_of(file)] if name != file.name)
        mask, problem = None, ""
        if others:
            problem = f"{others} has the same name; names without extension must differ"
        elif len(candidates) == 1:
            mask = candidates[0]
        else:
            problem = mispaired(file, candidates, masks or folder / "masks")
        pairs.append(Pair(part, name_of(file), file, mask, problem))
    for mask in mask_files:
        if mask not in used:
            problem = f"no image for this mask in {images}"
            pairs.append(Pair(part, name_of(mask), None, mask, problem))
    return pairs


def _divide(source: Source, entry: Entry | None, split: str) -> Source:
    """Only the pairs that the lists of `split` name; a listed name must have an image."""
    names = {pair.name for pair in source.pairs if pair.image}
    lists, scheme, origin = lists_of(split, entry, sorted(names))
    pairs: list[Pair] = []
    for part in PARTS:
        listed = dict.fromkeys(lists.get(part, ()))
        pairs += [replace(pair, part=part) for pair in source.pairs if pair.name in listed]
        problem = f"listed in {part}.txt of {origin}, but there is no such image"
        pairs += [Pair(part, name, None, None, problem) for name in listed if name not in names]
    return Source(source.root, source.name, scheme, tuple(pairs))
