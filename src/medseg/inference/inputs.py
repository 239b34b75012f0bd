"""The images that `medseg predict` is to predict, and the names of their results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from loguru import logger

from medseg.data.sources.listing import list_images
from medseg.data.sources.names import name_of
from medseg.data.sources.words import role_of
from medseg.errors import UserError

OUTPUTS = {"mask": "masks", "overlay": "overlays", "probability": "probabilities"}
MARKS_OF_RESULTS = ("last.pt", "best.pt", "summary.json")  # a run, an evaluation


def collect(sources: Sequence[str], out: Path | None = None) -> dict[Path, Path]:
    """Each image file and its path relative to the folder it was found in, subfolders included.

    Subfolders that hold no images to predict are left out, and named in the log: hidden ones, those
    of masks, and results, such as those in `out`; masks beside their images too. A folder of
    masks that is given itself is taken. Raises `UserError` for a source without an image.
    """
    files: dict[Path, Path] = {}
    left_out: dict[str, str] = {}
    for source in map(Path, sources):
        if source.is_dir():
            found = list(_images_below(source, out, left_out))
            if not found:
                raise UserError(
                    f"{source}: no image in this folder; expected JPEG, PNG, TIFF, BMP, WebP or GIF"
                    f" files{_said(left_out, '; left out: ')}"
                )
            files |= {path: path.relative_to(source) for path in found}
        elif source.exists():
            files[source] = Path(source.name)
        else:
            raise UserError(f"{source}: no such image or folder")
    if left_out:
        logger.info(f"left out of the input{_said(left_out, ': ')}")
    return files


def output_names(files: dict[Path, Path]) -> dict[Path, str]:
    """A name for each image's results.

    It is the relative path without extension, or with it where two would be the same.
    """
    stems = Counter(str(relative.with_suffix("")).lower() for relative in files.values())
    names: dict[Path, str] = {}
    used: set[str] = set()
    for path, relative in files.items():
        name = str(relative.with_suffix(""))
        if stems[name.lower()] > 1:
            name = str(relative.with_suffix("")) + "_" + relative.suffix.lstrip(".").lower()
        base, count = name, 1
        while name.lower() in used:  # the same name from two folders, or in two spellings
            count += 1
            name = f"{base}-{count}"
        used.add(name.lower())
        names[path] = name
    return names


def _images_below(source: Path, out: Path | None, left_out: dict[str, str]) -> Iterator[Path]:
    """The images of a folder and its subfolders; what is left out, and why, goes to `left_out`."""
    seen: set[str] = set()  # links are followed, but not in circles
    for place, folders, _ in os.walk(source, followlinks=True):
        if os.path.realpath(place) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        kept = []
        for name in sorted(folders):
            reason = _reason(Path(place, name), out)
            if reason:
                left_out[os.path.join(place, name)] = reason
            else:
                kept.append(name)
        folders[:] = kept
        images = list_images(Path(place))
        masks = _masks_among(images)
        if masks:
            left_out[f"{len(masks)} files such as {masks[0]}"] = "masks"
        yield from (image for image in images if image not in masks)


def _reason(folder: Path, out: Path | None) -> str:
    """Why a subfolder holds no images to predict; empty where it may."""
    name = folder.name.lower()
    if name.startswith(".") or name == "__macosx":
        return "hidden"
    if out is not None and folder.resolve() == out.resolve():
        return "results of --out"
    if any((folder / mark).exists() for mark in MARKS_OF_RESULTS):
        return "results"
    siblings = {path.name for path in folder.parent.iterdir()}
    ours = folder.name in OUTPUTS.values() and len(siblings & set(OUTPUTS.values())) > 1
    if ours or name in (OUTPUTS["overlay"], OUTPUTS["probability"]):
        return "results of a prediction"
    return "masks" if role_of(folder.name) == "mask" else ""


def _masks_among(images: Sequence[Path]) -> list[Path]:
    """The files of a folder that are the masks of others in it, by their names."""
    by_name = {name_of(path): path for path in images}
    endings = ("_mask", "_segmentation")
    masks = [by_name[f"{n}{e}"] for n in by_name for e in endings if f"{n}{e}" in by_name]
    if not masks:  # 1 and p1 are an image and its mask where that holds for all
        others = [name for name in by_name if f"p{name}" in by_name]
        masks = [by_name[f"p{name}"] for name in others if 2 * len(others) == len(by_name)]
    return masks


def _said(left_out: dict[str, str], before: str) -> str:
    """The first few of what is left out, with the reasons."""
    first = [f"{what} ({reason})" for what, reason in list(left_out.items())[:5]]
    more = f", and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    return f"{before}{', '.join(first)}{more}" if first else ""
