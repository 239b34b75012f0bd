"""What is kept of an image to find its copies: digest, layout, colours and local features.

The features are SIFT (Lowe, Int. J. Comput. Vision 60, 2004) of the green channel, where vessels
and folds show best, after local equalisation of contrast. Unlike the paper: weaker features are
kept, since mucosa has few strong ones, and none at the black frame of an endoscope or at text
written into the frame, which are alike in all videos of one processor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from medseg.data.decode import read_image
from medseg.data.sample import Item

LONG_SIDE = 384  # pixels at which features are sought
FEATURES = 600
DARK = 25  # of 255: below it a pixel belongs to the frame of the endoscope
FRAME_MARGIN = 8  # pixels around that frame without features
# how much brighter than their surroundings, in all channels, the strokes of written text are, of
# 255
OVERLAY = 60
STROKE = 13  # pixels: wider bright areas are no text
OVERLAY_MARGIN = 4  # pixels around text without features


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of an image.

    `layout`, `colours` and `chroma` are float32 vectors of unit length (or zero), so that a product
    is a similarity. `points` float32 [N, 2] are x and y in an image whose longer side is
    `LONG_SIDE`, `features` uint8 [N, 128].
    """

    digest: str
    layout: np.ndarray
    colours: np.ndarray
    chroma: np.ndarray
    points: np.ndarray
    features: np.ndarray


def fingerprints(
    items: Sequence[Item], *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> list[Fingerprint]:
    """One fingerprint per image, in the order given.

    Raises `DecodeError` naming a file that cannot be read.
    """
    found = []
    with ThreadPoolExecutor(workers) as pool:
        for one in pool.map(_fingerprint_of, items):
            found.append(one)
            if progress:
                progress(len(found), len(items))
    return found


def _fingerprint_of(item: Item) -> Fingerprint:
    return fingerprint(read_image(item.image, page=item.page).pixels)


def fingerprint(image: np.ndarray) -> Fingerprint:
    """The fingerprint of a uint8 [H, W, 3] RGB image."""
    content = repr(image.shape).encode() + image.tobytes()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    scale = LONG_SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    thumbnail = cv2.resize(small, (32, 24), interpolation=cv2.INTER_AREA).astype(np.float32)
    points, features = local_features(small)
    return Fingerprint(
        digest,
        _unit(thumbnail - thumbnail.mean()),
        _colours(small),
        _chroma(small),
        points,
        features,
    )


def local_features(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points float32 [N, 2] and SIFT descriptors uint8 [N, 128] of a uint8 [H, W, 3] image."""
    inside = (image.max(axis=2) > DARK).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    inside = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.erode(inside, np.ones((2 * FRAME_MARGIN + 1,) * 2, np.uint8))[1:-1, 1:-1]
    bright = overlay(image)
    inside[cv2.dilate(bright, np.ones((2 * OVERLAY_MARGIN + 1,) * 2, np.uint8)) > 0] = 0
    green = np.ascontiguousarray(image[..., 1])
    without = cv2.morphologyEx(green, cv2.MORPH_OPEN, np.ones((STROKE, STROKE), np.uint8))
    green = cv2.createCLAHE(3.0, (8, 8)).apply(np.where(bright > 0, without, green))
    sift = cv2.SIFT_create(nfeatures=FEATURES, contrastThreshold=0.02, edgeThreshold=15)
    found, descriptors = sift.detectAndCompute(green, np.ascontiguousarray(inside))
    if descriptors is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8)
    return np.array([each.pt for each in found], np.float32), descriptors.astype(np.uint8)


def overlay(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W], 1 at thin white structures: text written into frames, and small highlights.

    Without this, two frames of different patients agree in their letters.
    """
    grey = image.min(axis=2)
    thin = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones((STROKE, STROKE), np.uint8))
    return cv2.dilate((thin > OVERLAY).astype(np.uint8), np.ones((5, 5), np.uint8))


def _colours(image: np.ndarray) -> np.ndarray:
    """The histogram of Lab colours: the same for crops that keep the shares of tissue and lumen."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    ranges = [0, 256, 100, 200, 100, 200]
    return _unit(np.sqrt(cv2.calcHist([lab], [0, 1, 2], None, [8, 16, 16], ranges)))


def _chroma(image: np.ndarray) -> np.ndarray:
    """The histogram of the shares of red and green: the same for any brightness."""
    values = image[image.max(axis=2) > DARK].astype(np.float32)
    shares = values[:, :2] / (values.sum(axis=1, keepdims=True) + 1)
    ranges = ((0.2, 0.8), (0.1, 0.5))
    histogram = np.histogram2d(shares[:, 0], shares[:, 1], bins=24, range=ranges)[0]
    return _unit(np.sqrt(histogram))


def _unit(values: np.ndarray) -> np.ndarray:
    flat = values.ravel().astype(np.float32)
    return flat / max(float(np.linalg.norm(flat)), 1e-9)
