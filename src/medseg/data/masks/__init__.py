"""What the values of masks mean: recognised over the whole set, said, then applied to each file."""

from medseg.data.masks.census import Plane
from medseg.data.masks.coding import IGNORED, THRESHOLD, MaskCoding, decode_mask
from medseg.data.masks.declared import Declared, class_index, declared_by, map_words
from medseg.data.masks.facts import FileFacts, look_at, measure
from medseg.data.masks.histogram import Histogram
from medseg.data.masks.layout import choose_layout, plane_of
from medseg.data.masks.planes import Layout, values_of
from medseg.data.masks.reading import read_classes, read_values
from medseg.data.masks.surveying import check_items, coding_of, misread, survey

__all__ = [
    "IGNORED",
    "THRESHOLD",
    "Declared",
    "FileFacts",
    "Histogram",
    "Layout",
    "MaskCoding",
    "Plane",
    "check_items",
    "choose_layout",
    "class_index",
    "coding_of",
    "declared_by",
    "decode_mask",
    "look_at",
    "map_words",
    "measure",
    "misread",
    "plane_of",
    "read_classes",
    "read_values",
    "survey",
    "values_of",
]
