"""VGG Image Annotator 1 and 2: JSON (a project or its annotations) and CSV.

www.robots.ox.ac.uk/~vgg/software/via.
"""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

from medseg.annotations.formats.options import NO_LABEL, Reading, attribute_of_classes
from medseg.annotations.raster import ellipse, rectangle
from medseg.annotations.shapes import Annotations, Part, Picture, Shape, shapes_of
from medseg.annotations.tree import Tree, peek_json, read_json, read_text
from medseg.annotations.values import mapping, number, shown, text, two_lists
from medseg.errors import UserError

ABOUT = "VGG Image Annotator"
WITHOUT_AREA = ("point", "polyline")
COLUMNS = {"filename", "region_shape_attributes", "region_attributes"}
Region = dict[str, Any]


def recognises(tree: Tree) -> bool:
    """Whether a JSON file has images with regions, or a CSV file the columns of one."""
    documents = [peek_json(path) for path in tree.having(".json")[:5]]
    return any(_images(document) is not None for document in documents) or any(
        _is_table(path) for path in tree.having(".csv")[:5]
    )


def _images(document: Any) -> dict[str, Any] | None:
    """The images by key, of a project or of exported annotations; None for another document."""
    if not isinstance(document, dict):
        return None
    document = document.get("_via_img_metadata", document)
    if not isinstance(document, dict):
        return None
    entries = list(document.values())
    wanted = {"filename", "regions"}
    is_via = all(isinstance(each, dict) and wanted <= each.keys() for each in entries)
    return document if entries and is_via else None


def _is_table(path: Path) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return {word.strip('"# \n') for word in file.readline().split(",")} >= COLUMNS


def read(tree: Tree, reading: Reading) -> Annotations:
    """Every image of every file. The class is the value of the one attribute that regions have."""
    found: list[tuple[Path, str, list[Region]]] = []
    for path in tree.having(".json"):
        images = _images(read_json(path)) or {}
        found += [
            (path, text(entry["filename"], f"{path}: filename"), _regions(entry, path))
            for entry in images.values()
        ]
    for path in tree.having(".csv"):
        if _is_table(path):
            found += [(path, name, regions) for name, regions in _table(path).items()]
    attributes = [region["region_attributes"] for _, _, each in found for region in each]
    sources = found[0][0] if found else tree.given
    attribute = attribute_of_classes(attributes, reading, sources)
    pictures: list[Picture] = []
    missing: list[str] = []
    for path, name, regions in found:
        image = tree.image(name, path)
        if image is None:
            missing.append(name)
            continue
        part = tree.part_of(path) or tree.part_of(image)
        where = f"{path}: {image.name}: region"
        shapes, left_out = shapes_of(regions, where, partial(_shape, attribute))
        pictures.append(Picture(image, path, shapes, None, part, left_out=left_out))
    return Annotations(tuple(pictures), (), tuple(missing))


def _regions(entry: dict[str, Any], path: Path) -> list[Region]:
    """The regions of an image: a list in VIA 2, a mapping by number in VIA 1."""
    regions = entry["regions"]
    if isinstance(regions, dict):
        regions = list(regions.values())
    where = f"{path}: {shown(entry['filename'])}"
    if not isinstance(regions, list):
        raise UserError(f"{where}: got the regions {shown(regions)}, expected a list")
    return [
        {
            key: mapping(mapping(region, where).get(key) or {}, f"{where}: {key}")
            for key in ("shape_attributes", "region_attributes")
        }
        for region in regions
    ]


def _table(path: Path) -> dict[str, list[Region]]:
    """The regions by image of a CSV file; an image without any has a line of its own."""
    found: dict[str, list[Region]] = {}
    content = read_text(path).lstrip("#")
    for at, row in enumerate(csv.DictReader(io.StringIO(content)), 2):
        row = {str(key).strip(): value for key, value in row.items()}
        regions = found.setdefault(text(row.get("filename"), f"{path}: line {at}: filename"), [])
        shape, attributes = (
            _cell(row.get(f"region_{key}"), f"{path}: line {at}")
            for key in ("shape_attributes", "attributes")
        )
        if shape:
            regions.append({"shape_attributes": shape, "region_attributes": attributes})
    return found


def _cell(value: str | None, where: str) -> dict[str, Any]:
    try:
        return mapping(json.loads(value or "{}"), where)
    except (ValueError, RecursionError):
        raise UserError(f"{where}: got {shown(value)}, expected JSON as VIA writes it") from None


def _shape(attribute: str, region: Region, where: str) -> Shape | str:
    kind = str(region["shape_attributes"].get("name"))
    if kind in WITHOUT_AREA:
        return kind
    label = _label(region["region_attributes"].get(attribute), where)
    return Shape(label, where, (_part(region["shape_attributes"], kind, where),))


def _label(value: Any, where: str) -> str:
    """The class of a region: a text, or the one box of several that is ticked."""
    if isinstance(value, dict):
        ticked = [key for key, on in value.items() if on]
        if len(ticked) > 1:
            raise UserError(f"{where}: has the classes {', '.join(ticked)}, expected one")
        value = ticked[0] if ticked else None
    return NO_LABEL if value in (None, "") else text(value, where)


def _part(shape: dict[str, Any], kind: str, where: str) -> Part:
    def numbers(*names: str) -> list[float]:
        return [number(shape.get(name), f"{where}: {name}") for name in names]

    if kind in ("polygon", "polyline"):
        return (two_lists(shape.get("all_points_x"), shape.get("all_points_y"), where),)
    if kind == "rect":
        x, y, width, height = numbers("x", "y", "width", "height")
        return (rectangle(x, y, x + width, y + height),)
    if kind == "circle":
        x, y, radius = numbers("cx", "cy", "r")
        return (ellipse(x, y, abs(radius), abs(radius)),)
    if kind == "ellipse":
        x, y, across, along = numbers("cx", "cy", "rx", "ry")
        # VIA 2 turns by theta, in radians
        degrees = number(shape.get("theta") or 0, f"{where}: theta") * 57.29577951308232
        return (ellipse(x, y, abs(across), abs(along), degrees),)
    raise UserError(f"{where}: unknown shape {kind!r}; expected polygon, rect, circle or ellipse")
