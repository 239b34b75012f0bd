"""What decoding an image gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Spacing = tuple[float, float]


@dataclass(frozen=True)
class Image:
    """pixels: uint8 [H, W, C], contiguous; spacing: height and width of a pixel in mm, if known."""

    pixels: np.ndarray
    spacing: Spacing | None = None
