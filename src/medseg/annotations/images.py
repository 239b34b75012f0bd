"""The size of an image as it is seen, and how a mask drawn on its stored pixels is turned."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from medseg.annotations.shapes import Picture
from medseg.data.decode.source import header_size, open_source
from medseg.errors import UserError

ORIENTATION = 0x0112  # the EXIF tag
TURNED = 5  # from this orientation on, height and width change places
Size = tuple[int, int]


@dataclass(frozen=True)
class Seen:
    """(width, height) of an image as stored, and its EXIF orientation, 1 (upright) to 8."""

    stored: Size
    orientation: int

    @property
    def upright(self) -> Size:
        """(width, height) as it is shown, and as every reader of medseg gives it."""
        return self.stored[::-1] if self.orientation >= TURNED else self.stored


def look(path: Path) -> Seen:
    """What the header says; `UserError` for what is no image, or too large."""
    data = open_source(path).data
    width, height = header_size(data)
    if not width or not height:
        raise UserError(f"{path}: holds no image that can be read")
    return Seen((width, height), _orientation(data))


def _orientation(data: bytes) -> int:
    kinds = {b"\xff\xd8": JpegImageFile, b"\x89P": PngImageFile}
    opener = kinds.get(data[:2])
    if opener is None or (opener is PngImageFile and b"eXIf" not in data):
        return 1
    try:
        found = opener(io.BytesIO(data)).getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises many kinds for damaged blocks; the image itself may be fine
        return 1
    return found if found in range(1, 9) else 1


def drawn_on_stored(pictures: Sequence[Picture], seen: dict[Path, Seen]) -> set[Path]:
    """The images whose coordinates are those of the stored pixels, before the EXIF rotation.

    Tools show images turned. One that does not declares the size of the stored pixels wherever a
    quarter turn tells the two apart; then all its other sizes are of that kind too. Raises
    `UserError` for a size that is neither.
    """
    stored: set[Path] = set()
    upright = False
    for picture in pictures:
        found = seen[picture.image]
        if picture.size is None or (found.orientation == 1 and picture.size == found.stored):
            continue
        if picture.size not in (found.upright, found.stored):
            raise UserError(
                f"{picture.source}: declares {picture.size[0]}x{picture.size[1]} pixels, its image"
                f" {picture.image} has {found.upright[0]}x{found.upright[1]}; give the images that"
                " were annotated"
            )
        if found.upright != found.stored:
            if picture.size == found.stored:
                stored.add(picture.image)
            else:
                upright = True
    if stored and not upright:
        stored |= {
            picture.image
            for picture in pictures
            if seen[picture.image].orientation > 1 and picture.size == seen[picture.image].stored
        }
    return stored


def turn(mask: np.ndarray, orientation: int) -> np.ndarray:
    """A mask of stored pixels as the image is shown."""
    if orientation >= TURNED:
        mask = mask.T
    # after the exchange of rows and columns, what remains is a flip of one side or of both
    if orientation in (2, 3, 6, 7):
        mask = mask[:, ::-1]
    if orientation in (3, 4, 7, 8):
        mask = mask[::-1]
    return np.ascontiguousarray(mask)
