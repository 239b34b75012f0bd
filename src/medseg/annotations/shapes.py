"""What every format is read into: pictures with labelled shapes, or with a map of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Part = tuple[np.ndarray, ...]  # an outline, then holes in it: each float64 [N, 2] of x and y


@dataclass(frozen=True)
class Bitmap:
    """Pixels bool [h, w] whose first one lies at column `left` and row `top` of the image."""

    pixels: np.ndarray
    left: int = 0
    top: int = 0


@dataclass(frozen=True)
class Shape:
    """One labelled object: the union of `parts`, or a `bitmap`, decoded when it is drawn.

    `where` names it in messages; shapes of a higher `order` lie above the others, and of the same
    order later ones above earlier ones. A `crowd` is a region of objects that were not separated.
    """

    label: str
    where: str
    parts: tuple[Part, ...] = ()
    bitmap: Callable[[], Bitmap] | None = None
    order: float = 0.0
    crowd: bool = False


@dataclass(frozen=True)
class Picture:
    """One image and what was drawn on it.

    `source` is the file that says so and `size` the (width, height) that it declares, if any;
    coordinates that are `relative` count from 0 to 1 along each side.
    `classes` gives, where the format has maps instead of shapes, uint8 [H, W] positions in
    `Annotations.classes`, 255 for ignored pixels. `left_out` counts what covers no area, by kind.
    """

    image: Path
    source: Path
    shapes: tuple[Shape, ...] = ()
    size: tuple[int, int] | None = None
    part: str = ""
    relative: bool = False
    classes: Callable[[], np.ndarray] | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    name: str = ""

    @property
    def stem(self) -> str:
        """The name that it gets: `name`, else that of its file."""
        return self.name or self.image.stem


@dataclass(frozen=True)
class Annotations:
    """All that a reader found: `classes` in the order that the format declares, if it does.

    `missing` are images that are listed and not on disk. Where `centres`, whole numbers are centres
    of pixels, else corners. `notes` are for the user.
    """

    pictures: tuple[Picture, ...]
    classes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    centres: bool = False
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> set[str]:
        """The labels of all shapes."""
        return {shape.label for picture in self.pictures for shape in picture.shapes}


def shapes_of(
    entries: Iterable[Any], where: str, read: Callable[[Any, str], Shape | str]
) -> tuple[tuple[Shape, ...], Counter[str]]:
    """The shapes that `read` makes of the objects of a list, and its counts of those without area.

    Of these it gives the kind instead of a shape. It is also told where an object stands, for
    messages: `where` and its place in the list.
    """
    found = [read(entry, f"{where} {at}") for at, entry in enumerate(entries)]
    shapes = tuple(each for each in found if isinstance(each, Shape))
    return shapes, Counter(each for each in found if isinstance(each, str))
