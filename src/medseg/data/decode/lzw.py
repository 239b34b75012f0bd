"""Whether LZW strips of a TIFF are sound.

libtiff fills the rest of a damaged strip with zeros, and OpenCV drops what it says of it.
"""

from __future__ import annotations

import numpy as np

_CLEAR, _END, _FIRST = 256, 257, 258  # codes; from the third on they are entries of the table
_FULL = 4096 - _FIRST  # entries of a table
_ORDER = np.arange(_FULL)
# bits of the n-th code behind a clear: one code early, as the format's first program counted
_WIDTHS = np.searchsorted([511, 1023, 2047], _FIRST - 1 + _ORDER, side="right") + 9
_ENDS = np.cumsum(_WIDTHS)


def is_sound(data: bytes, wanted: int) -> bool:
    """Whether the codes of a strip are all in their tables and give the `wanted` bytes."""
    if data[:1] == b"\0":  # of programs before 1990, with the bits of a byte in another order
        return True
    padded = np.frombuffer(data + bytes(4), np.uint8).astype(np.int64)
    at, given = 0, 0  # bit, bytes
    while given < wanted:
        codes, ends = _codes_from(padded, 8 * len(data), at)
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        count = int(stops[0]) if len(stops) else len(codes)
        foreign = np.flatnonzero(codes[:count] >= _FIRST + _ORDER[:count])  # in no table yet
        known = codes[: int(foreign[0]) if len(foreign) else count]
        given += len(known) + _depth(known)
        if given >= wanted:
            return True
        if len(foreign):
            return False
        if not len(stops):
            return len(codes) == _FULL  # a table that is never cleared
        if codes[count] == _END:
            return False
        at = int(ends[count])
    return True


def _codes_from(padded: np.ndarray, bits: int, at: int) -> tuple[np.ndarray, np.ndarray]:
    """The codes from a bit on, as if none of them cleared the table, and the bit each ends at."""
    ends = at + _ENDS
    ends = ends[ends <= bits]
    widths = _WIDTHS[: len(ends)]
    first = (ends - widths) // 8
    words = (padded[first] << 16) | (padded[first + 1] << 8) | padded[first + 2]
    return words >> (24 - (ends - 8 * first)) & ((1 << widths) - 1), ends


def _depth(codes: np.ndarray) -> int:
    """How many bytes more than one the codes stand for, all together.

    The n-th entry of the table is what the n-th code stands for and one byte more.
    """
    entry = codes >= _FIRST
    depth = entry.astype(np.int64)
    parent = np.where(entry, codes - _FIRST, _ORDER[: len(codes)])
    while (further := depth[parent]).any():  # ancestors twice as far each time
        depth += further
        parent = parent[parent]
    return int(depth.sum())
