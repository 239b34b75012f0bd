"""What the bytes of a picture say before it is decoded: format, size and orientation.

All but TIFF is parsed here. Pillow refuses damaged headers that OpenCV decodes, which would leave
the size unknown, and fills a GIF's canvas when it opens one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
UPRIGHT = 1  # the orientation that needs no turn; 5 to 8 exchange height and width
_ORIENTATION_TAG = 0x0112  # of EXIF, and of TIFF, whose structure EXIF has
_SIGNATURES = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    **dict.fromkeys(TIFF, "TIFF"),
}
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a JPEG
_ANIMATED = 0x02  # of the flags of a WebP
_START_OF_SCAN = 0xDA
_APP1 = 0xE1
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})


def file_format(data: bytes) -> str:
    """JPEG, PNG, TIFF, BMP, WebP or GIF, whatever the file's name; "" for anything else."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    return next((name for start, name in _SIGNATURES.items() if data.startswith(start)), "")


def header_size(data: bytes) -> tuple[int, int]:
    """Width and height that the header declares; (0, 0) for TIFF and what is no image we read.

    A TIFF has one for each of its pages: see `tiff`.
    """
    sizes = {
        "JPEG": lambda data: jpeg_frame(data)[:2],
        "PNG": _png_size,
        "GIF": _gif_size,
        "BMP": _bmp_size,
        "WebP": _webp_size,
    }
    try:
        return sizes[file_format(data)](data)
    except (LookupError, ValueError, struct.error):  # the decoder says what is wrong
        return 0, 0


def may_hold_pages(start: bytes) -> bool:
    """Whether a file that begins so may hold several pictures."""
    kind = file_format(start)
    return (
        kind in ("TIFF", "GIF")
        or (kind == "PNG" and b"acTL" in start)
        or (kind == "WebP" and start[12:16] == b"VP8X" and start[20] & _ANIMATED != 0)
    )


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, PNG or WebP, 1 (upright, or none given) to 8."""
    blocks = {"JPEG": _jpeg_exif, "PNG": _png_exif, "WebP": _webp_exif}
    find = blocks.get(file_format(data))
    try:
        return _orientation_in(find(data)) if find else UPRIGHT
    except (LookupError, ValueError, struct.error):
        return UPRIGHT


def _orientation_in(exif: bytes) -> int:
    """The orientation in an EXIF block, which has the structure of a TIFF."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return UPRIGHT
    first = struct.unpack_from(f"{order}I", exif, 4)[0]
    for entry in range(struct.unpack_from(f"{order}H", exif, first)[0]):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, first + 2 + 12 * entry)
        if tag == _ORIENTATION_TAG:
            return value if kind == 3 and value in range(1, 9) else UPRIGHT
    return UPRIGHT


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Each marker with the place behind it, found as libjpeg finds them: bytes between segments
    are skipped."""
    at = 2
    while True:
        at = data.index(b"\xff", at)
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        yield marker, at
        if marker not in _WITHOUT_LENGTH:
            at += struct.unpack_from(">H", data, at)[0]


def jpeg_frame(data: bytes) -> tuple[int, int, int]:
    """Width, height and number of components of a JPEG; `ValueError` or `IndexError` without."""
    for marker, at in _jpeg_segments(data):
        if marker in _START_OF_FRAME:
            height, width, components = struct.unpack_from(">HHB", data, at + 3)
            return width, height, components
    raise ValueError("no frame")


def _jpeg_exif(data: bytes) -> bytes:
    for marker, at in _jpeg_segments(data):
        if marker == _START_OF_SCAN:
            break
        if marker == _APP1 and data[at + 2 : at + 8] == b"Exif\0\0":
            return data[at + 8 : at + struct.unpack_from(">H", data, at)[0]]
    return b""


def jpeg_without_exif(data: bytes) -> bytes:
    """A JPEG without the EXIF and XMP blocks before its scan, whose faults Pillow warns of."""
    parts, start = [], 0
    for marker, at in _jpeg_segments(data):
        if marker == _START_OF_SCAN:
            break
        if marker == _APP1:
            parts.append(data[start : at - 2])
            start = at + struct.unpack_from(">H", data, at)[0]
    return b"".join([*parts, data[start:]])


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the content of each chunk up to the last, IEND.

    Raises `struct.error` where the file ends before.
    """
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, length
        at += 12 + length


def _png_size(data: bytes) -> tuple[int, int]:
    kind, at, _ = next(png_chunks(data))  # IHDR is always the first
    return struct.unpack_from(">II", data, at) if kind == b"IHDR" else (0, 0)


def _png_exif(data: bytes) -> bytes:
    if b"eXIf" not in data:
        return b""
    found = (data[at : at + size] for kind, at, size in png_chunks(data) if kind == b"eXIf")
    return next(found, b"")


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


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the content of each chunk of a WebP.

    developers.google.com/speed/webp/docs/riff_container.
    """
    at, end = 12, min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, at + 8, length
        at += 8 + length + length % 2


def _webp_size(data: bytes) -> tuple[int, int]:
    """Pillow's own reader allocates the picture when it opens one."""
    kind, content = data[12:16], data[20:30]
    if kind == b"VP8X":
        return tuple(1 + int.from_bytes(content[at : at + 3], "little") for at in (4, 7))
    if kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return tuple(int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (6, 8))


def _webp_exif(data: bytes) -> bytes:
    found = (data[at : at + size] for kind, at, size in webp_chunks(data) if kind == b"EXIF")
    return next(found, b"")
