"""Files to arrays: images as uint8 RGB or grey, masks as the raw values they hold.

OpenCV decodes, 1.8 times as fast as Pillow; tifffile takes the TIFFs it cannot read, Pillow the
GIFs and whatever has a palette. OpenCV fills the missing half of a truncated file with grey and
says nothing, so the ends of files are checked.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path

import cv2
import numpy as np

from medseg.data.sealed import check_open
from medseg.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif"})


class DecodeError(UserError):
    """A file that is not an image, or only part of one."""


class MaskValueError(DecodeError):
    """A mask file that can be read but whose values mean nothing here."""


def read_image(path: Path, *, channels: int = 3, bit_depth: int = 16) -> np.ndarray:
    """uint8 [H, W, 3] RGB, or [H, W, 1] grey for one channel; EXIF orientation applied, alpha
    dropped.

    Values of 16-bit files are scaled from 0..2**bit_depth - 1, floats from 0..1. Of several pages
    the first counts. Raises `DecodeError` naming the file.
    """
    path = Path(path)
    data = _bytes(path)
    if _has_palette(data):
        pixels = _with_pillow(path, data, "RGB")
    else:
        # not IMREAD_COLOR_RGB: OpenCV 5.0 returns garbage for 16-bit TIFFs with it
        pixels = _with_opencv(path, data, cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH)
        pixels = _with_tifffile(path, data) if pixels is None else pixels[..., ::-1]
    pixels = _to_uint8(path, _three_channels(path, pixels), bit_depth)
    if channels == 1:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)[..., None]
    return np.ascontiguousarray(pixels)


def read_mask(path: Path) -> np.ndarray:
    """uint8 [H, W]: the values a mask file holds, with nothing thresholded.

    Colour with equal channels counts as grey; one colour beside black becomes 0 and 255; a grey
    palette gives its greys, a coloured one its indices. Raises `MaskValueError` for several colours
    and for values above 255, else `DecodeError`.
    """
    path = Path(path)
    data = _bytes(path)
    if _has_palette(data):
        return _palette_mask(path, data)
    values = _with_opencv(path, data, cv2.IMREAD_UNCHANGED)
    if values is None:
        values = _with_tifffile(path, data)
    if values.ndim == 3:
        values = _grey(path, values[..., : 3 if values.shape[2] > 2 else 1])
    return _narrow(path, values)


def read_map(path: Path, *, zero_one: bool = False) -> np.ndarray:
    """float32 [H, W] in 0 to 1: a probability map or mask of any tool, 8 or 16 bits over their full
    range, or floats as they are.

    With `zero_one` integers are a mask of 0 and 1. Of colours the first channel counts. Raises
    `DecodeError` naming the file.
    """
    values = _map_values(Path(path))
    if values.dtype.kind == "f":
        if not (
            np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1
        ):
            raise DecodeError(
                f"{path}: holds floats from {values.min():g} to {values.max():g}; expected"
                " probabilities from 0 to 1"
            )
        return values.astype(np.float32)
    return values.astype(np.float32) / (1 if zero_one else np.iinfo(values.dtype).max)


def is_zero_one(path: Path) -> bool:
    """Whether a map or mask holds integers, and none above 1."""
    values = _map_values(Path(path))
    return values.dtype.kind != "f" and int(values.max(initial=0)) <= 1


def _map_values(path: Path) -> np.ndarray:
    """uint8, uint16 or float [H, W], as the file holds them."""
    data = _bytes(path)
    if path.suffix.lower() == ".npy":
        return _with_numpy(path, data)
    values = None if _has_palette(data) else _with_opencv(path, data, cv2.IMREAD_UNCHANGED)
    if values is not None and (values.dtype == np.uint16 or values.dtype.kind == "f"):
        return values if values.ndim == 2 else values[..., 0]
    return read_image(path, channels=3)[..., 0]


def _with_numpy(path: Path, data: bytes) -> np.ndarray:
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        raise DecodeError(
            f"{path}: cannot be read as an array ({' '.join(str(error).split())[:100]})"
        ) from None
    values = values.squeeze()
    if values.ndim != 2 or not (
        values.dtype.kind == "f" or values.dtype in (bool, np.uint8, np.uint16)
    ):
        raise DecodeError(
            f"{path}: an array {list(values.shape)} of {values.dtype}; expected one of height and"
            " width, of floats from 0 to 1, booleans, or 8 or 16 bits"
        )
    return values.astype(np.uint8) if values.dtype == bool else values


def _bytes(path: Path) -> bytes:
    check_open(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DecodeError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None
    if not data:
        raise DecodeError(f"{path}: has no content (0 bytes); restore the file or remove it")
    if not _complete(data):
        raise DecodeError(f"{path}: the file is cut off before its end; copy or download it again")
    return data


def _complete(data: bytes) -> bool:
    """Whether the end that the format promises is there; formats that promise none pass."""
    if data.startswith(b"\xff\xd8"):  # JPEG; cameras may append a few bytes after the end marker
        return b"\xff\xd9" in data[-4096:]
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data[-64:]
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    if data.startswith(b"BM"):
        return len(data) >= int.from_bytes(data[2:6], "little")
    return True


def _has_palette(data: bytes) -> bool:
    return data.startswith(b"GIF8") or (
        data.startswith(b"\x89PNG") and len(data) > 25 and data[25] == 3
    )


def _not_an_image(path: Path, data: bytes) -> DecodeError:
    kind = (
        "text" if data[:512].isascii() and b"\0" not in data[:512] else "no image that can be read"
    )
    return DecodeError(f"{path}: holds {kind}; expected a JPEG, PNG, TIFF, BMP, WebP or GIF image")


def _with_opencv(path: Path, data: bytes, flags: int) -> np.ndarray | None:
    """The pixels, channels blue first; None for what OpenCV has no decoder for."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        raise DecodeError(
            f"{path}: has more pixels than can be decoded, or a damaged header; give a smaller copy"
        ) from None


def _with_pillow(path: Path, data: bytes, mode: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture if mode == "" else picture.convert(mode))
    except Exception:  # Pillow's decoders raise many kinds for damaged files
        raise _not_an_image(path, data) from None


def _with_tifffile(path: Path, data: bytes) -> np.ndarray:
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raise _not_an_image(path, data)
    import logging

    import tifffile

    logging.getLogger("tifffile").setLevel(
        logging.CRITICAL
    )  # what it has to say is in the error below
    try:
        pixels = np.asarray(tifffile.imread(io.BytesIO(data), key=0))
        if pixels.ndim not in (2, 3) or not pixels.size:
            raise ValueError("no picture in it")
        return pixels
    except Exception as error:  # tifffile's codecs raise many kinds for damaged files
        raise DecodeError(
            f"{path}: a TIFF that cannot be decoded ({' '.join(str(error).split())[:100]}); save it"
            " as PNG"
        ) from None


def _three_channels(path: Path, pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2 or pixels.shape[2] in (1, 2):  # grey, or grey with alpha
        return np.repeat(pixels.reshape(*pixels.shape[:2], -1)[..., :1], 3, axis=2)
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        return pixels[..., :3]
    raise DecodeError(
        f"{path}: has {pixels.shape[2] if pixels.ndim == 3 else list(pixels.shape)} channels;"
        " expected grey or RGB"
    )


def _to_uint8(path: Path, pixels: np.ndarray, bit_depth: int) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint16:
        return np.clip(np.rint(pixels * (255.0 / (2**bit_depth - 1))), 0, 255).astype(np.uint8)
    if (
        np.issubdtype(pixels.dtype, np.floating)
        and np.isfinite(pixels).all()
        and pixels.min() >= 0
        and pixels.max() <= 1
    ):
        return np.rint(pixels * 255).astype(np.uint8)
    raise DecodeError(
        f"{path}: holds {pixels.dtype} values from {pixels.min():g} to {pixels.max():g}; expected 8"
        " or 16 bit, or floats from 0 to 1"
    )


def _palette_mask(path: Path, data: bytes) -> np.ndarray:
    from PIL import Image

    index = _with_pillow(path, data, "")
    with Image.open(io.BytesIO(data)) as picture:
        if picture.mode != "P":  # a GIF or PNG that Pillow has already turned into grey
            return _narrow(path, _grey(path, index) if index.ndim == 3 else index)
        colours = np.asarray(picture.getpalette(), np.uint8).reshape(-1, 3)
    used = np.unique(index)
    if (colours[used] == colours[used][:, :1]).all():
        return colours[index, 0]
    return index.astype(np.uint8)


def _grey(path: Path, values: np.ndarray) -> np.ndarray:
    """One channel of a colour mask: equal channels up to JPEG noise, or one colour beside black."""
    planes = [
        values[..., i] for i in range(values.shape[2])
    ]  # ten times as fast as a reduction over the last axis
    highest = functools.reduce(np.maximum, planes)
    spread = highest.astype(np.int32) - functools.reduce(np.minimum, planes)
    if spread.max(initial=0) <= 48 or (spread > 48).mean() < 1e-3:
        return values[..., values.shape[2] // 2]
    bright = values.reshape(-1, values.shape[2])[highest.ravel() > 127]
    common = np.median(bright, axis=0) if len(bright) else np.zeros(values.shape[2])
    if (np.abs(bright - common).max(axis=1) <= 48).mean() > 0.95:
        return highest
    raise MaskValueError(
        f"{path}: a mask in several colours; expected grey values, one colour on black, or class"
        " indices: convert each colour to its class index (0 background, 1, 2, ...)"
    )


def _narrow(path: Path, values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype == bool or (
        values.max(initial=0) <= 255 and np.array_equal(values, values.astype(np.uint8))
    ):
        return values.astype(np.uint8)
    if set(np.unique(values)) <= {0, 65535}:
        return (values > 0).astype(np.uint8) * 255
    raise MaskValueError(
        f"{path}: a mask with values up to {values.max():g}; expected 0 and 255, 0 and 1, or class"
        " indices below 255"
    )
