"""Files to arrays: images as uint8 RGB or grey, masks as the samples they store.

A reader is a module with SUFFIXES (each with the format it promises), `recognises` and
`read_image`, and a line in `READERS`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from medseg.data.decode import raster
from medseg.data.decode.headers import UPRIGHT, file_format, may_hold_pages
from medseg.data.decode.image import Image, Spacing, small_range
from medseg.data.decode.source import (
    DecodeError,
    MaskValueError,
    open_source,
    read_start,
    set_max_pixels,
)
from medseg.data.decode.stored import StoredMask, count_pages, read_stored
from medseg.data.decode.turn import upright

__all__ = [
    "IMAGE_SUFFIXES",
    "READERS",
    "UPRIGHT",
    "DecodeError",
    "Image",
    "MaskValueError",
    "Spacing",
    "StoredMask",
    "file_format",
    "page_count",
    "read_image",
    "read_stored_mask",
    "set_max_pixels",
    "small_range",
    "upright",
]

READERS: dict[str, ModuleType] = {"raster": raster}  # asked in this order
IMAGE_SUFFIXES: dict[str, str] = {  # and the format each one promises
    suffix: file_format
    for reader in READERS.values()
    for suffix, file_format in reader.SUFFIXES.items()
}


def read_image(
    source: Path | str | bytes, *, channels: int = 3, bit_depth: int = 16, page: int = 0
) -> Image:
    """An image file, or its bytes, as uint8 [H, W, 3] RGB, or [H, W, 1] grey for one channel.

    EXIF orientation is applied, alpha dropped. Values of 16-bit files are scaled from
    0..2**bit_depth - 1, other integers from the range of their type, floats from 0..1. Pages count
    from 0. Raises `DecodeError` naming the file.
    """
    opened = open_source(source)
    reader = next(each for each in READERS.values() if each.recognises(opened))
    return reader.read_image(opened, channels=channels, bit_depth=bit_depth, page=page)


def page_count(source: Path | str | bytes) -> int:
    """How many pictures a file holds: pages of a TIFF, frames of a GIF, WebP or PNG.

    Of most files only the beginning is read. Raises `DecodeError` naming the file.
    """
    if not isinstance(source, bytes) and not may_hold_pages(read_start(Path(source))):
        return 1
    return count_pages(open_source(source))


def read_stored_mask(source: Path | str | bytes, *, page: int = 0) -> StoredMask:
    """The samples of a picture or .npy array exactly as stored, but upright: see `StoredMask`.

    Raises `DecodeError` naming the file.
    """
    return read_stored(open_source(source), page)
