"""What a picture file stores, with nothing interpreted: every format through one reader."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Image as PillowImage
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from medseg.data.decode import tiff
from medseg.data.decode.headers import (
    UPRIGHT,
    exif_orientation,
    header_size,
    may_hold_pages,
    png_chunks,
    webp_chunks,
)
from medseg.data.decode.jpeg import decode_jpeg
from medseg.data.decode.source import (
    PIXEL_CHUNKS,
    START,
    DecodeError,
    Source,
    check_size,
    damaged,
    not_an_image,
)
from medseg.data.decode.turn import upright

# what OpenCV has to say of a file is in our error, and of a sound one's private tags in nobody's
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
_PILLOW = {"PNG": PngImageFile, "GIF": GifImageFile, "BMP": BmpImageFile, "WebP": WebPImageFile}
_PNG_GREY, _PNG_PALETTE, _PNG_GREY_ALPHA = 0, 3, 4  # colour types


@dataclass(frozen=True)
class StoredMask:
    """The content of a file, upright, with nothing thresholded, scaled or inverted.

    samples: [H, W] or [H, W, 3] in the type that the file has, 0 and 1 where `bits` is 1, and
    indices where there is a palette, uint8 [N, 3] RGB; alpha: [H, W] or None; white_is_zero: the
    word of the header, not applied; pages: how many pictures the file holds; orientation: that of
    the file before it was turned. `premultiplied` colours are stored multiplied by alpha.
    """

    samples: np.ndarray
    alpha: np.ndarray | None = None
    palette: np.ndarray | None = None
    white_is_zero: bool = False
    lossy: bool = False
    bits: int = 8
    pages: int = 1
    premultiplied: bool = False
    orientation: int = UPRIGHT

    @property
    def channels(self) -> int:
        """1 grey, 3 colour, a palette's too, and one more with alpha."""
        colour = self.samples.ndim == 3 or self.palette is not None
        return (3 if colour else 1) + (self.alpha is not None)


def read_stored(source: Source, page: int = 0) -> StoredMask:
    """What a picture, or a .npy array, stores.

    Raises `DecodeError`, naming the file, for what is damaged, has no such page or is no picture.
    """
    if source.format == "TIFF":
        return _from_tiff(source, page)
    pages = count_pages(source)
    if page >= pages:
        raise tiff.no_such_page(source.name, page, pages)
    if source.format == "JPEG":
        stored = _from_channels(decode_jpeg(source.name, source.data))
        stored = replace(stored, lossy=True)
    elif Path(source.name).suffix.lower() == ".npy":
        return _from_array(source)
    elif not source.format:
        raise not_an_image(source)
    else:
        with_pillow = page > 0 or source.format in ("GIF", "BMP") or _has_palette(source)
        stored = _with_pillow(source, page) if with_pillow else _with_opencv(source)
        if source.format == "WebP":
            stored = replace(stored, lossy=any(k == b"VP8 " for k in _webp_kinds(source)))
    return _turned(replace(stored, pages=pages), exif_orientation(source.data))


def count_pages(source: Source) -> int:
    """How many pictures a file holds: pages of a TIFF, frames of a GIF, WebP or PNG."""
    if source.format == "TIFF":
        return tiff.count_pages(source)
    if not may_hold_pages(source.data[:START]):
        return 1
    try:
        return _PILLOW[source.format](io.BytesIO(source.data)).n_frames
    except (SyntaxError, EOFError):  # without the header that its first bytes promise
        raise not_an_image(source) from None
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise damaged(source.name, error) from None


def size_and_orientation(source: Source) -> tuple[int, int, int]:
    """Width and height as stored, and the orientation, as the header of the first page says.

    Raises `DecodeError` for what is no picture.
    """
    if source.format == "TIFF":
        return tiff.size_and_orientation(source)
    width, height = header_size(source.data)
    if not width or not height:
        raise not_an_image(source)
    return width, height, exif_orientation(source.data)


def _webp_kinds(source: Source) -> set[bytes]:
    """Kinds of the chunks, those within frames too."""
    kinds = set()
    for kind, at, _ in webp_chunks(source.data):
        kinds.add(kind)
        if kind == b"ANMF":  # its header, then chunks again
            kinds.add(source.data[at + 16 : at + 20])
    return kinds


def _turned(stored: StoredMask, orientation: int) -> StoredMask:
    if orientation == UPRIGHT:
        return stored
    alpha = None if stored.alpha is None else upright(stored.alpha, orientation)
    samples = upright(stored.samples, orientation)
    return replace(stored, samples=samples, alpha=alpha, orientation=orientation)


def _has_palette(source: Source) -> bool:
    return source.format == "PNG" and source.data[25] == _PNG_PALETTE


def _with_opencv(source: Source) -> StoredMask:
    """A PNG or WebP: OpenCV keeps 16 bits and is 1.8 times as fast as Pillow."""
    try:
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        data = _bare_png(source.data) if source.format == "PNG" else source.data
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None or not pixels.size:
        raise damaged(source.name, f"its {source.format} data cannot be decoded")
    if pixels.ndim == 3 and pixels.shape[2] > 2:
        pixels = cv2.cvtColor(
            pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        )
    stored = _from_channels(pixels)
    if source.format != "PNG":
        return stored
    bits, colour = source.data[24:26]
    samples = stored.samples
    if colour in (_PNG_GREY, _PNG_GREY_ALPHA) and samples.ndim == 3:
        samples = np.ascontiguousarray(samples[..., 0])
    if bits < 8:  # OpenCV has spread them over 0 to 255
        samples //= 255 // (2**bits - 1)
    return replace(stored, samples=samples, bits=bits)


def _bare_png(data: bytes) -> bytes:
    """A PNG of nothing but its pixels: libpng prints what it thinks of profiles and comments."""
    chunks = [data[:8]]
    for kind, at, length in png_chunks(data):
        if kind in PIXEL_CHUNKS:
            chunks.append(data[at - 8 : at + length + 4])
    return b"".join([*chunks, b"\0\0\0\0IEND\xaeB`\x82"])


def _with_pillow(source: Source, page: int) -> StoredMask:
    """A page of a GIF, WebP, PNG or BMP."""
    try:
        picture: PillowImage = _PILLOW[source.format](io.BytesIO(source.data))
        check_size(source.name, *picture.size)  # a damaged GIF can have another frame than we found
        if page:
            picture.seek(page)
        picture.load()
    except DecodeError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise damaged(source.name, error) from None
    if picture.mode != "P":
        if picture.mode == "1":
            black_white = np.asarray(picture.convert("L")) // 255
            return StoredMask(black_white.astype(np.uint8), bits=1)
        if picture.mode not in ("L", "LA", "RGB", "RGBA"):
            picture = picture.convert("RGB")
        return _from_channels(np.asarray(picture))
    samples = np.array(picture)
    palette = np.asarray(picture.getpalette(), np.uint8).reshape(-1, 3)
    bits = source.data[24] if source.format == "PNG" else 8
    return StoredMask(samples, _palette_alpha(picture, samples), palette, bits=bits)


def _palette_alpha(picture: PillowImage, samples: np.ndarray) -> np.ndarray | None:
    """The alpha of each pixel where entries of the palette are transparent."""
    transparent = picture.info.get("transparency")
    if transparent is None:
        return None
    table = np.full(256, 255, np.uint8)
    if isinstance(transparent, bytes):
        table[: len(transparent)] = np.frombuffer(transparent, np.uint8)[:256]
    else:
        table[int(transparent)] = 0
    return table[samples]


def _from_channels(pixels: np.ndarray) -> StoredMask:
    """Grey, grey with alpha, RGB or RGBA, split."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    channels = pixels.shape[2]
    colours = 1 if channels < 3 else 3
    samples = pixels[..., 0] if colours == 1 else pixels[..., :3]
    alpha = np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None
    return StoredMask(np.ascontiguousarray(samples), alpha, bits=8 * pixels.itemsize)


def _from_tiff(source: Source, number: int) -> StoredMask:
    page = tiff.read_page(source, number)
    samples = page.samples
    if page.photometric == tiff.CMYK:
        samples = _rgb_of_cmyk(source, samples)
    elif page.photometric == tiff.YCBCR:
        samples = cv2.cvtColor(np.ascontiguousarray(samples[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    channels = samples.shape[2]
    if channels > 4 or (page.photometric == tiff.PALETTE and channels > 2):
        raise DecodeError(f"{source.name}: has {channels} channels; expected grey or RGB")
    stored = StoredMask(
        **vars(_from_channels(samples))
        | {
            "palette": page.palette,
            "white_is_zero": page.photometric == tiff.WHITE_IS_ZERO,
            "lossy": page.lossy,
            "bits": page.bits,
            "pages": page.pages,
            "premultiplied": channels in (2, 4) and page.extra[:1] == (tiff.ASSOCIATED,),
        }
    )
    return _turned(stored, page.orientation)


def _rgb_of_cmyk(source: Source, samples: np.ndarray) -> np.ndarray:
    if samples.dtype != np.uint8 or samples.shape[2] < 4:
        raise tiff.unsupported(source, f"CMYK of {samples.shape[2]} samples of {samples.dtype}")
    ink = 255 - samples[..., :4].astype(np.uint16)
    return ((ink[..., :3] * ink[..., 3:] + 127) // 255).astype(np.uint8)


def _from_array(source: Source) -> StoredMask:
    """The content of a .npy file."""
    file = io.BytesIO(source.data)
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}
        shape, _, kind = read.get(version, np.lib.format.read_array_header_2_0)(file)
        if math.prod(shape) * kind.itemsize > len(source.data):
            raise ValueError(f"its header promises the shape {shape}")
        values = np.load(io.BytesIO(source.data), allow_pickle=False).squeeze()
    except DecodeError:
        raise
    except Exception as error:  # NumPy parses the header as Python, which raises many kinds
        reason = " ".join(str(error).split())[:100]
        raise DecodeError(f"{source.name}: cannot be read as an array ({reason})") from None
    picture = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if not picture or not values.size or kind.kind not in "buif":
        raise DecodeError(
            f"{source.name}: an array {list(values.shape)} of {values.dtype}; expected one of"
            " height and width, of floats from 0 to 1, booleans, or integers"
        )
    if kind.kind == "b":
        return replace(_from_channels(values.view(np.uint8)), bits=1)
    return _from_channels(values.astype(kind.newbyteorder("="), copy=False))
