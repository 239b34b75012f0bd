"""The values that a mask file holds by itself, without the others of its set."""

from __future__ import annotations

import functools

import numpy as np

from medseg.data.decode.source import MaskValueError, Source
from medseg.data.decode.stored import StoredMask, read_stored

SAME_GREY = 48  # differences of channels that JPEG makes in a grey mask


def read_values(source: Source) -> np.ndarray:
    """See `decode.read_mask`."""
    stored = read_stored(source)
    if stored.palette is not None:
        return _palette_values(stored)
    values = stored.samples
    if stored.bits < 8:  # black and white
        values = (values * (255 // (2**stored.bits - 1))).astype(np.uint8)
        return 255 - values if stored.white_is_zero else values
    values = _narrow(source, _grey(source, values) if values.ndim == 3 else values)
    shows = stored.white_is_zero and values.max(initial=0) > 127  # class indices are as stored
    return 255 - values if shows else values


def _palette_values(stored: StoredMask) -> np.ndarray:
    """The greys of a grey palette, the indices of a coloured one."""
    used = np.unique(stored.samples)
    colours = stored.palette
    if used.max(initial=0) < len(colours) and (colours[used] == colours[used][:, :1]).all():
        return np.ascontiguousarray(colours[:, 0])[stored.samples]
    return np.ascontiguousarray(stored.samples)


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
