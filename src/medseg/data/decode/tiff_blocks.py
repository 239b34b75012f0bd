"""The strips or tiles of a TIFF page: decompressed, unpacked to values, predictor undone.

Every value comes from the file: a strip that is missing, or shorter than its header says, is an
error and never zeros or memory as it was found.
"""

from __future__ import annotations

import lzma
import math
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from medseg.data.decode.headers import header_size
from medseg.data.decode.jpeg import decode_jpeg
from medseg.data.decode.lzw import is_sound
from medseg.data.decode.source import DecodeError, Source, cut_off, damaged

NONE, LZW, JPEG, PACKBITS, LZMA = 1, 5, 7, 32773, 34925
FAX = (2, 3, 4)  # CCITT: modified Huffman, group 3, group 4
DEFLATE = (8, 32946)
BY_LIBTIFF = (LZW, PACKBITS, *FAX)
LOSSY = (JPEG,)
HORIZONTAL, FLOATING = 2, 3  # predictors
_NAMES = {
    6: "old JPEG", 34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000", 34887: "LERC",
    50000: "ZSTD", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL", 32809: "ThunderScan",
    32766: "NeXT", 34661: "JBIG", 34676: "SGI LogL", 34677: "SGI LogL", 32908: "PixarFilm",
    32909: "PixarLog",
}  # fmt: skip
_RGB, _YCBCR = 2, 6  # photometric kinds
_CHUNK = 1 << 22  # values unpacked at once from odd numbers of bits


@dataclass(frozen=True)
class Layout:
    """How the samples of a page lie in the file.

    `planes` lie one behind the other with `depth` samples in each pixel; blocks are strips as wide
    as the picture, or tiles. `kind` is NumPy's letter of the values, `order` "<" or ">".
    """

    height: int
    width: int
    planes: int
    depth: int
    block_height: int
    block_width: int
    tiled: bool
    bits: int
    kind: str
    order: str
    compression: int
    predictor: int
    reversed_bits: bool
    photometric: int
    subsampling: tuple[int, ...]
    fax_options: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    jpeg_tables: bytes

    @property
    def is_jpeg(self) -> bool:
        """Whether the blocks are JPEGs, which know about colours by themselves."""
        return self.compression == JPEG

    @property
    def across(self) -> int:
        """Blocks beside each other."""
        return math.ceil(self.width / self.block_width)

    @property
    def down(self) -> int:
        """Blocks below each other."""
        return math.ceil(self.height / self.block_height)

    @property
    def row_values(self) -> int:
        """Values in a row of a block."""
        return self.block_width * self.depth

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a block, decompressed."""
        return math.ceil(self.row_values * self.bits / 8)

    @property
    def rows(self) -> int:
        """Rows of all blocks of a plane, one below the other."""
        return self.across * self.down * self.block_height if self.tiled else self.height


def decode_rows(source: Source, layout: Layout) -> list[np.ndarray]:
    """The values of each plane: [rows, values], all blocks one below the other.

    Raises `DecodeError` for blocks that are damaged, missing or too short, and by name for a
    compression that is not known.
    """
    if layout.is_jpeg:
        return [_jpeg_plane(source, layout, plane) for plane in range(layout.planes)]
    planes = []
    for plane in range(layout.planes):
        raw = _raw_blocks(source, layout, plane)
        if layout.compression in BY_LIBTIFF:
            rows = _with_libtiff(source, layout, raw)
        else:
            rows = np.concatenate([_inflate(source, layout, data, n) for data, n in raw])
        planes.append(_undo_predictor(source, layout, rows))
    return planes


def unsupported(source: Source, what: str) -> DecodeError:
    """What to say of a TIFF that cannot be read."""
    return DecodeError(f"{source.name}: a TIFF that cannot be decoded ({what}); save it as PNG")


def _raw_blocks(source: Source, layout: Layout, plane: int) -> list[tuple[bytes, int]]:
    """The bytes of each block of a plane as they lie in the file, and the rows it must give."""
    count = layout.across * layout.down
    places = list(zip(layout.offsets, layout.counts, strict=False))
    places = places[plane * count : (plane + 1) * count]
    if len(places) < count:
        raise damaged(source.name, f"{len(places)} of {count} strips or tiles")
    blocks = []
    for number, (offset, size) in enumerate(places):
        beyond = offset + size > len(source.data)
        if not size or not offset or (beyond and layout.compression != NONE):
            raise cut_off(source.name)
        rows = layout.block_height
        if not layout.tiled:
            rows = min(rows, layout.height - number * rows)
        data = source.data[offset : offset + size]
        if layout.reversed_bits and not (layout.is_jpeg or layout.compression in BY_LIBTIFF):
            data = data.translate(_REVERSED)
        blocks.append((data, rows))
    return blocks


_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def _inflate(source: Source, layout: Layout, data: bytes, rows: int) -> np.ndarray:
    """uint8 [rows, bytes] of a block."""
    wanted = rows * layout.row_bytes
    if layout.compression in DEFLATE:
        data = _complete(source, zlib.decompressobj(), data, wanted)
    elif layout.compression == LZMA:
        data = _complete(source, lzma.LZMADecompressor(), data, wanted)
    elif layout.compression != NONE:
        name = _NAMES.get(layout.compression, f"number {layout.compression}")
        raise unsupported(source, f"compression {name}")
    if len(data) < wanted:
        raise cut_off(source.name)
    return np.frombuffer(data, np.uint8, wanted).reshape(rows, layout.row_bytes)


def _complete(source: Source, decompressor: object, data: bytes, wanted: int) -> bytes:
    """As many bytes as wanted: a bomb is not unpacked, but a wrong checksum behind them is seen."""
    try:
        out = decompressor.decompress(data, max_length=wanted)
        if not decompressor.eof:
            rest = getattr(decompressor, "unconsumed_tail", b"")
            decompressor.decompress(rest, max_length=1)
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise damaged(source.name, error) from None
    return out


def _with_libtiff(source: Source, layout: Layout, blocks: list[tuple[bytes, int]]) -> np.ndarray:
    """uint8 [rows, bytes] of blocks that OpenCV's libtiff decompresses.

    It is given a TIFF of our own around the same blocks, of one grey sample and as wide as a row
    has bytes, so that nothing but the decompression is left to it.
    """
    fax = layout.compression in FAX
    width, bits = (layout.row_values, 1) if fax else (layout.row_bytes, 8)
    if fax and layout.bits * layout.depth != 1:
        raise unsupported(source, f"fax compression of {layout.bits} bits")
    asked = layout.compression == LZW and not layout.reversed_bits
    if asked and not all(is_sound(raw, n * layout.row_bytes) for raw, n in blocks):
        raise damaged(source.name, "its LZW codes")
    rows = sum(n for _, n in blocks)
    data = b"".join(raw for raw, _ in blocks)
    lengths = [len(raw) for raw, _ in blocks]
    starts = 8 + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    tags = {
        256: [width],
        257: [rows],
        258: [bits],
        259: [layout.compression],
        262: [1],
        266: [2 if layout.reversed_bits else 1],
        273: starts.tolist(),
        277: [1],
        278: [layout.block_height],
        279: lengths,
    }
    if layout.compression == 3:
        tags[292] = [layout.fax_options]
    mini = _small_tiff(data, tags)
    try:
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        out = cv2.imdecode(np.frombuffer(mini, np.uint8), flags)
    except cv2.error:
        out = None
    if out is None or out.shape != (rows, width):
        raise damaged(source.name, "a strip that cannot be decompressed")
    return np.packbits(out > 0, axis=1) if fax else out


def _small_tiff(data: bytes, tags: dict[int, list[int]]) -> bytes:
    """A little-endian TIFF: its data behind the header, then long values, then the directory."""
    body = bytearray(data)
    entries = []
    for code, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            body += bytes(-len(body) % 4)
            packed, at = struct.pack("<I", 8 + len(body)), packed
            body += at
        entries.append(struct.pack("<HHI", code, 4, len(values)) + packed)
    body += bytes(-len(body) % 4)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + bytes(body) + directory


def _undo_predictor(source: Source, layout: Layout, rows: np.ndarray) -> np.ndarray:
    """[rows, values] of uint8 [rows, bytes]."""
    if layout.predictor == FLOATING:
        return _undo_floating(source, layout, rows)
    values = _unpack(layout, rows)
    if layout.predictor == HORIZONTAL:
        if layout.bits not in (8, 16, 32, 64):
            raise unsupported(source, f"a predictor for {layout.bits} bits")
        # differences to the pixel on the left, also of floats, whose bits are taken as integers
        whole = values.view(f"u{layout.bits // 8}").reshape(len(rows), -1, layout.depth)
        summed = np.cumsum(whole, axis=1, dtype=whole.dtype)
        return summed.reshape(len(rows), -1).view(values.dtype)
    if layout.predictor != 1:
        raise unsupported(source, f"predictor {layout.predictor}")
    return values


def _undo_floating(source: Source, layout: Layout, rows: np.ndarray) -> np.ndarray:
    """Adobe's predictor: the bytes of floats by significance, each as difference to the last."""
    if layout.kind != "f":
        raise unsupported(source, "a predictor of floats for integers")
    count = len(rows)
    differences = rows.reshape(count, -1, layout.depth)
    summed = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(count, layout.bits // 8, -1)
    by_value = np.ascontiguousarray(summed.swapaxes(1, 2))
    kind = f"f{layout.bits // 8}"
    return by_value.view(f">{kind}").reshape(count, -1).astype(kind)


def _unpack(layout: Layout, rows: np.ndarray) -> np.ndarray:
    """Values of the smallest type that holds them, of uint8 [rows, bytes]."""
    bits, count = layout.bits, layout.row_values
    if bits in (8, 16, 32, 64):
        kind = f"{layout.kind}{bits // 8}"
        stored = np.ascontiguousarray(rows).view(f"{layout.order}{kind}")
        return stored.astype(kind, copy=False)
    size = next(size for size in (1, 2, 4, 8) if 8 * size >= bits)
    out = np.zeros((len(rows), count), f"u{size}")
    little = layout.order == "<" and bits % 8 == 0  # whole bytes follow the order of the file
    for start in range(0, len(rows), max(1, _CHUNK // count)):
        part = slice(start, start + max(1, _CHUNK // count))
        if bits % 8 == 0:
            digits = rows[part].reshape(-1, count, bits // 8)
            digits = digits[..., ::-1] if little else digits
            base = 8
        else:
            digits = np.unpackbits(rows[part], axis=1, count=count * bits)
            digits = digits.reshape(-1, count, bits)
            base = 1
        for digit in range(digits.shape[2]):
            out[part] = (out[part] << base) | digits[..., digit]
    if layout.kind == "i":  # the sign, from the highest bit
        shift = 8 * size - bits
        return (out << shift).view(f"i{size}") >> shift
    return out


def _jpeg_plane(source: Source, layout: Layout, plane: int) -> np.ndarray:
    """uint8 [rows, values] of the JPEGs of a plane."""
    if layout.bits != 8 or (layout.planes > 1 and layout.photometric == _YCBCR):
        raise unsupported(source, f"JPEG of {layout.bits} bits in {layout.planes} planes")
    parts = []
    for data, rows in _raw_blocks(source, layout, plane):
        width, height = header_size(data)
        if width != layout.block_width or not rows <= height <= layout.block_height:
            raise damaged(source.name, f"a strip or tile of {width}x{height} pixels")
        out = decode_jpeg(source.name, _whole_jpeg(layout, data))
        if out.shape[2] != layout.depth:
            raise damaged(source.name, f"a JPEG of {out.shape[2]} channels")
        parts.append(out[:rows].reshape(rows, -1))
    return np.concatenate(parts)


def _whole_jpeg(layout: Layout, data: bytes) -> bytes:
    """A JPEG with the tables that all blocks share, and a word on what its colours are."""
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([layout.photometric == _YCBCR])
    about = adobe if layout.photometric in (_RGB, _YCBCR) else b""
    return b"\xff\xd8" + about + layout.jpeg_tables[2:-2] + data[2:]
