"""One image on disk, and a data set as parts of such images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medseg.data.sources.description import Description
from medseg.errors import UserError


@dataclass(frozen=True)
class Item:
    """One image with its mask; `group` is its video sequence or patient, if known.

    Several `masks` are united: one for each lesion of the image. `page` counts from 0 in files that
    hold several pictures, image and masks alike.
    """

    name: str
    image: Path
    masks: tuple[Path, ...]
    group: str | None = None
    page: int = 0

    @property
    def files(self) -> tuple[Path, ...]:
        """The image and its masks."""
        return (self.image, *self.masks)

    @property
    def mask(self) -> Path:
        """The first mask, for messages."""
        return self.masks[0]


@dataclass(frozen=True)
class Dataset:
    """A data set divided into parts.

    `parts` by name ("train", "validation", "test"), the scheme that made them, notes for the user,
    and what its owner wrote in dataset.yaml.
    """

    name: str
    split: str
    parts: dict[str, tuple[Item, ...]]
    notes: tuple[str, ...] = ()
    description: Description = field(default_factory=Description)

    @property
    def items(self) -> tuple[Item, ...]:
        """The images of all parts, part by part."""
        return tuple(item for items in self.parts.values() for item in items)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, background first; empty where nobody wrote them down."""
        return self.description.classes


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
