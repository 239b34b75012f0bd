"""Run lengths of COCO, plain and as text, and of CVAT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.errors import UserError


def from_text(text: str, where: str) -> list[int]:
    """The run lengths that COCO's compressed text stands for.

    Five bits a character from 48 on, the lowest first, the sixth says that more follow; from the
    third run on the difference to the run before the last. cocodataset/cocoapi, maskApi.c.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise UserError(f"{where}: {character!r} does not belong into COCO's compressed RLE")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise UserError(f"{where}: its compressed RLE is cut off")
    return counts


def decode(
    counts: Sequence[int], height: int, width: int, where: str, *, by_column: bool
) -> np.ndarray:
    """bool [H, W] of runs that begin with the background.

    COCO goes down the columns, CVAT along the rows. Raises `UserError` where the runs do not fill
    the picture exactly.
    """
    total = sum(counts)
    if total != height * width or min(counts, default=0) < 0:
        raise UserError(
            f"{where}: its runs cover {total} pixels, expected {height * width} of"
            f" {width}x{height}; export it again"
        )
    values = np.arange(len(counts)) % 2 == 1
    flat = np.repeat(values, np.asarray(counts, np.int64))
    return flat.reshape(width, height).T if by_column else flat.reshape(height, width)
