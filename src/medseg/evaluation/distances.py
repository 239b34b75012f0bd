"""Distances between outlines: HD95, ASSD, surface Dice, boundary IoU.

On one image, masks bool [H, W]; distances in pixels, or in the unit of `spacing` (height, width of
a pixel). The outline is every foreground pixel with a neighbour (of four) that is background or
outside the image, and each outline pixel counts the same, as in MONAI; DeepMind's surface-distance
weighs them by length, and medpy takes one percentile of both directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from medseg.statistics.bootstrap import Sums, of_mean

POLICY = (
    "a missed lesion or a false alarm counts with the image diagonal as its distance, and 0 for"
    " surface Dice and boundary IoU; where both masks are empty distances are undefined and left"
    " out, and the other two are 1"
)
BAND = 0.02  # of the image diagonal, Cheng et al. 2021
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def distances(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    spacing: Sequence[float] = (1.0, 1.0),
    tolerance: float = 2.0,
) -> dict[str, float]:
    """{"hd95", "assd", "surface_dice", "boundary_iou"} of one image; `POLICY` for empty masks.

    hd95 is the larger of the 95th percentiles of the two directions, assd the mean over the outline
    pixels of both, surface_dice (Nikolov et al. 2018, arXiv:1809.04430) their share within
    `tolerance` of the other outline (up to rounding).
    """
    some = bool(prediction.any()), bool(truth.any())
    if not any(some):
        return {"hd95": math.nan, "assd": math.nan, "surface_dice": 1.0, "boundary_iou": 1.0}
    if not all(some):
        diagonal = math.hypot(truth.shape[0] * spacing[0], truth.shape[1] * spacing[1])
        return {"hd95": diagonal, "assd": diagonal, "surface_dice": 0.0, "boundary_iou": 0.0}
    outlines = [outline(mask) for mask in (prediction, truth)]
    there = nearest(outlines[0], outlines[1], spacing)
    back = nearest(outlines[1], outlines[0], spacing)
    both = np.concatenate([there, back])
    return {
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "assd": float(both.mean()),
        "surface_dice": float((both <= tolerance * (1 + 1e-6)).mean()),
        "boundary_iou": boundary_iou(prediction, truth),
    }


def outline(mask: np.ndarray) -> np.ndarray:
    """The outline pixels of a mask, bool [H, W]."""
    return mask & ~_eroded(mask, _CROSS, 1)


def nearest(start: np.ndarray, goal: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance from each pixel of `start` to the nearest of `goal`, float64 [pixels in start].

    Both are masks bool [H, W], not empty.
    """
    if spacing[0] == spacing[1]:
        field = cv2.distanceTransform((~goal).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return field[start].astype(np.float64) * spacing[0]
    from_, to = (np.argwhere(mask) * np.asarray(spacing, np.float64) for mask in (start, goal))
    found = []
    for some in np.array_split(from_, math.ceil(len(from_) / 512)):  # memory: 512 x outline
        steps = (some[:, None] - to[None]).transpose(2, 0, 1)
        found.append(np.hypot(*steps).min(axis=1))
    return np.concatenate(found)


def boundary_iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """IoU of the two masks' inner bands, 2 % of the image diagonal wide; 1 where both are empty.

    Cheng et al. 2021, arXiv:2103.16562.
    """
    bands = [inner_band(mask) for mask in (prediction, truth)]
    union = int((bands[0] | bands[1]).sum())
    return int((bands[0] & bands[1]).sum()) / union if union else 1.0


def inner_band(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask within `band_width` of its outside, bool [H, W]."""
    return mask & ~_eroded(mask, np.ones((3, 3), np.uint8), band_width(mask.shape))


def band_width(shape: Sequence[int]) -> int:
    """2 % of the diagonal in pixels, at least 1."""
    return max(1, round(BAND * math.hypot(*shape)))


def summarise(
    images: Sequence[dict[str, float]], prediction_empty: np.ndarray, truth_empty: np.ndarray
) -> dict[str, Any]:
    """Means over images, from their `distances` and whether each mask was empty, bool [N].

    hd95_detected and assd_detected are over the images with both, and are optimistic for a network
    that misses more: read them with `missed`.
    """
    out: dict[str, Any] = {
        key: _mean([image[key] for image in images])
        for key in ("hd95", "assd", "surface_dice", "boundary_iou")
    }
    both = ~prediction_empty & ~truth_empty
    for key in ("hd95", "assd"):
        detected = [image[key] for image, use in zip(images, both, strict=True) if use]
        out[f"{key}_detected"] = _mean(detected)
    return out | {
        "missed": int((prediction_empty & ~truth_empty).sum()),
        "false_alarms": int((~prediction_empty & truth_empty).sum()),
        "both_empty": int((prediction_empty & truth_empty).sum()),
        "policy": POLICY,
    }


def quantities(images: Sequence[dict[str, float]], both: np.ndarray) -> dict[str, Sums]:
    """Numerators and denominators of the means of `summarise`.

    `both` bool [N] is whether neither mask was empty.
    """
    values = {
        key: np.array([image[key] for image in images])
        for key in ("hd95", "assd", "surface_dice", "boundary_iou")
    }
    values |= {f"{key}_detected": np.where(both, values[key], math.nan) for key in ("hd95", "assd")}
    return {key: of_mean(each) for key, each in values.items()}


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def _eroded(mask: np.ndarray, kernel: np.ndarray, times: int) -> np.ndarray:
    pixels = mask.astype(np.uint8)
    border = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    return cv2.erode(pixels, kernel, iterations=times, **border) > 0
