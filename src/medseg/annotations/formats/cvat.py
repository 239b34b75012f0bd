"""CVAT for images 1.1: an XML file with images and their shapes.

docs.cvat.ai/docs/dataset_management/formats/format-cvat.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np

from medseg.annotations.formats.options import Reading
from medseg.annotations.raster import ellipse, rectangle, turned
from medseg.annotations.rle import decode
from medseg.annotations.shapes import Annotations, Bitmap, Part, Picture, Shape, shapes_of
from medseg.annotations.tree import Tree, read_text
from medseg.annotations.values import flat_points, number, size, text, whole
from medseg.data.sources.words import part_of
from medseg.errors import UserError

ABOUT = "CVAT for images XML"
WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")


class _Builder(ET.TreeBuilder):
    """Refuses a document type: CVAT writes none, and entities can fill any memory."""

    def doctype(self, name: str, public: str | None, system: str | None) -> NoReturn:
        """Called before anything of the document type is read."""
        raise UserError("declares a document type, which CVAT does not write")


def recognises(tree: Tree) -> bool:
    """Whether an XML file begins with CVAT's root."""
    for path in tree.having(".xml")[:5]:
        with open(path, "rb") as file:
            if b"<annotations" in file.read(500):
                return True
    return False


def read(tree: Tree, reading: Reading) -> Annotations:
    """Every image of every XML file; classes in the order of the task's labels."""
    pictures: list[Picture] = []
    missing: list[str] = []
    names: list[str] = []
    for path in tree.having(".xml"):
        root = _parse(path)
        if root.tag != "annotations":
            continue
        if root.find("track") is not None:
            raise UserError(
                f"{path}: is CVAT for video; export the task as 'CVAT for images 1.1', with frames"
            )
        names += [label.text or "" for label in root.iterfind("meta//labels/label/name")]
        for entry in root.iterfind("image"):
            name = text(entry.get("name"), f"{path}: image {entry.get('id')}: name")
            image = tree.image(name, path)
            if image is None:
                missing.append(name)
                continue
            part = part_of(entry.get("subset") or "")
            pictures.append(_picture(entry, path, name, image, part or tree.part_of(image)))
    order = dict.fromkeys(name.strip() for name in names if name.strip())
    return Annotations(tuple(pictures), tuple(order), tuple(missing))


def _parse(path: Path) -> ET.Element:
    parser = ET.XMLParser(target=_Builder())
    try:
        parser.feed(read_text(path))
        return parser.close()
    except UserError as error:
        raise UserError(f"{path}: {error}; export it again") from None
    except (ET.ParseError, ValueError) as error:
        raise UserError(f"{path}: is no valid XML ({error}); export it again") from None


def _picture(entry: ET.Element, path: Path, name: str, image: Path, part: str) -> Picture:
    declared = size(entry.get("width"), entry.get("height"), f"{path}: {name}")
    shapes, left_out = shapes_of(entry, f"{path}: {name}: shape", partial(_shape, declared))
    return Picture(image, path, shapes, declared, part, left_out=left_out)


def _shape(declared: tuple[int, int] | None, element: ET.Element, where: str) -> Shape | str:
    kind = element.tag
    if kind in WITHOUT_AREA:
        return kind
    if kind not in KINDS:
        raise UserError(f"{where}: unknown shape {kind!r}; expected one of {', '.join(KINDS)}")
    label = text(element.get("label"), f"{where}: label")
    order = number(element.get("z_order") or 0, f"{where}: z_order")
    if kind == "mask":
        return Shape(label, where, bitmap=_mask(element, where, declared), order=order)
    return Shape(label, where, (KINDS[kind](element, where),), order=order)


def _numbers(element: ET.Element, where: str, *names: str) -> list[float]:
    return [number(element.get(name), f"{where}: {name}") for name in names]


def _polygon(element: ET.Element, where: str) -> Part:
    words = (element.get("points") or "").replace(";", ",").split(",")
    return (flat_points([word for word in words if word.strip()], f"{where}: points"),)


def _box(element: ET.Element, where: str) -> Part:
    left, top, right, bottom = _numbers(element, where, "xtl", "ytl", "xbr", "ybr")
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    degrees = number(element.get("rotation") or 0, f"{where}: rotation")
    return (turned(rectangle(left, top, right, bottom) - middle, degrees) + middle,)


def _ellipse(element: ET.Element, where: str) -> Part:
    x, y, across, along = _numbers(element, where, "cx", "cy", "rx", "ry")
    degrees = number(element.get("rotation") or 0, f"{where}: rotation")
    return (ellipse(x, y, abs(across), abs(along), degrees),)


def _mask(element: ET.Element, where: str, declared: tuple[int, int] | None) -> partial[Bitmap]:
    left, top, width, height = (
        whole(element.get(name), f"{where}: {name}") for name in ("left", "top", "width", "height")
    )
    if declared and (left + width > declared[0] or top + height > declared[1]):
        raise UserError(f"{where}: {width}x{height} pixels at {left}, {top} are beyond the image")
    return partial(_decoded, element.get("rle") or "", (left, top, width, height), where)


def _decoded(text_of_runs: str, box: tuple[int, int, int, int], where: str) -> Bitmap:
    left, top, width, height = box
    runs = [whole(run, f"{where}: rle") for run in text_of_runs.split(",") if run.strip()]
    return Bitmap(decode(runs, height, width, where, by_column=False), left, top)


KINDS = {"polygon": _polygon, "box": _box, "ellipse": _ellipse, "mask": _mask}
