"""Inspect one pair: each file is read and decoded once, and only a few numbers are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from medseg.data.decode import (
    UPRIGHT,
    DecodeError,
    Image,
    MaskValueError,
    StoredMask,
    file_format,
    read_image,
    read_stored_mask,
)
from medseg.data.digests import pixel_digest
from medseg.data.masks import (
    FileFacts,
    Layout,
    MaskCoding,
    Plane,
    choose_layout,
    decode_mask,
    measure,
    misread,
    plane_of,
    read_values,
    values_of,
)
from medseg.doctor.collect import Pair
from medseg.doctor.mask_stats import MaskStats, measure_mask
from medseg.errors import UserError


@dataclass(frozen=True)
class FileHeader:
    """What a file says before its pixels.

    `format` is the real one, whatever the extension; `channels` counts alpha; `orientation` is the
    EXIF orientation, 1 (upright) to 8.
    """

    format: str
    lossy: bool
    channels: int
    orientation: int
    pages: int


@dataclass(frozen=True)
class ImageStats:
    """An image in numbers.

    `used` is the highest value that the file stores, and the one that stands for white.
    `digest` is that of its pixels; 99 % of them are no brighter than `brightness` (0 to 255).
    `sums` and `squares` are the sums of the values (0 to 1) and of their squares, by channel.
    """

    digest: str
    brightness: float
    sums: tuple[float, ...]
    squares: tuple[float, ...]
    used: tuple[int, int] = (255, 255)


@dataclass(frozen=True)
class Inspection:
    """A pair and what was found in its files.

    Sizes are (height, width). None stands for a file that is missing or cannot be read.
    """

    pair: Pair
    image_error: str = ""
    mask_error: str = ""
    mask_values_error: str = ""
    image_header: FileHeader | None = None
    mask_header: FileHeader | None = None
    image_size: tuple[int, int] | None = None
    mask_size: tuple[int, int] | None = None
    image_stats: ImageStats | None = None
    mask_stats: MaskStats | None = None
    mask_facts: FileFacts | None = None


def inspect_pair(pair: Pair, *, bit_depth: int = 16) -> Inspection:
    """Read the files of a pair. A bad file raises nothing: its error is part of the result."""
    inspection = Inspection(pair)
    if pair.image:
        inspection = _inspect_image(inspection, pair.image, bit_depth)
    if pair.mask:
        inspection = _inspect_mask(inspection, pair.mask)
    for path in pair.further:
        inspection = inspection if inspection.mask_error else _with_further(inspection, path)
    return inspection


def _with_further(inspection: Inspection, path: Path) -> Inspection:
    """Whether one more mask of the image can be united with the first; `remeasure` does it."""
    try:
        size = read_stored_mask(path, page=inspection.pair.page or 0).samples.shape[:2]
    except DecodeError as error:
        return replace(inspection, mask_error=f"{path.name}: {_without_path(error, path)}")
    if inspection.mask_size in (None, size):
        return inspection
    text = f"{path.name} is {size[1]}x{size[0]} pixels; the masks of one image have one size"
    return replace(inspection, mask_error=text)


def united_values(pair: Pair, layout: Layout) -> np.ndarray:
    """Integers [H, W]: the values of the masks of an image, the largest of each pixel."""
    values = [read_values(path, layout, pair.page or 0) for path in pair.masks]
    return np.maximum.reduce(values)


def _inspect_image(inspection: Inspection, path: Path, bit_depth: int) -> Inspection:
    try:
        image = read_image(path, bit_depth=bit_depth, page=inspection.pair.page or 0)
    except DecodeError as error:
        return replace(inspection, image_error=_without_path(error, path))
    pixels = image.pixels
    return replace(
        inspection,
        image_header=_header(path, image),
        image_size=pixels.shape[:2],
        image_stats=replace(measure_image(pixels), used=image.used),
    )


def _inspect_mask(inspection: Inspection, path: Path) -> Inspection:
    """The mask by itself; `remeasure` follows when the coding of its set is known."""
    try:
        stored = read_stored_mask(path, page=inspection.pair.page or 0)
        inspection = replace(inspection, mask_header=_header(path, stored))
        facts = measure(stored, path)
    except MaskValueError as error:
        return replace(
            inspection,
            mask_size=stored.samples.shape[:2],
            mask_values_error=_without_path(error, path),
        )
    except DecodeError as error:
        return replace(inspection, mask_error=_without_path(error, path))
    inspection = replace(inspection, mask_size=stored.samples.shape[:2], mask_facts=facts)
    try:
        values = in_a_byte(values_of(stored, choose_layout([facts]), str(path)))
    except UserError as error:  # several colours: what they mean is for the set to say
        return replace(inspection, mask_values_error=_without_path(error, path))
    return replace(inspection, mask_stats=measure_mask(values, lossy=stored.lossy))


def remeasure(inspection: Inspection, coding: MaskCoding | None) -> Inspection:
    """The inspection with its mask measured by the coding of the set, where it fits that.

    A mask that does not keeps the measurements of what it looks like by itself.
    """
    facts = inspection.mask_facts
    if facts is None or coding is None:
        return inspection
    if facts.form == "colour" and coding.layout.plane in ("grey", "index"):
        text = inspection.mask_values_error or "a mask in colour, while the others hold grey values"
        return replace(inspection, mask_stats=None, mask_values_error=text)
    if coding.layout.plane != "colours":
        plane = Plane(facts.path, plane_of(facts, coding.layout), facts.lossy)
        stats = inspection.mask_stats
        alike = stats and _alike(stats, coding, facts) and not inspection.pair.further
        if misread(plane, coding) or alike or inspection.mask_error:
            return inspection
    try:
        values = united_values(inspection.pair, coding.layout)
        classes = decode_mask(values, coding, name=str(inspection.pair.mask))
    except UserError as error:
        text = _without_path(error, inspection.pair.mask)
        return replace(inspection, mask_stats=None, mask_values_error=text)
    if coding.layout.plane == "colours" or (len(values) and int(values.max()) > 255):
        coding = MaskCoding("index", coding.classes, "", tuple((i, i) for i in range(256)))
        values = classes
    stats = measure_mask(in_a_byte(values), lossy=facts.lossy, coding=coding)
    return replace(inspection, mask_stats=stats, mask_values_error="")


def in_a_byte(values: np.ndarray) -> np.ndarray:
    """uint8 [H, W]: values above 255 become 255, for measurements by shape."""
    return values if values.dtype == np.uint8 else np.minimum(values, 255).astype(np.uint8)


def _alike(stats: MaskStats, coding: MaskCoding, facts: FileFacts) -> bool:
    """Whether the measurements by the mask's own looks are those by the coding of the set."""
    plain = coding.kind in ("binary-255", "binary-01") and coding.kind == stats.kind
    return plain and coding.layout == choose_layout([facts])


def _header(path: Path, read: Image | StoredMask) -> FileHeader:
    with path.open("rb") as file:
        start = file.read(16)
    return FileHeader(file_format(start), read.lossy, read.channels, read.orientation, read.pages)


def measure_image(pixels: np.ndarray) -> ImageStats:
    """Measure the pixels of an image, uint8 [H, W, 3] RGB."""
    mean, deviation = cv2.meanStdDev(pixels)
    mean, deviation = mean.ravel() / 255, deviation.ravel() / 255
    count = pixels.shape[0] * pixels.shape[1]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    histogram = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()
    return ImageStats(
        digest=pixel_digest(pixels),
        brightness=int(np.searchsorted(histogram.cumsum(), 0.99 * count)),
        sums=tuple(map(float, count * mean)),
        squares=tuple(map(float, count * (mean**2 + deviation**2))),
    )


def mask_rotation(inspection: Inspection) -> int:
    """The EXIF orientation that must be applied to the mask so that it fits its image; 1 for none.

    A tag of its own has been applied; without one it is the image's, if the mask fits only the
    unrotated image.
    """
    image_size, mask_size = inspection.image_size, inspection.mask_size
    if not (inspection.image_header and inspection.mask_header and image_size and mask_size):
        return UPRIGHT
    own, other = inspection.mask_header.orientation, inspection.image_header.orientation
    fits_unrotated = mask_size == image_size[::-1] != image_size
    return other if own == UPRIGHT and other > 4 and fits_unrotated else UPRIGHT


def _without_path(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
