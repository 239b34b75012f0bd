"""How an image of any size becomes the network's input, and how its logits find the way back. One
place for both.

Three policies:

- `square` stretches the image to the size (aspect ratio not kept), as most of the polyp literature
  does;
- `letterbox` keeps the aspect ratio and pads the rest: black in the image, ignored in the mask;
- `native-crop` leaves every pixel as it is: training sees random crops, inference the whole image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]


def box(native: Size, size: Size, resize: str) -> tuple[int, int, int, int]:
    """Where an image of `native` height and width lies in the network's input: top, left, height,
    width in pixels.
    """
    if resize == "letterbox":
        scale = min(size[0] / native[0], size[1] / native[1])
        height, width = max(1, round(native[0] * scale)), max(1, round(native[1] * scale))
        return (size[0] - height) // 2, (size[1] - width) // 2, height, width
    return (0, 0, *native) if resize == "native-crop" else (0, 0, *size)


def fit_image(image: np.ndarray, size: Size, resize: str) -> np.ndarray:
    """uint8 [H, W, C] at the network's size, contiguous; averaged when shrinking, bilinear when
    growing.
    """
    if resize == "native-crop":
        return np.ascontiguousarray(image)
    top, left, height, width = box(image.shape[:2], size, resize)
    small = _resize(image, height, width).reshape(height, width, image.shape[2])
    if (height, width) == tuple(size):
        return small
    canvas = np.zeros((*size, image.shape[2]), np.uint8)
    canvas[top : top + height, left : left + width] = small
    return canvas


def fit_mask(mask: np.ndarray, size: Size, resize: str, ignore_index: int = 255) -> np.ndarray:
    """uint8 [H, W] class indices at the network's size; padding is `ignore_index`.

    A binary mask keeps the classes that cover most of each new pixel; several classes, or ignored
    pixels, take the nearest.
    """
    if resize == "native-crop":
        return np.ascontiguousarray(mask)
    top, left, height, width = box(mask.shape, size, resize)
    if mask.max(initial=0) <= 1:
        small = (_resize(mask * 255, height, width) > 127).astype(np.uint8)
    else:
        small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    if (height, width) == tuple(size):
        return small
    canvas = np.full(size, ignore_index, np.uint8)
    canvas[top : top + height, left : left + width] = small
    return canvas


def unfit(logits: Tensor, native: Size, size: Size, resize: str) -> Tensor:
    """Logits [B, K, h, w] of the network's input as logits [B, K, H, W] of the native image
    (bilinear, float32).
    """
    import torch.nn.functional as F

    top, left, height, width = box(native, size, resize)
    logits = logits[..., top : top + height, left : left + width].float()
    if (height, width) == tuple(native):
        return logits
    return F.interpolate(logits, size=tuple(native), mode="bilinear", align_corners=False)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    shrinking = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    )
