"""Pascal VOC's layout: JPEGImages, SegmentationClass, and labelmap.txt where CVAT wrote it."""

from __future__ import annotations

from functools import partial

from medseg.annotations.formats import maps
from medseg.annotations.formats.options import Reading
from medseg.annotations.shapes import Annotations, Picture
from medseg.annotations.tree import Tree, read_text
from medseg.data.masks import IGNORED

ABOUT = "Pascal VOC"


def recognises(tree: Tree) -> bool:
    """Whether there are images in folders called JPEGImages and SegmentationClass."""
    return {"jpegimages", "segmentationclass"} <= {path.parent.name.lower() for path in tree.images}


def read(tree: Tree, reading: Reading) -> Annotations:
    """Maps by the colours of the legend, else by their indices, with 255 ignored."""
    images = [path for path in tree.images if path.parent.name.lower() == "jpegimages"]
    labels = [path for path in tree.images if path.parent.name.lower() == "segmentationclass"]
    pairs = maps.pairs_of(images, labels)
    file = maps.legend_file(tree)
    if reading.colours or file:
        legend = maps.legend_of(reading.colours or str(file))
        pictures = maps.coloured(pairs, tree, legend)
        return maps.with_unlabelled(pictures, images, maps.order_of(legend))
    named = tree.named("class_names.txt")
    if named:
        names = [line.strip() for line in read_text(named[0]).splitlines() if line.strip()]
        names = [name for name in names if name != "__ignore__"]
        note = ""
    else:
        names = ["background", *(f"class {index}" for index in range(1, 255))]
        note = "no labelmap.txt or class_names.txt: the classes are called class 1, class 2, ..."
    values = {index: index for index in range(len(names))} | {IGNORED: IGNORED}
    pictures = [
        Picture(
            image, label, part=tree.part_of(image), classes=partial(maps.by_value, label, values)
        )
        for image, label in pairs
    ]
    return maps.with_unlabelled(pictures, images, tuple(names), note)
