"""COCO: one JSON file with images, annotations and categories; polygons and run lengths.

cocodataset.org/#format-data. Several polygons of one annotation are united.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medseg.annotations.formats.options import Reading, only_a_box
from medseg.annotations.raster import rectangle
from medseg.annotations.rle import decode, from_text
from medseg.annotations.shapes import Annotations, Bitmap, Part, Picture, Shape
from medseg.annotations.tree import Tree, peek_json, read_json
from medseg.annotations.values import (
    flat_points,
    listing,
    mapping,
    number,
    shown,
    size,
    text,
    whole,
)
from medseg.errors import UserError

ABOUT = "COCO JSON"


def recognises(tree: Tree) -> bool:
    """Whether one of the first JSON files has images and annotations."""
    return any(_is_coco(peek_json(path)) for path in tree.having(".json")[:5])


def _is_coco(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    return isinstance(document.get("images"), list) and isinstance(
        document.get("annotations"), list
    )


def read(tree: Tree, reading: Reading) -> Annotations:
    """Every image of every COCO file of the source; categories in the order of their ids."""
    names: dict[str, tuple[int, Any]] = {}
    pictures: list[Picture] = []
    missing: list[str] = []
    for path in tree.having(".json"):
        document = read_json(path)
        if not _is_coco(document):
            continue
        categories = _categories(document, path)
        names |= {name: _sortable(key) for key, name in categories.items() if name not in names}
        for entry, shapes, declared in _images(document, path, categories, reading):
            image = tree.image(entry, path)
            if image is None:
                missing.append(entry)
                continue
            part = tree.part_of(path, in_name=True) or tree.part_of(image)
            pictures.append(Picture(image, path, shapes, declared, part))
    ordered = sorted(names, key=names.get)
    return Annotations(tuple(pictures), tuple(ordered), tuple(missing))


def _sortable(key: Any) -> tuple[int, Any]:
    return (0, key) if isinstance(key, (int, float)) else (1, str(key))


def _categories(document: dict[str, Any], path: Path) -> dict[Any, str]:
    found: dict[Any, str] = {}
    for number_of, entry in enumerate(listing(document.get("categories"), f"{path}: categories")):
        where = f"{path}: category {number_of}"
        entry = mapping(entry, where)
        found[_key(entry.get("id"), where)] = text(entry.get("name"), f"{where}: name")
    return found


def _key(value: Any, where: str) -> Any:
    """An id: a number or a text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UserError(f"{where}: got the id {shown(value)}, expected a number or a text")
    return value


def _images(
    document: dict[str, Any], path: Path, categories: dict[Any, str], reading: Reading
) -> list[tuple[str, tuple[Shape, ...], tuple[int, int] | None]]:
    """The file name, the shapes and the declared size of each image."""
    entries: dict[Any, dict[str, Any]] = {}
    for at, entry in enumerate(document["images"]):
        where = f"{path}: image {at}"
        key = _key(mapping(entry, where).get("id"), where)
        if key in entries:
            raise UserError(f"{path}: two images have the id {key}; every id must be its own")
        entries[key] = entry
    shapes: dict[Any, list[Shape]] = {key: [] for key in entries}
    sizes = {
        key: size(entry.get("width"), entry.get("height"), f"{path}: image {key}")
        for key, entry in entries.items()
    }
    for at, annotation in enumerate(document["annotations"]):
        annotation = mapping(annotation, f"{path}: annotation {at}")
        where = f"{path}: annotation {annotation.get('id', at)}"
        key, kind = annotation.get("image_id"), annotation.get("category_id")
        if not isinstance(key, (int, float, str)) or key not in entries:
            raise UserError(f"{where}: belongs to the image {shown(key)}, which is not listed")
        if not isinstance(kind, (int, float, str)) or kind not in categories:
            raise UserError(f"{where}: has the category {shown(kind)}, which is not listed")
        shape, declared = _shape(annotation, categories[kind], sizes[key], where, reading)
        sizes[key] = declared
        shapes[key] += [shape] if shape else []
    return [
        (text(entry.get("file_name"), f"{path}: image {key}: file_name"), tuple(shapes[key]), size_)
        for (key, entry), size_ in zip(entries.items(), sizes.values(), strict=True)
    ]


def _shape(
    annotation: dict[str, Any],
    label: str,
    declared: tuple[int, int] | None,
    where: str,
    reading: Reading,
) -> tuple[Shape | None, tuple[int, int] | None]:
    """The shape of an annotation, and the size of its image, which run lengths declare too."""
    outline = annotation.get("segmentation")
    crowd = bool(annotation.get("iscrowd"))
    if isinstance(outline, dict):
        bitmap, found = _runs(outline, where)
        if declared and found != declared:
            raise UserError(
                f"{where}: its RLE is of {found[0]}x{found[1]} pixels, the image of"
                f" {declared[0]}x{declared[1]}"
            )
        return Shape(label, where, bitmap=bitmap, crowd=crowd), found
    if outline:
        return Shape(label, where, _parts(outline, where), crowd=crowd), declared
    if not only_a_box(where, reading):
        return None, declared
    box = listing(annotation.get("bbox"), f"{where}: bbox")
    if len(box) != 4:
        raise UserError(f"{where}: has neither a segmentation nor a box of x, y, width, height")
    x, y, width, height = (number(value, f"{where}: bbox") for value in box)
    return Shape(label, where, ((rectangle(x, y, x + width, y + height),),), crowd=crowd), declared


def _parts(outline: Any, where: str) -> tuple[Part, ...]:
    """Polygons as lists of x, y, ...; some tools write the one list without another around it."""
    polygons = listing(outline, f"{where}: segmentation")
    if isinstance(polygons[0], (int, float)):
        polygons = [polygons]
    return tuple((flat_points(polygon, f"{where}: segmentation"),) for polygon in polygons)


def _runs(outline: dict[str, Any], where: str) -> tuple[Callable[[], Bitmap], tuple[int, int]]:
    """How to decode run lengths, and (width, height) of what they fill."""
    extent = listing(outline.get("size"), f"{where}: size")
    if len(extent) != 2:
        raise UserError(f"{where}: its RLE has the size {shown(extent)}, expected height and width")
    height, width = (whole(value, f"{where}: size") for value in extent)
    counts = outline.get("counts")
    if not isinstance(counts, (str, list)):
        raise UserError(f"{where}: its RLE has the counts {shown(counts)}, expected runs")
    return partial(_decoded, counts, height, width, where), (width, height)


def _decoded(counts: str | list[Any], height: int, width: int, where: str) -> Bitmap:
    runs = (
        from_text(counts, where)
        if isinstance(counts, str)
        else [whole(count, f"{where}: counts") for count in counts]
    )
    return Bitmap(np.ascontiguousarray(decode(runs, height, width, where, by_column=True)))
