"""The size of an image as stored and as it is seen, and which of them annotations are drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.annotations.shapes import Picture
from medseg.data.decode.source import open_source
from medseg.data.decode.stored import size_and_orientation
from medseg.errors import UserError

TURNED = 5  # from this orientation on, height and width change places
Size = tuple[int, int]


@dataclass(frozen=True)
class Seen:
    """(width, height) of an image as stored, and its orientation, 1 (upright) to 8."""

    stored: Size
    orientation: int

    @property
    def upright(self) -> Size:
        """(width, height) as it is shown, and as every reader of medseg gives it."""
        return self.stored[::-1] if self.orientation >= TURNED else self.stored


def look(path: Path) -> Seen:
    """What the header says; `UserError` for what is no image, or too large."""
    width, height, orientation = size_and_orientation(open_source(path))
    return Seen((width, height), orientation)


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
