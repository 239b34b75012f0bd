"""What decoding an image gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Spacing = tuple[float, float]


def small_range(used: tuple[int, int]) -> str:
    """What to say of images that use a quarter of their range or less; "" for others."""
    highest, white = used
    if white <= 255 or highest > white // 4:
        return ""
    bits = max(8, highest.bit_length())
    flag = f"--bit-depth {bits} makes {2**bits - 1} white" if bits < 16 else "scale them"
    return f"values up to {highest:,} of {white:,}, which look nearly black: {flag}"


@dataclass(frozen=True)
class Image:
    """pixels: uint8 [H, W, C], contiguous; spacing: height and width of a pixel in mm, if known.

    What the file said: its `channels`, 1 to 4 with alpha, whether they were stored `lossy`, its
    EXIF `orientation` before it was turned, its number of `pages`, and what it has `used` of its
    range: the highest value that occurs, and the one that stands for white. (255, 255) stands for 8
    bits and for floats, which are what they are.
    """

    pixels: np.ndarray
    spacing: Spacing | None = None
    channels: int = 3
    lossy: bool = False
    orientation: int = 1
    pages: int = 1
    used: tuple[int, int] = (255, 255)
