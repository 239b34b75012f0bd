"""Faults of files and images: reading, pairing, size, rotation, brightness, channels, file type.

Each function yields the file and a description of the fault, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medseg.data.decode import IMAGE_SUFFIXES, small_range
from medseg.doctor.context import Context
from medseg.doctor.inspection import UPRIGHT, FileHeader, Inspection, mask_rotation

DARK = 30  # of 255; 99 % of the pixels of a nearly black image are below it
MAX_ASPECT = 3.0  # longer side to shorter
CHANNEL_NAMES = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "four channels"}


def unreadable(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A file that cannot be decoded."""
    if inspection.image_error:
        yield inspection.pair.image, inspection.image_error
    if inspection.mask_error:
        yield inspection.pair.mask, inspection.mask_error


def unpaired(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """An image without exactly one mask, or a mask without an image."""
    pair = inspection.pair
    if pair.problem:
        yield pair.image or pair.mask or Path(pair.name), pair.problem


def size_mismatch(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A mask whose size is not that of its image, and that no rotation explains."""
    image_size, mask_size = inspection.image_size, inspection.mask_size
    if not image_size or not mask_size or image_size == mask_size:
        return
    if mask_rotation(inspection) == UPRIGHT:
        text = f"is {_size(mask_size)} pixels, but its image is {_size(image_size)}"
        yield inspection.pair.mask, text


def rotated(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A file whose EXIF tag asks to show it rotated or mirrored."""
    for path, header, name in _files(inspection):
        if header and header.orientation != UPRIGHT:
            note = _mask_rotation_note(inspection) if name == "image" else ""
            yield (
                path,
                f"EXIF orientation {header.orientation}: programs disagree on whether to rotate"
                f" this {name}{note}",
            )


def _mask_rotation_note(inspection: Inspection) -> str:
    """What is known about the mask of a rotated image."""
    image_size = inspection.image_size
    if not image_size or not inspection.mask_size:
        return ""
    if inspection.mask_header.orientation != UPRIGHT:
        return ""
    if mask_rotation(inspection) != UPRIGHT:
        return "; its mask fits the unrotated image"
    keeps_size = inspection.image_header.orientation < 5 or image_size[0] == image_size[1]
    return "; the sizes do not tell whether its mask is rotated too" if keeps_size else ""


def dark(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """An image that is nearly black."""
    stats = inspection.image_stats
    if stats and stats.brightness < DARK:
        text = f"99 % of the pixels are no brighter than {stats.brightness} of 255"
        if narrow := small_range(stats.used):
            text += f"; the file holds {narrow}"
        yield inspection.pair.image, text


def extreme_aspect(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """An image with one side more than three times as long as the other."""
    size = inspection.image_size
    if size and max(size) > MAX_ASPECT * min(size):
        ratio = max(size) / min(size)
        yield inspection.pair.image, f"is {_size(size)} pixels, {ratio:.1f} to 1"


def mixed_channels(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """An image with other channels than most images of the data set."""
    header = inspection.image_header
    if header and header.channels not in (0, context.channels):
        this, most = CHANNEL_NAMES[header.channels], CHANNEL_NAMES[context.channels]
        yield inspection.pair.image, f"{this}, but most images of the data set are {most}"


def mislabelled(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A file whose extension names another format than that of its content."""
    for path, header, _ in _files(inspection):
        if header and header.format != IMAGE_SUFFIXES[path.suffix.lower()]:
            yield path, f"is a {header.format} file"


def several_pages(inspection: Inspection, context: Context) -> Iterator[tuple[Path, str]]:
    """A file that holds several pictures, of which the first is checked and read."""
    if inspection.pair.page is not None or inspection.pair.problem:
        return
    for path, header, _ in _files(inspection):
        if header and header.pages > 1:
            yield path, f"holds {header.pages} pages: the first is used, --pages all reads each"


def _files(inspection: Inspection) -> tuple[tuple[Path | None, FileHeader | None, str], ...]:
    pair = inspection.pair
    return (
        (pair.image, inspection.image_header, "image"),
        (pair.mask, inspection.mask_header, "mask"),
    )


def _size(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width}x{height}"
