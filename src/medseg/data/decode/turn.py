"""Pictures turned upright by their EXIF or TIFF orientation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medseg.data.decode.headers import UPRIGHT

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # orientation -> upright
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, ...] as it is to be seen; the array itself for orientation 1."""
    return pixels if orientation == UPRIGHT else TURNS[orientation](pixels)
