"""Supervisely: meta.json, and in each data set an img folder and ann/IMAGE.json.

docs.supervisely.com. Whole numbers are pixels: an outline belongs to its shape.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from functools import partial
from pathlib import Path
from typing import Any

from medseg.annotations.formats.bitmaps import png_mask
from medseg.annotations.formats.options import Reading
from medseg.annotations.raster import rectangle
from medseg.annotations.shapes import Annotations, Bitmap, Part, Picture, Shape, shapes_of
from medseg.annotations.tree import Tree, peek_json, read_json
from medseg.annotations.values import listing, mapping, points, size, text, whole
from medseg.errors import UserError

ABOUT = "Supervisely JSON"
WITHOUT_AREA = ("line", "polyline", "point", "cuboid", "graph", "any_geometry")
MAX_BITMAP = 1 << 26  # bytes of a compressed bitmap, a PNG, unpacked


def recognises(tree: Tree) -> bool:
    """Whether one of the first JSON files has objects and a size, and lies in a folder ann."""
    below = [path for path in tree.having(".json") if path.parent.name.lower() == "ann"]
    return any(_is_supervisely(peek_json(path)) for path in (below or tree.having(".json"))[:5])


def _is_supervisely(document: Any) -> bool:
    return isinstance(document, dict) and "objects" in document and "size" in document


def read(tree: Tree, reading: Reading) -> Annotations:
    """A picture per file; classes in the order of meta.json."""
    pictures: list[Picture] = []
    missing: list[str] = []
    names: list[str] = []
    for path in tree.having(".json"):
        document = read_json(path)
        if path.name == "meta.json" and isinstance(document, dict):
            for entry in listing(document.get("classes"), f"{path}: classes"):
                names.append(text(mapping(entry, f"{path}: classes").get("title"), str(path)))
        if not _is_supervisely(document):
            continue
        image = _image(tree, path)
        if image is None:
            missing.append(path.name.removesuffix(".json"))
            continue
        pictures.append(_picture(document, path, image, tree.part_of(image)))
    return Annotations(tuple(pictures), tuple(dict.fromkeys(names)), tuple(missing), centres=True)


def _image(tree: Tree, path: Path) -> Path | None:
    """The image of ann/NAME.EXT.json: NAME.EXT in the folder img beside ann."""
    named = path.name.removesuffix(".json")
    folder = path.parent.parent.name
    return tree.image(f"{folder}/img/{named}", path)


def _picture(document: dict[str, Any], path: Path, image: Path, part: str) -> Picture:
    extent = mapping(document["size"], f"{path}: size")
    declared = size(extent.get("width"), extent.get("height"), str(path))
    entries = listing(document["objects"], f"{path}: objects")
    shapes, left_out = shapes_of(entries, f"{path}: object", _shape)
    return Picture(image, path, shapes, declared, part, left_out=left_out)


def _shape(entry: Any, where: str) -> Shape | str:
    kind = str(mapping(entry, where).get("geometryType") or "polygon")
    if kind in WITHOUT_AREA:
        return kind
    label = text(entry.get("classTitle"), f"{where}: classTitle")
    if kind == "bitmap":
        bitmap = mapping(entry.get("bitmap"), f"{where}: bitmap")
        return Shape(label, where, bitmap=partial(_bitmap, bitmap, where))
    outline = mapping(entry.get("points"), f"{where}: points")
    exterior = points(outline.get("exterior"), f"{where}: exterior")
    if kind == "rectangle" and len(exterior) == 2:
        return Shape(label, where, ((rectangle(*exterior.min(0), *exterior.max(0)),),))
    if kind == "polygon":
        holes = listing(outline.get("interior"), f"{where}: interior")
        part: Part = (exterior, *(points(hole, f"{where}: interior") for hole in holes))
        return Shape(label, where, (part,))
    raise UserError(f"{where}: unknown geometry {kind!r}; expected polygon, bitmap or rectangle")


def _bitmap(entry: dict[str, Any], where: str) -> Bitmap:
    origin = listing(entry.get("origin"), f"{where}: origin")
    if len(origin) != 2:
        raise UserError(f"{where}: its bitmap has no origin of x and y")
    left, top = (whole(value, f"{where}: origin") for value in origin)
    try:
        packed = base64.b64decode(entry.get("data") or "", validate=True)
        unpack = zlib.decompressobj()
        data = unpack.decompress(packed, MAX_BITMAP)
    except (binascii.Error, ValueError, TypeError, zlib.error):
        raise UserError(f"{where}: its bitmap is damaged; export it again") from None
    if unpack.unconsumed_tail:
        raise UserError(f"{where}: its bitmap unpacks to more than {MAX_BITMAP >> 20} MB")
    return Bitmap(png_mask(data, where), left, top)
