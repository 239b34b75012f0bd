"""Masks whose colours stand for classes, with a list or a legend."""

from __future__ import annotations

from pathlib import Path

from medseg.annotations.formats import maps, voc
from medseg.annotations.formats.options import Reading
from medseg.annotations.shapes import Annotations
from medseg.annotations.tree import Tree
from medseg.data.sources.words import role_of
from medseg.errors import UserError

ABOUT = "masks in colours"


def recognises(tree: Tree) -> bool:
    """Whether there is a folder of masks, not in VOC's layout, and a legend beside it."""
    labelled = bool(_of_role("mask", tree)) and maps.legend_file(tree) is not None
    return labelled and not voc.recognises(tree)


def _of_role(role: str, tree: Tree) -> list[Path]:
    """The images in folders whose name says that they hold images, or masks."""
    return [path for path in tree.images if role_of(path.parent.name) == role]


def read(tree: Tree, reading: Reading) -> Annotations:
    """Maps by the colours of --colours, else of the legend found."""
    file = maps.legend_file(tree)
    if not reading.colours and file is None:
        raise UserError(f'{tree.given}: give the colours, as --colours "255,0,0=polyp" or a file')
    legend = maps.legend_of(reading.colours or str(file))
    labels = _of_role("mask", tree)
    unmasked = [path for path in tree.images if path not in set(labels)]
    images = _of_role("image", tree) or unmasked
    pairs = [
        pair
        for part in {tree.part_of(path) for path in images}
        for pair in maps.pairs_of(
            [path for path in images if tree.part_of(path) == part],
            [path for path in labels if tree.part_of(path) == part],
        )
    ]
    return maps.with_unlabelled(maps.coloured(pairs, tree, legend), images, maps.order_of(legend))
