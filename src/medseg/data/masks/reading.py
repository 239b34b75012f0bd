"""From the mask files of an image to class indices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.data.decode import read_stored_mask
from medseg.data.masks.coding import IGNORED, MaskCoding, decode_mask
from medseg.data.masks.planes import Layout, values_of
from medseg.data.sample import Item
from medseg.errors import UserError


def read_values(path: Path, layout: Layout, page: int = 0) -> np.ndarray:
    """Integers [H, W]: the values of a mask file in the layout of its set."""
    return values_of(read_stored_mask(path, page=page), layout, str(path))


def read_classes(item: Item, coding: MaskCoding) -> np.ndarray:
    """uint8 [H, W] class indices (255 ignored) of an item's masks, united where it has several.

    A class goes before ignored pixels, and these before the background. Raises `UserError` for
    masks of different sizes, for a pixel of two classes, and for values that are none of the set's.
    """
    united: np.ndarray | None = None
    for path in item.masks:
        values = read_values(path, coding.layout, item.page)
        classes = decode_mask(values, coding, name=str(path))
        if united is not None and classes.shape != united.shape:
            raise UserError(
                f"{path}: is {classes.shape[1]}x{classes.shape[0]} pixels, {item.mask.name}"
                f" {united.shape[1]}x{united.shape[0]}; the masks of one image have one size"
            )
        united = classes if united is None else _unite(united, classes, path)
    return united


def _unite(one: np.ndarray, other: np.ndarray, path: Path) -> np.ndarray:
    """Two masks of one image in one."""
    both = (one != other) & (one > 0) & (other > 0) & (one != IGNORED) & (other != IGNORED)
    if both.any():
        raise UserError(
            f"{path}: {both.sum()} pixels are of class {other[both][0]} here and of class"
            f" {one[both][0]} in another mask of the same image; give each pixel one class"
        )
    drawn = (one == 0) | ((one == IGNORED) & (other != 0))
    return np.where(drawn, other, one)
