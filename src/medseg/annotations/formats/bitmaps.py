"""Small pictures inside annotation files."""

from __future__ import annotations

import numpy as np

from medseg.data.decode import read_stored_mask
from medseg.data.masks.planes import pixels_of
from medseg.errors import UserError


def png_mask(data: bytes, where: str) -> np.ndarray:
    """bool [H, W] of a PNG: its alpha where it has any, else what is not 0.

    Refused by the size in its header, as every image is.
    """
    if not data.startswith(b"\x89PNG"):
        raise UserError(f"{where}: its bitmap is no PNG; export it again")
    try:
        stored = read_stored_mask(data)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    pixels = pixels_of(stored, where) if stored.alpha is None else stored.alpha
    return (pixels if pixels.ndim == 2 else pixels.max(2)) > 0
