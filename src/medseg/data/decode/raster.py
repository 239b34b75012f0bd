"""Pictures to arrays: JPEG, PNG, TIFF, BMP, WebP and GIF.

OpenCV decodes, 1.8 times as fast as Pillow; tifffile takes the TIFFs that it cannot read, Pillow
the GIFs and whatever has a palette. OpenCV fills the missing half of a truncated file with grey and
does not report it, so `source` checks the ends of files.
"""

from __future__ import annotations

import io
import logging
import math

import cv2
import numpy as np
import tifffile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Image as PillowImage
from PIL.PngImagePlugin import PngImageFile

from medseg.data.decode.image import Image
from medseg.data.decode.source import (
    TIFF,
    DecodeError,
    Source,
    check_size,
    check_values,
    is_known,
)

SUFFIXES = {  # the format each one promises
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".webp": "WebP",
    ".gif": "GIF",
}
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it has to say is in our error


def recognises(source: Source) -> bool:
    """Whether this reader takes the file: it is asked last, and names what is no picture."""
    return True


def read_image(source: Source, *, channels: int, bit_depth: int) -> Image:
    """See `decode.read_image`."""
    if has_palette(source):
        pixels = np.asarray(open_with_pillow(source).convert("RGB"))
    else:
        # not IMREAD_COLOR_RGB: OpenCV 5.0 returns garbage for 16-bit TIFFs with it
        pixels = with_opencv(source, cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH)
        pixels = with_tifffile(source) if pixels is None else pixels[..., ::-1]
    pixels = _to_uint8(source, _three_channels(source, pixels), bit_depth)
    if channels == 1:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)[..., None]
    return Image(np.ascontiguousarray(pixels))


def has_palette(source: Source) -> bool:
    """Whether the pixels are indices into a table of colours."""
    data = source.data
    return data.startswith(b"GIF8") or (
        data.startswith(b"\x89PNG") and len(data) > 25 and data[25] == 3
    )


def with_opencv(source: Source, flags: int) -> np.ndarray | None:
    """The pixels, channels blue first; None for what OpenCV has no decoder for.

    OpenCV also decodes AVIF, JPEG 2000, PNM and others by their content, whatever the file's name.
    No header of these is checked against the pixel limit, so they are not given to it.
    """
    if not is_known(source.data):
        return None
    try:
        return cv2.imdecode(np.frombuffer(source.data, np.uint8), flags)
    except cv2.error:
        raise DecodeError(
            f"{source.name}: has a damaged header; copy or download the file again"
        ) from None


def open_with_pillow(source: Source) -> PillowImage:
    """The picture of a PNG or GIF, decoded."""
    opener = GifImageFile if source.data.startswith(b"GIF8") else PngImageFile
    try:
        picture = opener(io.BytesIO(source.data))
        check_size(source.name, *picture.size)  # a damaged GIF can have another frame than we found
        picture.load()
    except DecodeError:
        raise
    except Exception:  # Pillow's decoders raise many kinds for damaged files
        raise not_an_image(source) from None
    return picture


def with_tifffile(source: Source) -> np.ndarray:
    """The pixels of the first page of a TIFF."""
    if not source.data.startswith(TIFF):
        raise not_an_image(source)
    try:
        with tifffile.TiffFile(io.BytesIO(source.data)) as file:
            page = file.pages[0]
            check_values(source, math.prod(page.shape))
            pixels = np.asarray(page.asarray())
        if pixels.ndim not in (2, 3) or not pixels.size:
            raise ValueError("no picture in it")
        return pixels
    except DecodeError:
        raise
    except Exception as error:  # tifffile's codecs raise many kinds for damaged files
        reason = " ".join(str(error).split())[:100]
        raise DecodeError(
            f"{source.name}: a TIFF that cannot be decoded ({reason}); save it as PNG"
        ) from None


def not_an_image(source: Source) -> DecodeError:
    """What to say of a file that no decoder takes."""
    start = source.data[:512]
    kind = "text" if start.isascii() and b"\0" not in start else "no image that can be read"
    return DecodeError(
        f"{source.name}: holds {kind}; expected a JPEG, PNG, TIFF, BMP, WebP or GIF image"
    )


def _three_channels(source: Source, pixels: np.ndarray) -> np.ndarray:
    """[H, W, 3] of grey, grey with alpha, RGB or RGBA."""
    if pixels.ndim == 2 or pixels.shape[2] in (1, 2):  # grey, or grey with alpha
        return np.repeat(pixels.reshape(*pixels.shape[:2], -1)[..., :1], 3, axis=2)
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        return pixels[..., :3]
    channels = pixels.shape[2] if pixels.ndim == 3 else list(pixels.shape)
    raise DecodeError(f"{source.name}: has {channels} channels; expected grey or RGB")


def _to_uint8(source: Source, pixels: np.ndarray, bit_depth: int) -> np.ndarray:
    """Values of 16 bits and floats from 0 to 1 as 8 bits."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint16:
        scaled = np.rint(pixels * (255.0 / (2**bit_depth - 1)))
        return np.clip(scaled, 0, 255).astype(np.uint8)
    low, high = pixels.min(), pixels.max()
    is_float = np.issubdtype(pixels.dtype, np.floating)
    if is_float and np.isfinite(pixels).all() and low >= 0 and high <= 1:
        return np.rint(pixels * 255).astype(np.uint8)
    raise DecodeError(
        f"{source.name}: holds {pixels.dtype} values from {low:g} to {high:g}; expected 8 or 16"
        " bit, or floats from 0 to 1"
    )
