"""Three conventions for the metrics of a test set, by name: they are different quantities, up to .3
apart.

Each takes the confusion counts of all images, int64 [N, K, K] (rows truth, columns prediction;
numpy, or a tensor in host memory; class 0 is the background), and returns {"dice", "iou",
"precision", "recall", "specificity"}: floats in 0 to 1, NaN where undefined. Ignored pixels are in
no count. An image all of whose pixels are ignored counts as an empty one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medseg.errors import UserError
from medseg.metrics.overlap import (
    METRICS,
    foreground_against_background,
    mean_of_defined,
    parts,
    pool,
)

EMPTY_POLICY = "Dice and IoU of an empty reference: 1 if the prediction is empty too, else 0"
Metrics = dict[str, float]


def per_image_foreground(counts: np.ndarray) -> Metrics:
    """The mean over images of each image's own value: every image counts the same, and the
    background is left out.

    With several foreground classes an image's value is the mean over those in its reference or
    prediction. Dice and IoU of an image with neither are 1. Precision without a predicted pixel,
    recall without a reference pixel and specificity of a class that fills the reference are
    undefined: left out of the mean (`summarise` counts such images).
    """
    return {name: float(mean_of_defined(values)) for name, values in image_values(counts).items()}


def pooled_foreground(counts: np.ndarray) -> Metrics:
    """From the pixels of all images together: large objects count for more. Mean over the
    foreground classes.

    A class that is in no reference and no prediction is left out; Dice and IoU are 1 if that holds
    for all of them. DUCK-Net's published numbers are of this kind, at 352x352.
    """
    return {name: float(value) for name, value in _foreground_mean(pool(counts)).items()}


def macro_with_background(counts: np.ndarray) -> Metrics:
    """As `pooled_foreground`, but the mean is over all classes with the background, whose ease
    lifts it.

    The convention of the published benchmark of U-Net, ResUNet, DUCK-Net and others by the toolkit
    that this one replaces. As there, a class that is in no reference and no prediction is left out
    of the mean Dice but counts 0 in the mean IoU. Ours leaves ignored pixels out of both, there
    only out of IoU. `macro_to_foreground` converts.
    """
    values = {name: metric(pool(counts)) for name, metric in METRICS.items()}
    values["iou"] = np.nan_to_num(values["iou"], nan=0.0)
    return {name: float(mean_of_defined(each)) for name, each in values.items()}


PROTOCOLS: dict[str, Callable[[np.ndarray], Metrics]] = {
    "per-image-foreground": per_image_foreground,
    "pooled-foreground": pooled_foreground,
    "macro-with-background": macro_with_background,
}


def image_values(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric of each image as in `per_image_foreground`, float64 [N]."""
    return _foreground_mean(counts)


def per_image(counts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row an image: name, the five metrics (NaN where undefined), and tp, fp, fn, tn in pixels.

    The metrics are those whose mean is `per_image_foreground`. The pixel counts are of the
    foreground, all classes of it as one. With several foreground classes dice_1, dice_2, ...
    follow, NaN for a class that is in neither mask.
    """
    _check_names(counts, names)
    values = image_values(counts)
    pixels = dict(zip(("tp", "fp", "fn", "tn"), _foreground_pixels(counts), strict=True))
    classes = METRICS["dice"](counts)
    rows = []
    for i, name in enumerate(names):
        row = {"name": name} | {key: float(each[i]) for key, each in values.items()}
        row |= {key: int(each[i]) for key, each in pixels.items()}
        if classes.shape[1] > 2:
            row |= {f"dice_{k}": float(classes[i, k]) for k in range(1, classes.shape[1])}
        rows.append(row)
    return rows


def summarise(counts: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """All three conventions, and what happened to the images without foreground.

    {"protocols": {convention: metrics},
     "empty_masks": {"policy": text, "reference_empty": images, "both_empty": images,
     "false_alarms": images}, "undefined_images": {"precision": images, "recall": images,
     "specificity": images}}, where false alarms are images
    with an empty reference and some predicted foreground, and undefined ones are left out of the
    per-image mean.
    """
    _check_names(counts, names)
    tp, fp, fn, _ = _foreground_pixels(counts)
    empty = tp + fn == 0
    false_alarms = int((empty & (fp > 0)).sum())
    undefined = {name: int(np.isnan(each).sum()) for name, each in image_values(counts).items()}
    return {
        "protocols": {name: protocol(counts) for name, protocol in PROTOCOLS.items()},
        "empty_masks": {
            "policy": EMPTY_POLICY,
            "reference_empty": int(empty.sum()),
            "both_empty": int(empty.sum()) - false_alarms,
            "false_alarms": false_alarms,
        },
        "undefined_images": {
            name: undefined[name] for name in ("precision", "recall", "specificity")
        },
    }


def macro_to_foreground(dice: float, iou: float) -> tuple[float, float]:
    """Foreground and background Dice, from the two-class `macro_with_background` pair of Dice and
    IoU.

    With c = 2 - dice they are dice -/+ sqrt(c^2 - 2 c / (iou + 1)): two equations, two unknowns,
    exact but for the rounding of what was printed (four digits leave about .0015). The smaller is
    taken as the foreground. Raises `UserError` for a pair that no two classes have.
    """
    c = 2 - dice
    square = c**2 - 2 * c / (iou + 1)
    apart = math.sqrt(max(square, 0))
    if not (0 <= iou <= 1 and square > -1e-3 and dice - apart > -0.01 and dice + apart < 1.01):
        raise UserError(
            f"Dice {dice:g} and IoU {iou:g}: no pair of pooled classes has these means; check that"
            " both are means over background and foreground, as fractions"
        )
    return dice - apart, dice + apart


def _foreground_mean(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Counts [..., K, K] to each metric's mean over the foreground classes that define it, with the
    empty policy, [...].
    """
    values = {name: mean_of_defined(metric(counts)[..., 1:]) for name, metric in METRICS.items()}
    return values | {
        name: np.where(np.isnan(values[name]), 1.0, values[name]) for name in ("dice", "iou")
    }


def _foreground_pixels(counts: np.ndarray) -> list[np.ndarray]:
    return [each[:, 1] for each in parts(foreground_against_background(counts))]


def _check_names(counts: np.ndarray, names: Sequence[str]) -> None:
    if len(counts) != len(names):
        raise ValueError(f"{len(counts)} counts for {len(names)} names")
