"""The bytes of a file, complete, and small enough by its own header, before anything is decoded."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from medseg.config.shared import MAX_PIXELS
from medseg.data.decode.headers import file_format, header_size, png_chunks
from medseg.data.sealed import check_open
from medseg.errors import UserError

# chunks of a PNG that hold pixels or what they mean; a wrong sum of another chunk does no harm
PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"tRNS"})
START = 4096
_max_pixels = MAX_PIXELS  # of an image; for the process, as a user's option is


class DecodeError(UserError):
    """A file that is not an image, or only part of one."""


class MaskValueError(DecodeError):
    """A mask file that can be read but whose values mean nothing here."""


@dataclass(frozen=True)
class Source:
    """The content of a file, its format ("" for no picture) and what to call it in messages."""

    name: str
    data: bytes
    format: str


def set_max_pixels(pixels: int) -> None:
    """Refuse images with more pixels than this from now on, by the size in their header."""
    global _max_pixels
    _max_pixels = pixels


def open_source(source: Path | str | bytes) -> Source:
    """The bytes of a file, or those given, checked before decoding.

    Raises `DecodeError` for a file that cannot be read, is empty, cut off, or has too many pixels;
    a TIFF is checked page by page when it is decoded.
    """
    if isinstance(source, bytes):
        name, data = "the image", source
    else:
        name, data = str(source), _read(Path(source))
    if not data:
        raise DecodeError(f"{name}: has no content (0 bytes); restore the file or remove it")
    opened = Source(name, data, file_format(data))
    _check_complete(opened)
    check_size(name, *header_size(data))
    return opened


def _read(path: Path) -> bytes:
    check_open(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DecodeError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None


def read_start(path: Path) -> bytes:
    """The first bytes of a file, enough for most headers; nothing of one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(START)
    except OSError:
        return b""


def _check_complete(source: Source) -> None:
    """`DecodeError` where the header of a format tells that bytes are missing or wrong.

    What follows the end that the format promises does not matter. JPEGs tell while they are
    decoded, see `jpeg`, and TIFFs strip by strip.
    """
    data = source.data
    if source.format == "PNG":
        _check_png(source)
    promised = {
        "WebP": int.from_bytes(data[4:8], "little") + 8,
        "BMP": int.from_bytes(data[2:6], "little"),
    }
    if len(data) < promised.get(source.format, 0):
        raise cut_off(source.name)


def _check_png(source: Source) -> None:
    """The chunks up to IEND are there, and the sums of those with pixels are right."""
    data = source.data
    if data[12:16] != b"IHDR":
        raise not_an_image(source)
    view = memoryview(data)
    try:
        for kind, at, length in png_chunks(data):
            wanted = struct.unpack_from(">I", data, at + length)[0]
            if kind in PIXEL_CHUNKS and zlib.crc32(view[at - 4 : at + length]) != wanted:
                raise damaged(source.name, f"wrong checksum of {kind.decode()}")
    except struct.error:
        raise cut_off(source.name) from None


def cut_off(name: str) -> DecodeError:
    """What to say of a file without its end."""
    return DecodeError(f"{name}: the file is cut off before its end; copy or download it again")


def damaged(name: str, reason: object) -> DecodeError:
    """What to say of a file that is wrong in its middle, with the words of its decoder."""
    words = " ".join(str(reason).split())[:100]
    return DecodeError(f"{name}: the file is damaged ({words}); copy or download it again")


def not_an_image(source: Source) -> DecodeError:
    """What to say of a file that no decoder takes."""
    start = source.data[:512]
    kind = "text" if start.isascii() and b"\0" not in start else "no image that can be read"
    return DecodeError(
        f"{source.name}: holds {kind}; expected a JPEG, PNG, TIFF, BMP, WebP or GIF image"
    )


def check_size(name: str, width: int, height: int) -> None:
    """Raise `DecodeError` for an image of more pixels than the limit."""
    if width * height > _max_pixels:
        raise DecodeError(
            f"{name}: {width}x{height} pixels are more than --max-pixels {_max_pixels}; raise it if"
            " the file is what it should be, or give a smaller copy"
        )


def check_values(name: str, values: int) -> None:
    """Raise `DecodeError` for a picture that declares more `values` than 4 channels can have.

    Width and height do not bound them in a TIFF: it may declare 65535 channels, or layers of depth.
    """
    if values > 4 * _max_pixels:
        raise DecodeError(
            f"{name}: {values} values are more than 4 channels of --max-pixels {_max_pixels}; raise"
            " it if the file is what it should be, or give a smaller copy"
        )
