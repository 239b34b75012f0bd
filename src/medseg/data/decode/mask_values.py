"""The values that a mask file holds, and probability maps of any tool."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import cv2
import numpy as np

from medseg.data.decode.raster import (
    has_palette,
    open_with_pillow,
    read_image,
    with_opencv,
    with_tifffile,
)
from medseg.data.decode.source import DecodeError, MaskValueError, Source

SAME_GREY = 48  # differences of channels that JPEG makes in a grey mask


def read_values(source: Source) -> np.ndarray:
    """See `decode.read_mask`."""
    if has_palette(source):
        return _palette_values(source)
    values = with_opencv(source, cv2.IMREAD_UNCHANGED)
    if values is None:
        values = with_tifffile(source)
    if values.ndim == 3:
        values = _grey(source, values[..., : 3 if values.shape[2] > 2 else 1])
    return _narrow(source, values)


def read_map_values(source: Source) -> np.ndarray:
    """uint8, uint16 or float [H, W], as the file of a map or mask holds them."""
    if Path(source.name).suffix.lower() == ".npy":
        return _array(source)
    values = None if has_palette(source) else with_opencv(source, cv2.IMREAD_UNCHANGED)
    if values is not None and (values.dtype == np.uint16 or values.dtype.kind == "f"):
        return values if values.ndim == 2 else values[..., 0]
    return read_image(source, channels=3, bit_depth=16).pixels[..., 0]


def _array(source: Source) -> np.ndarray:
    """The content of a .npy file."""
    try:
        values = np.load(io.BytesIO(source.data), allow_pickle=False)
    except (ValueError, MemoryError) as error:  # the latter by a shape that only the header has
        reason = " ".join(str(error).split())[:100]
        raise DecodeError(f"{source.name}: cannot be read as an array ({reason})") from None
    values = values.squeeze()
    known = values.dtype.kind == "f" or values.dtype in (bool, np.uint8, np.uint16)
    if values.ndim != 2 or not known:
        raise DecodeError(
            f"{source.name}: an array {list(values.shape)} of {values.dtype}; expected one of"
            " height and width, of floats from 0 to 1, booleans, or 8 or 16 bits"
        )
    return values.astype(np.uint8) if values.dtype == bool else values


def _palette_values(source: Source) -> np.ndarray:
    """The greys of a grey palette, the indices of a coloured one."""
    picture = open_with_pillow(source)
    index = np.asarray(picture)
    if picture.mode != "P":  # a GIF or PNG that Pillow has already turned into grey
        return _narrow(source, _grey(source, index) if index.ndim == 3 else index)
    colours = np.asarray(picture.getpalette(), np.uint8).reshape(-1, 3)
    used = np.unique(index)
    if (colours[used] == colours[used][:, :1]).all():
        return colours[index, 0]
    return index.astype(np.uint8)


def _grey(source: Source, values: np.ndarray) -> np.ndarray:
    """One channel of a colour mask: equal channels up to JPEG noise, or one colour beside black."""
    channels = values.shape[2]
    planes = [values[..., i] for i in range(channels)]  # 10 times as fast as over the last axis
    highest = functools.reduce(np.maximum, planes)
    spread = highest.astype(np.int32) - functools.reduce(np.minimum, planes)
    if spread.max(initial=0) <= SAME_GREY or (spread > SAME_GREY).mean() < 1e-3:
        return values[..., channels // 2]
    bright = values.reshape(-1, channels)[highest.ravel() > 127]
    common = np.median(bright, axis=0) if len(bright) else np.zeros(channels)
    if (np.abs(bright - common).max(axis=1) <= SAME_GREY).mean() > 0.95:
        return highest
    raise MaskValueError(
        f"{source.name}: a mask in several colours; expected grey values, one colour on black, or"
        " class indices: convert each colour to its class index (0 background, 1, 2, ...)"
    )


def _narrow(source: Source, values: np.ndarray) -> np.ndarray:
    """The values as uint8 where that loses nothing."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.max(initial=0) <= 255 and np.array_equal(values, values.astype(np.uint8)):
        return values.astype(np.uint8)
    if set(np.unique(values)) <= {0, 65535}:
        return (values > 0).astype(np.uint8) * 255
    raise MaskValueError(
        f"{source.name}: a mask with values up to {values.max():g}; expected 0 and 255, 0 and 1, or"
        " class indices below 255"
    )
