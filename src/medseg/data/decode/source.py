"""The bytes of a file, complete, and small enough by its own header, before anything is decoded."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path

from PIL.TiffImagePlugin import TiffImageFile

from medseg.config.shared import MAX_PIXELS
from medseg.data.sealed import check_open
from medseg.errors import UserError

# of Pillow its file classes, not `Image.open`, whose limit is global and would come before ours
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a JPEG
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
_max_pixels = MAX_PIXELS  # of an image; for the process, as a user's option is


class DecodeError(UserError):
    """A file that is not an image, or only part of one."""


class MaskValueError(DecodeError):
    """A mask file that can be read but whose values mean nothing here."""


@dataclass(frozen=True)
class Source:
    """The content of a file and what to call it in messages."""

    name: str
    data: bytes


def set_max_pixels(pixels: int) -> None:
    """Refuse images with more pixels than this from now on, by the size in their header."""
    global _max_pixels
    _max_pixels = pixels


def open_source(source: Path | str | bytes) -> Source:
    """The bytes of a file, or those given, checked before decoding.

    Raises `DecodeError` for a file that cannot be read, is empty, cut off, or has too many pixels.
    """
    if isinstance(source, bytes):
        name, data = "the image", source
    else:
        name, data = str(source), _read(Path(source))
    if not data:
        raise DecodeError(f"{name}: has no content (0 bytes); restore the file or remove it")
    if not _complete(data):
        raise DecodeError(f"{name}: the file is cut off before its end; copy or download it again")
    check_size(name, *header_size(data))
    return Source(name, data)


def _read(path: Path) -> bytes:
    check_open(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DecodeError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None


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


def check_size(name: str, width: int, height: int) -> None:
    """Raise `DecodeError` for an image of more pixels than the limit."""
    if width * height > _max_pixels:
        raise DecodeError(
            f"{name}: {width}x{height} pixels are more than --max-pixels {_max_pixels}; raise it if"
            " the file is what it should be, or give a smaller copy"
        )


def check_values(source: Source, values: int) -> None:
    """Raise `DecodeError` for a picture that declares more `values` than 4 channels can have.

    Width and height do not bound them in a TIFF: it may declare 65535 channels, or layers of depth.
    """
    if values > 4 * _max_pixels:
        raise DecodeError(
            f"{source.name}: {values} values are more than 4 channels of --max-pixels"
            f" {_max_pixels}; raise it if the file is what it should be, or give a smaller copy"
        )


def is_known(data: bytes) -> bool:
    """Whether the content is of a format that we read, and whose header therefore was checked."""
    is_webp = data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    return is_webp or data.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", *TIFF))


def header_size(data: bytes) -> tuple[int, int]:
    """Width and height that the header declares; (0, 0) for what is no image of a format we read.

    All but TIFF are parsed here. Pillow refuses damaged headers that OpenCV decodes, which would
    leave the size unknown, and fills a GIF's canvas when it opens one.
    """
    try:
        if data.startswith(TIFF):
            return _tiff_size(data)
        if data.startswith(b"GIF8"):
            return _gif_size(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data.startswith(b"\x89PNG") and data[12:16] == b"IHDR":  # always the first chunk
            return struct.unpack_from(">II", data, 16)
        if data.startswith(b"BM"):
            return _bmp_size(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
    except Exception:  # whatever a damaged header leads to; the decoder says what is wrong
        pass
    return 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """From the start of frame, found as libjpeg finds it: bytes between segments are skipped."""
    at = 2
    while True:
        at = data.index(b"\xff", at)
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
        if marker not in _WITHOUT_LENGTH:
            at += struct.unpack_from(">H", data, at)[0]


def _gif_size(data: bytes) -> tuple[int, int]:
    """Of the canvas, or of the first frame where it reaches beyond it, as Pillow decodes it.

    w3.org/Graphics/GIF/spec-gif89a.txt.
    """
    width, height = struct.unpack_from("<HH", data, 6)
    flags = data[10]
    at = 13
    if flags & 0x80:  # a table of colours follows
        at += 3 << (flags & 7) + 1
    while data[at] != 0x2C:  # the frame; what is neither that nor an extension is skipped
        if data[at] == 0x21:  # a label, then blocks with their lengths, up to an empty one
            at += 2
            while data[at]:
                at += 1 + data[at]
        at += 1
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
    return max(width, left + frame_width), max(height, top + frame_height)


def _bmp_size(data: bytes) -> tuple[int, int]:
    """From the header of 12 bytes or a later one, whose height is negative for top-down rows."""
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)


def _tiff_size(data: bytes) -> tuple[int, int]:
    """Of the first page, by tifffile, or by Pillow where tifffile does not open it."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            return int(page.imagewidth), int(page.imagelength)
    except Exception:  # tifffile raises many kinds for damaged files
        width, height = TiffImageFile(io.BytesIO(data)).size
        return int(width), int(height)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Pillow's own reader allocates the picture when it opens one.

    developers.google.com/speed/webp/docs/riff_container.
    """
    kind, content = data[12:16], data[20:30]
    if kind == b"VP8X":
        return tuple(1 + int.from_bytes(content[at : at + 3], "little") for at in (4, 7))
    if kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return tuple(int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (6, 8))
