"""Masks drawn over images: a coloured film, or the outlines of truth and prediction."""

from __future__ import annotations

import cv2
import numpy as np

Colour = tuple[int, int, int]

# Okabe and Ito 2008: told apart by every kind of colour vision; class 1 first
COLOURS: tuple[Colour, ...] = (
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)
TRUTH: Colour = (255, 255, 255)
PREDICTION: Colour = (0, 200, 255)


def blend(image: np.ndarray, mask: np.ndarray, *, alpha: float = 0.3) -> np.ndarray:
    """uint8 [H, W, 3] RGB with a film of opacity `alpha` over each class of `mask` [H, W].

    Background and pixels to ignore (255) are untouched.
    """
    out = image.copy()
    for k in np.unique(mask):
        if k in (0, 255):
            continue
        at = mask == k
        film = np.asarray(COLOURS[(int(k) - 1) % len(COLOURS)], np.float32)
        out[at] = np.rint((1 - alpha) * image[at] + alpha * film).astype(np.uint8)
    return out


def outlines(
    image: np.ndarray,
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    *,
    thickness: int | None = None,
) -> np.ndarray:
    """uint8 [H, W, 3] RGB with the outlines of truth and prediction, which differ by more than hue.

    The truth is white with dark edges, the prediction blue and dashed. `thickness` in pixels
    grows with the image by default; pixels that the truth ignores (255) are darkened.
    """
    out = image.copy()
    width = thickness or max(1, round(max(image.shape[:2]) / 250))
    if truth is not None:
        out[truth == 255] //= 2
        for contour in _contours(truth):
            cv2.drawContours(out, [contour], -1, (0, 0, 0), width + 2)
            cv2.drawContours(out, [contour], -1, TRUTH, width)
    if prediction is not None:
        for contour in _contours(prediction):
            _dashed(out, contour[:, 0], PREDICTION, width)
    return out


def _contours(mask: np.ndarray) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for k in np.unique(mask):
        if k not in (0, 255):
            found += cv2.findContours(
                (mask == k).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
            )[0]
    return found


def _dashed(image: np.ndarray, points: np.ndarray, colour: Colour, width: int) -> None:
    """Dashes of six widths with gaps of four, over a dark edge."""
    dash, gap = 6 * width, 4 * width
    for start in range(0, len(points), dash + gap):
        piece = points[start : start + dash].reshape(-1, 1, 2)
        cv2.polylines(image, [piece], False, (0, 0, 0), width + 2)
        cv2.polylines(image, [piece], False, colour, width)
