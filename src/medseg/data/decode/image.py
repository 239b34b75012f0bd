"""What decoding an image gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Spacing = tuple[float, float]


@dataclass(frozen=True)
class Image:
    """pixels: uint8 [H, W, C], contiguous; spacing: height and width of a pixel in mm, if known.

    What the file said: its `channels`, 1 to 4 with alpha, whether they were stored `lossy`, its
    EXIF `orientation` before it was turned, its number of `pages`, and the `highest` of its values
    beside the one that stands for `white`.
    """

    pixels: np.ndarray
    spacing: Spacing | None = None
    channels: int = 3
    lossy: bool = False
    orientation: int = 1
    pages: int = 1
    highest: float = 255
    white: float = 255
