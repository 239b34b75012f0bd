"""GeoJSON with pixels as coordinates, as QuPath exports it: one file per image, of its name.

RFC 7946; rings after the first are holes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from medseg.annotations.formats.options import NO_LABEL, Reading
from medseg.annotations.shapes import Annotations, Part, Picture, Shape, shapes_of
from medseg.annotations.tree import Tree, peek_json, read_json
from medseg.annotations.values import listing, mapping, points, text
from medseg.errors import UserError

ABOUT = "GeoJSON"
LABELS = ("classification", "class", "label", "name")  # the properties asked, in this order
WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")


def recognises(tree: Tree) -> bool:
    """Whether the first JSON files hold features."""
    files = [*tree.having(".geojson")[:3], *tree.having(".json")[:3]]
    return any(_features(peek_json(path)) is not None for path in files)


def _features(document: Any) -> list[Any] | None:
    """The features of a collection, of QuPath's plain list, or the one; None for another file."""
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        found = document.get("features")
        return found if isinstance(found, list) else None
    if isinstance(document, dict) and document.get("type") == "Feature":
        return [document]
    if not isinstance(document, list) or not document:
        return None
    types = [each.get("type") if isinstance(each, dict) else None for each in document]
    return document if set(types) == {"Feature"} else None


def read(tree: Tree, reading: Reading) -> Annotations:
    """A picture per file."""
    pictures: list[Picture] = []
    missing: list[str] = []
    for path in tree.having(".geojson", ".json"):
        document = read_json(path)
        features = _features(document)
        if features is None and path.suffix.lower() == ".geojson" and document == []:
            features = []
        if features is None:
            continue
        if isinstance(document, dict) and "crs" in document:
            raise UserError(f"{path}: has places on a map (crs), expected pixels of an image")
        image = tree.image(path.stem, path)
        if image is None:
            missing.append(f"{path.stem} of {path.name}")
            continue
        shapes, left_out = shapes_of(features, f"{path}: feature", partial(_shape, reading))
        part = tree.part_of(image)
        pictures.append(Picture(image, path, shapes, None, part, left_out=left_out))
    return Annotations(tuple(pictures), (), tuple(missing))


def _shape(reading: Reading, feature: Any, where: str) -> Shape | str:
    geometry = mapping(mapping(feature, where).get("geometry"), f"{where}: geometry")
    kind = str(geometry.get("type"))
    if kind in WITHOUT_AREA:
        return kind
    properties = mapping(feature.get("properties") or {}, f"{where}: properties")
    label = _label(properties, reading, where)
    return Shape(label, where, _parts(geometry, kind, where))


def _label(properties: dict[str, Any], reading: Reading, where: str) -> str:
    """The name of the class that the properties give; QuPath's is an object with a name."""
    for key in (reading.attribute,) if reading.attribute else LABELS:
        value = properties.get(key)
        if isinstance(value, dict):
            value = value.get("name")
        if isinstance(value, list):  # of a class derived from another
            value = ": ".join(map(str, value))
        if value not in (None, ""):
            return text(value, f"{where}: {key}")
    return NO_LABEL


def _parts(geometry: dict[str, Any], kind: str, where: str) -> tuple[Part, ...]:
    coordinates = listing(geometry.get("coordinates"), f"{where}: coordinates")
    if kind == "Polygon":
        coordinates = [coordinates]
    elif kind != "MultiPolygon":
        raise UserError(f"{where}: unknown geometry {kind!r}; expected Polygon or MultiPolygon")
    polygons = [listing(rings, f"{where}: coordinates") for rings in coordinates]
    return tuple(
        tuple(points(ring, f"{where}: coordinates") for ring in rings)
        for rings in polygons
        if rings
    )
