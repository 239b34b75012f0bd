"""Small pictures inside annotation files."""

from __future__ import annotations

import cv2
import numpy as np

from medseg.data.decode.source import open_source
from medseg.errors import UserError


def png_mask(data: bytes, where: str) -> np.ndarray:
    """bool [H, W] of a PNG: its alpha where it has any, else what is not 0.

    Refused by the size in its header, as every image is.
    """
    if not data.startswith(b"\x89PNG"):
        raise UserError(f"{where}: its bitmap is no PNG; export it again")
    try:
        open_source(data)  # too many pixels, or cut off
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise UserError(f"{where}: its bitmap is a damaged PNG; export it again")
    if pixels.ndim == 3:
        pixels = pixels[..., 3] if pixels.shape[2] == 4 else pixels.max(2)
    return pixels > 0
