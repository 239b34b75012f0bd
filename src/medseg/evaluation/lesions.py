"""Lesions found and false: connected regions of prediction and reference, matched by IoU."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from medseg.statistics.bootstrap import Sums, of_mean

SIZES = {  # share of the image, from .. below
    "small": (0.0, 0.02),
    "medium": (0.02, 0.10),
    "large": (0.10, math.inf),
}
IOU = 0.5  # from which on a prediction is that of a lesion


def lesions(prediction: np.ndarray, truth: np.ndarray, *, iou: float = IOU) -> dict[str, Any]:
    """The lesions of one image, masks bool [H, W].

    {"shares": of each reference lesion, "matched": bool of each, "touched": bool of each,
    "predicted": regions}. Regions are connected over eight neighbours, and none is too small to
    count. Pairs of IoU from `iou` on are matched, the best first, each region once. A lesion is
    touched if any predicted pixel lies on it.
    """
    count, marks = _regions(truth)
    predicted, found = _regions(prediction)
    pairs = np.bincount(
        (marks * (predicted + 1) + found).ravel(), minlength=(count + 1) * (predicted + 1)
    )
    pairs = pairs.reshape(count + 1, predicted + 1)
    areas = pairs[1:].sum(axis=1)
    common = pairs[1:, 1:]
    overlap = common / np.maximum(1, areas[:, None] + pairs[:, 1:].sum(axis=0)[None] - common)
    matched = np.zeros(count, bool)
    taken = np.zeros(predicted, bool)
    for at in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = divmod(int(at), predicted)
        if overlap[i, j] < max(iou, 1e-12):
            break
        if not (matched[i] or taken[j]):
            matched[i] = taken[j] = True
    return {
        "shares": areas / truth.size,
        "matched": matched,
        "touched": common.any(axis=1),
        "predicted": predicted,
    }


def summarise(images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over all images: recall, precision, false positives per frame, recall by size, false alarms.

    NaN where there is nothing to divide by. The false-alarm rate is the share of frames without
    lesion on which anything is predicted.
    """
    shares = np.concatenate([image["shares"] for image in images])
    matched = np.concatenate([image["matched"] for image in images])
    touched = np.concatenate([image["touched"] for image in images])
    predicted = sum(image["predicted"] for image in images)
    empty = [image for image in images if not len(image["shares"])]
    alarms = sum(image["predicted"] > 0 for image in empty)
    by_size = {}
    for name, (low, high) in SIZES.items():
        inside = (shares >= low) & (shares < high)
        by_size[name] = {
            "lesions": int(inside.sum()),
            "recall": _ratio(matched[inside].sum(), inside.sum()),
        }
    return {
        "iou": IOU,
        "lesions": len(shares),
        "predicted": predicted,
        "matched": int(matched.sum()),
        "recall": _ratio(matched.sum(), len(shares)),
        "precision": _ratio(matched.sum(), predicted),
        "touched_recall": _ratio(touched.sum(), len(shares)),
        "false_positives_per_frame": _ratio(predicted - matched.sum(), len(images)),
        "by_size": by_size,
        "empty_frames": len(empty),
        "false_alarm_frames": alarms,
        "false_alarm_rate": _ratio(alarms, len(empty)),
    }


def quantities(images: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], Sums]:
    """Numerators and denominators per image of each ratio of `summarise`, by its path there."""

    def counted(get: Callable[[dict[str, Any]], float]) -> np.ndarray:
        return np.array([get(image) for image in images], np.float64)

    def inside(image: dict[str, Any], size: str) -> np.ndarray:
        return (image["shares"] >= SIZES[size][0]) & (image["shares"] < SIZES[size][1])

    lesions = counted(lambda image: len(image["shares"]))
    predicted = counted(lambda image: image["predicted"])
    matched = counted(lambda image: image["matched"].sum())
    empty = (lesions == 0).astype(np.float64)
    found = {
        ("recall",): (matched, lesions),
        ("precision",): (matched, predicted),
        ("touched_recall",): (counted(lambda image: image["touched"].sum()), lesions),
        ("false_positives_per_frame",): (predicted - matched, np.ones(len(images))),
        ("false_alarm_rate",): (empty * (predicted > 0), empty),
    }
    for size in SIZES:
        found["by_size", size, "recall"] = (
            counted(lambda image, size=size: image["matched"][inside(image, size)].sum()),
            counted(lambda image, size=size: inside(image, size).sum()),
        )
    return found


def by_size(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of per_image.csv by the share of the image that is lesion.

    Size, images, mean Dice, and the share of images below 0.5.
    """
    dice = np.array([row["dice"] for row in rows], float)
    return [
        {
            "size": name,
            "images": int(at.sum()),
            "dice": float(dice[at].mean()),
            "below_half": float((dice[at] < 0.5).mean()),
        }
        for name, at in _strata(rows).items()
    ]


def size_quantities(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], Sums]:
    """Numerators and denominators of the two means of each line of `by_size`, by size and name."""
    dice = np.array([row["dice"] for row in rows], float)
    below = np.where(np.isnan(dice), math.nan, dice < 0.5)
    found = {}
    for name, at in _strata(rows).items():
        found[name, "dice"] = of_mean(np.where(at, dice, math.nan))
        found[name, "below_half"] = of_mean(np.where(at, below, math.nan))
    return found


def _strata(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Which images are of each size that occurs, bool [N]."""
    lesion = [row["tp"] + row["fn"] for row in rows]
    pixels = [max(1, row["tp"] + row["fn"] + row["fp"] + row["tn"]) for row in rows]
    shares = np.array([part / whole for part, whole in zip(lesion, pixels, strict=True)])
    groups = {"none": shares == 0}
    for name, (low, high) in SIZES.items():
        groups[name] = (shares >= low) & (shares < high) & (shares > 0)
    return {name: at for name, at in groups.items() if at.any()}


def _regions(mask: np.ndarray) -> tuple[int, np.ndarray]:
    count, marks = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return count - 1, marks.astype(np.int64)


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else math.nan
