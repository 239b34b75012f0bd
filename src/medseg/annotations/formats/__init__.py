"""One reader per format: a module with ABOUT, `recognises(tree)` and `read(tree, reading)`."""

from __future__ import annotations

from types import ModuleType

from medseg.annotations.formats import (
    coco,
    colours,
    cvat,
    geojson,
    labelme,
    nnunet,
    supervisely,
    via,
    voc,
    yolo,
)

READERS: dict[str, ModuleType] = {
    "coco": coco,
    "labelme": labelme,
    "yolo": yolo,
    "cvat": cvat,
    "supervisely": supervisely,
    "via": via,
    "geojson": geojson,
    "nnunet": nnunet,
    "voc": voc,
    "colours": colours,
}
