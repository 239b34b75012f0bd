"""Images embedded in a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class EmbeddedImage:
    """A JPEG as a data URI, its size in pixels, and the text for readers who cannot see it."""

    uri: str
    width: int
    height: int
    text: str


def embed(pixels: np.ndarray, text: str, *, quality: int = 85) -> EmbeddedImage:
    """The image uint8 [H, W, 3] RGB as a JPEG of a quality from 0 to 100."""
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    uri = f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
    return EmbeddedImage(uri, pixels.shape[1], pixels.shape[0], text)
