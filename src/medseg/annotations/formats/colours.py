"""Masks whose colours stand for classes, with a list or a legend."""

from __future__ import annotations

from medseg.annotations.formats import maps
from medseg.annotations.formats.options import Reading
from medseg.annotations.shapes import Annotations
from medseg.annotations.tree import Tree
from medseg.data.sources.pairing import IMAGE_FOLDERS, MASK_FOLDERS
from medseg.errors import UserError

ABOUT = "masks in colours"


def recognises(tree: Tree) -> bool:
    """Whether there are folders of images and of masks, and a legend beside them."""
    folders = {path.parent.name.lower() for path in tree.images}
    return bool(folders & {*MASK_FOLDERS}) and maps.legend_file(tree) is not None


def read(tree: Tree, reading: Reading) -> Annotations:
    """Maps by the colours of --colours, else of the legend found."""
    file = maps.legend_file(tree)
    if not reading.colours and file is None:
        raise UserError(f'{tree.given}: give the colours, as --colours "255,0,0=polyp" or a file')
    legend = maps.legend_of(reading.colours or str(file))
    labels = [path for path in tree.images if path.parent.name.lower() in MASK_FOLDERS]
    named = [path for path in tree.images if path.parent.name.lower() in IMAGE_FOLDERS]
    images = named or [path for path in tree.images if path not in set(labels)]
    pairs = [
        pair
        for part in {tree.part_of(path) for path in images}
        for pair in maps.pairs_of(
            [path for path in images if tree.part_of(path) == part],
            [path for path in labels if tree.part_of(path) == part],
        )
    ]
    return maps.with_unlabelled(maps.coloured(pairs, tree, legend), images, maps.order_of(legend))
