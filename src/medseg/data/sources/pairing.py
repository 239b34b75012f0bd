"""Which mask belongs to which image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from medseg.data.sample import Item
from medseg.data.sources.listing import child, list_images
from medseg.data.sources.names import name_of
from medseg.errors import UserError

IMAGE_FOLDERS = ("images", "image", "original")
MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "annotations",
    "ground truth",
    "ground_truth",
    "groundtruth",
)


def pair(root: Path) -> tuple[list[Item], list[str]]:
    """The images of a folder with an images and a masks folder, each with its one mask.

    Notes for the user come with them.
    """
    images, masks = child(root, IMAGE_FOLDERS), child(root, MASK_FOLDERS)
    if images is None or masks is None:
        found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
        raise UserError(
            f"{root}: expected the folders images and masks, or train, validation and test; found"
            f" {found}"
        )
    files, mask_files = _images_of(images), list_images(masks)
    items = []
    for file, candidates in match(files, mask_files):
        if len(candidates) != 1:
            raise UserError(f"{file}: {mispaired(file, candidates, masks)}")
        items.append(Item(name_of(file), file, (candidates[0],)))
    alone = len(mask_files) - len(items)
    return items, [f"{masks}: {alone} masks belong to no image and are left out"] if alone else []


def _images_of(folder: Path) -> list[Path]:
    """The images of a folder; `UserError` where there is none, or two have the same name."""
    files = list_images(folder)
    if not files:
        raise UserError(
            f"{folder}: no image in this folder; expected JPEG, PNG, TIFF, BMP, WebP or GIF files"
        )
    by_stem: dict[str, Path] = {}
    for file in files:
        if name_of(file) in by_stem:
            raise UserError(
                f"{file}: {by_stem[name_of(file)].name} has the same name; names without extension"
                " must differ"
            )
        by_stem[name_of(file)] = file
    return files


def match(images: Iterable[Path], masks: Iterable[Path]) -> list[tuple[Path, list[Path]]]:
    """Each image with the masks whose names fit it: exactly one where all is well."""
    images = list(images)
    stems = {name_of(file) for file in images}
    by_stem: dict[str, list[Path]] = {}
    for mask in masks:
        by_stem.setdefault(name_of(mask), []).append(mask)
    pairs = []
    for file in images:
        fitting: list[Path] = []
        for stem in _mask_stems(name_of(file)):
            if stem == name_of(file) or stem not in stems:  # else the mask of another image
                fitting += by_stem.get(stem, [])
        pairs.append((file, fitting))
    return pairs


def mispaired(image: Path, candidates: Sequence[Path], folder: Path) -> str:
    """What to say of an image with no mask in `folder`, or with several."""
    what = "no mask"
    if candidates:
        what = "several masks: " + ", ".join(mask.name for mask in candidates)
    return (
        f"{what} in {folder}; expected exactly one named {image.stem}, {image.stem}_mask,"
        f" {image.stem}_segmentation or p{image.stem}"
    )


def size_mismatch(item: Item, image: tuple[int, ...], mask: tuple[int, ...]) -> UserError:
    """What to say when an image and its mask have different (height, width)."""
    if tuple(mask) == tuple(image)[::-1]:
        remedy = ": the mask is that of the image before its EXIF rotation, turn it"
    else:
        remedy = "; give the mask of this very image"
    return UserError(
        f"{item.mask}: is {mask[1]}x{mask[0]} pixels, its image {item.image.name}"
        f" {image[1]}x{image[0]}{remedy}"
    )


def _mask_stems(stem: str) -> tuple[str, ...]:
    return stem, f"{stem}_mask", f"{stem}_segmentation", f"p{stem}"
