"""Faults of single files, images above all."""

from __future__ import annotations

from pathlib import Path

from medseg.doctor.context import Context
from medseg.doctor.finding import Texts
from medseg.doctor.look import Look

DARK = 30  # of 255; 99 % of the pixels of a nearly black image are below it
ASPECT = 3.0  # longer side to shorter
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".webp": "WebP",
    ".gif": "GIF",
}


def unreadable(seen: Look, context: Context) -> Texts:
    """A file that cannot be decoded."""
    if seen.image_error:
        yield seen.pair.image, seen.image_error
    if seen.mask_error:
        yield seen.pair.mask, seen.mask_error


def unpaired(seen: Look, context: Context) -> Texts:
    """An image without its mask, a mask without its image, or several."""
    if seen.pair.problem:
        yield seen.pair.image or seen.pair.mask or Path(seen.pair.name), seen.pair.problem


def size_mismatch(seen: Look, context: Context) -> Texts:
    """An image and a mask of different sizes, however they are turned."""
    if (
        seen.image_size
        and seen.mask_size
        and seen.image_size != seen.mask_size
        and mask_turn(seen) == 1
    ):
        yield (
            seen.pair.mask,
            f"is {_size(seen.mask_size)} pixels, its image {_size(seen.image_size)}",
        )


def rotated(seen: Look, context: Context) -> Texts:
    """An EXIF orientation, which programs follow or do not."""
    for path, head, what in (
        (seen.pair.image, seen.image_head, "image"),
        (seen.pair.mask, seen.mask_head, "mask"),
    ):
        if head and head.orientation != 1:
            consequence = _consequence(seen) if what == "image" else ""
            yield (
                path,
                (
                    f"EXIF orientation {head.orientation}: programs disagree on whether this {what}"
                    f" is turned{consequence}"
                ),
            )


def _consequence(seen: Look) -> str:
    """What the orientation of an image means for a mask that has none."""
    if not (seen.image_size and seen.mask_size and seen.mask_head.orientation == 1):
        return ""
    if mask_turn(seen) != 1:
        return "; its mask is that of the unturned image"
    if seen.image_head.orientation < 5 or _square(seen):
        return "; sizes do not tell whether its mask is turned too"
    return ""


def mask_turn(seen: Look) -> int:
    """The EXIF orientation by which the mask must be turned to fit its image, 1 for none.

    The mask's own where that fits, the image's where the mask fits the unturned image only.
    """
    if not (seen.image_head and seen.mask_head and seen.image_size and seen.mask_size):
        return 1
    own, other = seen.mask_head.orientation, seen.image_head.orientation
    if seen.mask_head.kind == "TIFF":  # OpenCV turns these even when asked for the bare values
        own = 1
    turned = seen.mask_size[::-1] if own > 4 else seen.mask_size
    if own != 1 and turned == seen.image_size:
        return own
    fits_unturned = seen.mask_size == seen.image_size[::-1] != seen.image_size
    return other if other > 4 and fits_unturned else 1


def dark(seen: Look, context: Context) -> Texts:
    """An image that is nearly black."""
    if seen.colours and seen.colours.bright < DARK:
        yield (
            seen.pair.image,
            f"99 % of the pixels are no brighter than {seen.colours.bright} of 255",
        )


def aspect(seen: Look, context: Context) -> Texts:
    """A side much longer than the other."""
    if seen.image_size and max(seen.image_size) > ASPECT * min(seen.image_size):
        yield (
            seen.pair.image,
            (
                f"is {_size(seen.image_size)} pixels,"
                f" {max(seen.image_size) / min(seen.image_size):.1f} to 1"
            ),
        )


def channels(seen: Look, context: Context) -> Texts:
    """Another number of channels than most images of the set have."""
    if seen.image_head and seen.image_head.channels not in (0, context.channels):
        names = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "four channels"}
        yield (
            seen.pair.image,
            (
                f"{names[seen.image_head.channels]}, where most images of the set are"
                f" {names[context.channels]}"
            ),
        )


def mislabelled(seen: Look, context: Context) -> Texts:
    """An extension of another format than the file's own."""
    for path, head in ((seen.pair.image, seen.image_head), (seen.pair.mask, seen.mask_head)):
        if head and head.kind != SUFFIXES[path.suffix.lower()]:
            yield path, f"is a {head.kind} file"


def _square(seen: Look) -> bool:
    return seen.image_size[0] == seen.image_size[1]


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
