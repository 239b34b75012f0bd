"""LabelMe: one JSON file per image, with shapes. github.com/wkentaro/labelme.

The picture that a file may embed as imageData is not used: the image itself is.
"""

from __future__ import annotations

import base64
import binascii
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medseg.annotations.formats.bitmaps import png_mask
from medseg.annotations.formats.options import Reading
from medseg.annotations.raster import ellipse, rectangle
from medseg.annotations.shapes import Annotations, Bitmap, Picture, Shape, shapes_of
from medseg.annotations.tree import Tree, peek_json, read_json, read_text
from medseg.annotations.values import listing, mapping, points, size, text
from medseg.errors import UserError

ABOUT = "LabelMe JSON"
WITHOUT_AREA = ("line", "linestrip", "point", "points")
POLYGONS = ("polygon", "oriented_rectangle", "")


def recognises(tree: Tree) -> bool:
    """Whether one of the first JSON files has shapes and an image path."""
    return any(_is_labelme(peek_json(path)) for path in tree.having(".json")[:5])


def _is_labelme(document: Any) -> bool:
    return isinstance(document, dict) and "shapes" in document and "imagePath" in document


def read(tree: Tree, reading: Reading) -> Annotations:
    """A picture per file; labels.txt, where there is one, gives the order of the classes."""
    pictures: list[Picture] = []
    missing: list[str] = []
    for path in tree.having(".json"):
        document = read_json(path)
        if not _is_labelme(document):
            continue
        named = str(document["imagePath"] or path.stem)
        # a data set that was renamed as a whole keeps its old names in imagePath
        image = tree.image(named, path) or tree.image(path.stem, path)
        if image is None:
            missing.append(f"{named} of {path.name}")
            continue
        pictures.append(_picture(document, path, image, tree.part_of(image)))
    return Annotations(tuple(pictures), _order(tree), tuple(missing))


def _order(tree: Tree) -> tuple[str, ...]:
    files = tree.named("labels.txt")
    if len(files) != 1:
        return ()
    lines = read_text(files[0]).splitlines()
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _picture(document: dict[str, Any], path: Path, image: Path, part: str) -> Picture:
    entries = listing(document["shapes"], f"{path}: shapes")
    shapes, left_out = shapes_of(entries, f"{path}: shape", _shape)
    declared = size(document.get("imageWidth"), document.get("imageHeight"), str(path))
    return Picture(image, path, shapes, declared, part, left_out=left_out)


def _shape(entry: Any, where: str) -> Shape | str:
    kind = str(mapping(entry, where).get("shape_type") or "")
    if kind in WITHOUT_AREA:
        return kind
    label = text(entry.get("label"), f"{where}: label")
    corners = points(entry.get("points"), f"{where}: points")
    if kind in POLYGONS:
        return Shape(label, where, ((corners,),))
    if len(corners) != 2:
        raise UserError(f"{where}: a {kind} with {len(corners)} points, expected 2")
    (x, y), (x2, y2) = corners.tolist()
    if kind == "rectangle":
        return Shape(label, where, ((rectangle(x, y, x2, y2),),))
    if kind == "circle":
        radius = float(np.hypot(x2 - x, y2 - y))
        return Shape(label, where, ((ellipse(x, y, radius, radius),),))
    if kind == "mask":
        return Shape(label, where, bitmap=partial(_mask, entry.get("mask"), (x, y), where))
    raise UserError(f"{where}: unknown shape {kind!r}; expected polygon, rectangle, circle or mask")


def _mask(encoded: Any, corner: tuple[float, float], where: str) -> Bitmap:
    try:
        data = base64.b64decode(encoded or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise UserError(f"{where}: its mask is no base64; save it again in LabelMe") from None
    return Bitmap(png_mask(data, where), round(corner[0]), round(corner[1]))
