"""Which numbers of a mask file count: grey values, indices, one channel, alpha, or colours.

A file alone cannot say: the same grey palette holds greys in one set and class indices in another.
So the choice, a `Layout`, is made once for a set (`layout.py`) and applied to each file here.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from medseg.data.decode import MaskValueError, StoredMask
from medseg.data.masks.colours import Colour, positions

CHANNELS = {"red": 0, "green": 1, "blue": 2}


@dataclass(frozen=True)
class Layout:
    """How the samples of a mask file become one value per pixel.

    `plane` is "grey", "index" (of a palette), "red", "green", "blue", "peak" (the highest channel
    of one colour on black), "alpha", or "colours" (the position in `colours`). With `composite`
    transparent pixels are black; with `shown` files whose header says that white is zero are
    inverted.
    """

    plane: str = "grey"
    composite: bool = False
    shown: bool = False
    colours: tuple[Colour, ...] = ()


def values_of(stored: StoredMask, layout: Layout, name: str) -> np.ndarray:
    """Integers [H, W]: the values of a mask file, whose meaning `MaskCoding` knows.

    Raises `MaskValueError` naming the file where it cannot hold what the set was recognised as.
    """
    if layout.plane == "alpha":
        if stored.alpha is None:
            raise MaskValueError(
                f"{name}: has no alpha channel, in which the other masks hold their shapes"
            )
        return stored.alpha
    if layout.plane == "index":
        return _whole(stored.samples, name)
    pixels = pixels_of(stored, name)
    if layout.composite and stored.alpha is not None:
        opaque = stored.alpha > _half(stored.alpha)
        pixels = np.where(opaque if pixels.ndim == 2 else opaque[..., None], pixels, 0)
    if layout.shown and stored.white_is_zero:
        pixels = highest_of(stored) - pixels
    if layout.plane == "colours":
        return positions(pixels, layout.colours, name, lossy=stored.lossy)
    if pixels.ndim == 2:
        return pixels
    if layout.plane == "peak":
        return functools.reduce(np.maximum, (pixels[..., i] for i in range(3)))
    return np.ascontiguousarray(pixels[..., CHANNELS.get(layout.plane, 1)])


def pixels_of(stored: StoredMask, name: str) -> np.ndarray:
    """Integers, grey [H, W] or colour [H, W, 3]: palettes looked up, 16-bit colour in 8 bits."""
    if stored.palette is not None:
        table = stored.palette
        if stored.samples.max(initial=0) >= len(table):
            raise MaskValueError(
                f"{name}: holds the index {stored.samples.max()}, beyond its table of {len(table)}"
                " colours"
            )
        grey = (table == table[:, :1]).all()
        return (table[:, 0] if grey else table)[stored.samples]
    samples = _whole(stored.samples, name)
    if stored.bits == 1:
        return samples * np.uint8(255)  # black and white
    if samples.max(initial=0) == 65535 and not (samples % 257).any():
        return (samples // 257).astype(np.uint8)
    if samples.ndim == 3 and samples.max(initial=0) > 255:
        raise MaskValueError(f"{name}: a mask of 16-bit colours; save it with 8 bits per channel")
    return samples


def highest_of(stored: StoredMask) -> int:
    """The value of white in a file whose header says that white is zero."""
    if stored.bits == 1:
        return 255
    if stored.samples.max(initial=0) > 2**stored.bits - 1:
        return int(stored.samples.max())
    if stored.samples.dtype == np.uint16 and not (stored.samples % 257).any():
        return 255  # as `pixels_of` scales it
    return 2**stored.bits - 1


def _whole(samples: np.ndarray, name: str) -> np.ndarray:
    """The samples as integers; `MaskValueError` for fractions and negative values."""
    if samples.dtype.kind == "f":
        whole = np.rint(np.nan_to_num(samples, nan=-1)).astype(np.int64)
        if not np.array_equal(whole, samples):
            raise MaskValueError(
                f"{name}: holds fractions from {np.nanmin(samples):g} to {np.nanmax(samples):g};"
                " expected a mask of whole numbers, such as 0 and 255 (is it a probability map?)"
            )
        samples = whole
    if samples.dtype.kind == "b":
        return samples.astype(np.uint8)
    if samples.dtype != np.uint8 and samples.min(initial=0) < 0:
        raise MaskValueError(
            f"{name}: holds the negative value {samples.min()}; expected class indices from 0"
        )
    if samples.dtype != np.uint8 and samples.max(initial=0) <= 255:
        return samples.astype(np.uint8)
    return samples


def _half(alpha: np.ndarray) -> int:
    return int(alpha.max(initial=0)) // 2
