"""Every file of a data set, paired where its name allows: here nothing is refused, what does not
fit is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from medseg.data.sources.catalog import Entry
from medseg.data.sources.folder import lists_of, locate, part_folders
from medseg.data.sources.listing import child, list_images
from medseg.data.sources.pairing import IMAGE_FOLDERS, MASK_FOLDERS, match, mispaired
from medseg.data.sources.splits import PARTS
from medseg.errors import UserError

WHOLE = "all"  # the one part of a set that is not divided


@dataclass(frozen=True)
class Pair:
    """An image and its mask; where one of them is missing, `problem` says what is wrong."""

    part: str
    name: str
    image: Path | None
    mask: Path | None
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """A data set as it lies on disk: `split` is the scheme, "as-is" for part folders, "" where
    nothing divides it.
    """

    root: Path
    name: str
    split: str
    pairs: tuple[Pair, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that occur, in order."""
        present = {pair.part for pair in self.pairs}
        return tuple(part for part in (WHOLE, *PARTS) if part in present)


def collect(
    data: str | Path, *, data_root: Path = Path("data"), split: str | None = None
) -> Source:
    """All images and masks of a data set, in the order of parts and names.

    Without `split` an undivided folder is one part, "all"; with it, only listed images count.
    Raises `UserError` only where there is no such folder, nothing in it that looks like a data set,
    or no such split.
    """
    root, entry = locate(data, data_root)
    name = entry.folder if entry else root.resolve().name
    parts = part_folders(root)
    if parts:
        if split:
            raise UserError(
                f"--split {split}: {root} is divided already ({', '.join(parts)}); leave"
                " --split out"
            )
        pairs = [pair for part, folder in parts.items() for pair in _pairs(folder, part)]
        source = Source(root, name, "as-is", tuple(pairs))
    else:
        if child(root, IMAGE_FOLDERS) is None:
            found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
            raise UserError(
                f"{root}: expected the folders images and masks, or train, validation and test;"
                f" found {found}"
            )
        source = Source(root, name, "", tuple(_pairs(root, WHOLE)))
        source = _divided(source, entry, split) if split else source
    if not any(pair.image for pair in source.pairs):
        raise UserError(f"{root}: no image in it; expected JPEG, PNG, TIFF, BMP, WebP or GIF files")
    return source


def _pairs(folder: Path, part: str) -> list[Pair]:
    images, masks = child(folder, IMAGE_FOLDERS), child(folder, MASK_FOLDERS)
    files, mask_files = list_images(images) if images else [], list_images(masks) if masks else []
    same: dict[str, list[str]] = {}
    for file in files:
        same.setdefault(file.stem, []).append(file.name)
    pairs, used = [], set()
    for file, candidates in match(files, mask_files):
        used.update(candidates)
        if len(same[file.stem]) > 1:
            others = ", ".join(name for name in same[file.stem] if name != file.name)
            pairs.append(
                Pair(
                    part,
                    file.stem,
                    file,
                    None,
                    f"{others} has the same name; names without extension must differ",
                )
            )
        elif len(candidates) == 1:
            pairs.append(Pair(part, file.stem, file, candidates[0]))
        else:
            pairs.append(
                Pair(
                    part,
                    file.stem,
                    file,
                    None,
                    mispaired(file, candidates, masks or folder / "masks"),
                )
            )
    return pairs + [
        Pair(part, mask.stem, None, mask, f"no image for this mask in {images}")
        for mask in mask_files
        if mask not in used
    ]


def _divided(source: Source, entry: Entry | None, split: str) -> Source:
    """Only what the lists of `split` name; a listed name without image is told."""
    names = {pair.name for pair in source.pairs if pair.image}
    lists, scheme, where = lists_of(split, entry, sorted(names))
    pairs: list[Pair] = []
    for part in PARTS:
        listed = set(lists.get(part, ()))
        pairs += [replace(pair, part=part) for pair in source.pairs if pair.name in listed]
        pairs += [
            Pair(part, name, None, None, f"listed in {part}.txt of {where}, and no such image here")
            for name in lists.get(part, ())
            if name not in names
        ]
    return Source(source.root, source.name, scheme, tuple(pairs))
