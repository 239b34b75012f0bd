"""For any masks, coding, noise and container: what is read is what was drawn, or it is refused."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import tifffile
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from medseg.data.masks import Declared, read_classes, survey
from medseg.data.sample import Item
from medseg.errors import UserError

SIZE = (40, 48)


@st.composite
def drawings(draw):
    """Class indices uint8 [H, W] of some masks, and the number of classes."""
    classes = draw(st.integers(2, 5))
    count = draw(st.integers(2, 5))
    masks = []
    for _ in range(count):
        mask = np.zeros(SIZE, np.uint8)
        for _ in range(draw(st.integers(0, 3))):
            centre = draw(st.integers(4, 43)), draw(st.integers(4, 35))
            axes = draw(st.integers(1, 14)), draw(st.integers(1, 14))
            cv2.ellipse(mask, centre, axes, 0, 0, 360, draw(st.integers(1, classes - 1)), -1)
        masks.append(mask)
    return masks, classes


def binary_255(mask, rng):
    return mask.astype(bool) * np.uint8(255)


def noisy_255(mask, rng):
    """Noise of a codec near 0 and 255, on a fifth of the pixels."""
    out = mask.astype(bool) * np.int64(255) + rng.integers(-20, 21, mask.shape)
    return np.where(rng.random(mask.shape) < 0.2, np.clip(out, 0, 255), mask.astype(bool) * 255)


def soft_255(mask, rng):
    return cv2.GaussianBlur(mask.astype(bool) * np.uint8(255), (0, 0), 0.6)


def with_slips(mask, rng):
    out = mask.astype(bool) * np.uint8(255)
    out[rng.integers(0, SIZE[0], 2), rng.integers(0, SIZE[1], 2)] = rng.integers(0, 64, 2)
    return out


def index(mask, rng):
    return mask


def index_beside_255(mask, rng):
    out = mask.copy()
    out[:3] = 255
    return out


def other_value(mask, rng):
    return mask.astype(bool) * np.uint8(37)


NO_INDICES = (binary_255, noisy_255, soft_255, with_slips)  # 0 and 255 alone are a 0/255 mask
CODINGS = (binary_255, noisy_255, soft_255, with_slips, index, index_beside_255, other_value)


def as_png(path, values):
    cv2.imwrite(str(path.with_suffix(".png")), values)
    return path.with_suffix(".png")


def as_rgb(path, values):
    return as_png(path, np.repeat(values[..., None], 3, axis=2))


def as_tiff(path, values):
    tifffile.imwrite(path.with_suffix(".tif"), values.astype(np.uint16), compression="zlib")
    return path.with_suffix(".tif")


def as_bmp(path, values):
    cv2.imwrite(str(path.with_suffix(".bmp")), values)
    return path.with_suffix(".bmp")


def as_palette(path, values):
    """A table of greys of its own: the indices are the values."""
    picture = Image.fromarray(values, "P")
    picture.putpalette([value for value in range(256) for _ in range(3)])
    picture.save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def in_red(path, values):
    colour = np.zeros((*values.shape, 3), np.uint8)
    colour[..., 2] = values  # OpenCV writes blue first
    return as_png(path, colour)


def in_alpha(path, values):
    """A layer of one colour, the values in its alpha channel."""
    grey = np.full_like(values, 90)
    return as_png(path, np.dstack([grey, grey, grey, values]))


CONTAINERS = (as_png, as_rgb, as_tiff, as_bmp, as_palette, in_red, in_alpha)


@settings(deadline=None, max_examples=120)
@given(drawings(), st.sampled_from(CODINGS), st.sampled_from(CONTAINERS), st.integers(0, 2**31 - 1))
def test_what_is_read_is_what_was_drawn_or_it_is_refused(drawing, coding, container, seed):
    masks, _ = drawing
    rng = np.random.default_rng(seed)
    stored = [np.asarray(coding(mask, rng)).astype(np.uint8) for mask in masks]
    assume(any(set(np.unique(values)) - {0, 255} for values in stored) or coding in NO_INDICES)
    with tempfile.TemporaryDirectory() as folder:
        paths = [container(Path(folder) / f"m{i}", values) for i, values in enumerate(stored)]
        items = [Item(path.stem, path, (path,)) for path in paths]
        try:
            found = survey(items, Declared())
            read = [read_classes(item, found) for item in items]
        except UserError as error:
            assert "\n" not in str(error)
            return
    for mask, values, classes in zip(masks, stored, read, strict=True):
        np.testing.assert_array_equal(classes, _wanted(coding, mask, values, masks))


def _wanted(coding, mask, values, masks):
    """The classes that were drawn: ignored pixels are 255, classes that nobody drew are none."""
    if coding is soft_255:
        return (values > 127).astype(np.uint8)
    if coding in (index, index_beside_255):
        drawn = mask if coding is index else values
        there = sorted(set(np.unique(masks)) - {255} | {0})
        table = np.zeros(256, np.uint8)
        table[there] = np.arange(len(there))
        if coding is index_beside_255:
            hidden = np.concatenate([np.unique(each[3:]) for each in masks])
            there = sorted(set(hidden.tolist()) | {0})
            table[:] = 0
            table[there] = np.arange(len(there))
            table[255] = 255
        return table[drawn]
    if coding is with_slips:
        return (values > 127).astype(np.uint8)
    return mask.astype(bool).astype(np.uint8)
