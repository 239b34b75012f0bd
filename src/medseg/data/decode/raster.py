"""Pictures to uint8 RGB or grey: JPEG, PNG, TIFF, BMP, WebP and GIF."""

from __future__ import annotations

import cv2
import numpy as np

from medseg.data.decode.image import Image
from medseg.data.decode.source import DecodeError, Source
from medseg.data.decode.stored import StoredMask, read_stored

SUFFIXES = {  # the format each one promises
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".webp": "WebP",
    ".gif": "GIF",
}


def recognises(source: Source) -> bool:
    """Whether this reader takes the file: it is asked last, and names what is no picture."""
    return True


def read_image(source: Source, *, channels: int, bit_depth: int, page: int) -> Image:
    """See `decode.read_image`."""
    stored = read_stored(source, page)
    pixels = stored.samples
    if stored.palette is not None:
        pixels = _colours(stored)
    else:
        pixels = _to_uint8(source, _unmultiplied(stored), stored, bit_depth)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB)
    if channels == 1:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)[..., None]
    deep = stored.samples.dtype.kind in "iu" and stored.bits > 8 and stored.palette is None
    return Image(
        np.ascontiguousarray(pixels),
        channels=stored.channels,
        lossy=stored.lossy,
        orientation=stored.orientation,
        pages=stored.pages,
        used=(int(stored.samples.max()), int(_white(stored, bit_depth))) if deep else (255, 255),
    )


def _colours(stored: StoredMask) -> np.ndarray:
    """The colours that the indices stand for; black beyond the end of the palette."""
    missing = max(0, int(stored.samples.max()) + 1 - len(stored.palette))
    return np.pad(stored.palette, ((0, missing), (0, 0)))[stored.samples]


def _unmultiplied(stored: StoredMask) -> np.ndarray:
    """The colours before they were multiplied by alpha; black where they are transparent."""
    if not stored.premultiplied or stored.alpha is None:
        return stored.samples
    alpha = stored.alpha if stored.samples.ndim == 2 else stored.alpha[..., None]
    top = 1.0 if alpha.dtype.kind == "f" else 2.0**stored.bits - 1
    scaled = stored.samples * (top / np.maximum(alpha, 1e-9 if top == 1 else 1))
    if top == 1:
        return np.clip(scaled, 0, 1)
    return np.clip(np.rint(scaled), 0, top).astype(stored.samples.dtype)


def _to_uint8(source: Source, pixels: np.ndarray, stored: StoredMask, bit_depth: int) -> np.ndarray:
    """Values of any depth over 0 to 255, black below white."""
    top = _white(stored, bit_depth)
    if pixels.dtype.kind in "if":
        low, high = pixels.min(), pixels.max()
        fits = low >= 0 and (high <= top or pixels.dtype.kind == "i")
        if not (np.isfinite([low, high]).all() and fits):
            raise DecodeError(
                f"{source.name}: holds {pixels.dtype} values from {low:g} to {high:g}; expected 8"
                " or 16 bit, or floats from 0 to 1"
            )
    if top != 255:
        kind = np.float32 if pixels.dtype == np.float32 else np.float64
        pixels = np.clip(np.rint(pixels * kind(255 / top)), 0, 255).astype(np.uint8)
    return 255 - pixels if stored.white_is_zero else pixels


def _white(stored: StoredMask, bit_depth: int) -> float:
    """The value that stands for white."""
    kind = stored.samples.dtype.kind
    if kind == "f":
        return 1.0
    bits = stored.bits - (kind == "i")
    return 2.0 ** (min(bits, bit_depth) if stored.bits == 16 else bits) - 1
