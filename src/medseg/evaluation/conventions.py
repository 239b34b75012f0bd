"""Conventions for the metrics of a set, as values: they are different quantities, up to 0.3 apart.

The three here follow from the confusion counts of all images, int64 [N, K, K] (rows truth, columns
prediction; numpy, or a tensor in host memory; class 0 is the background). Their numbers are floats
in 0 to 1, NaN where undefined. Ignored pixels are in no count. An image all of whose pixels are
ignored counts as an empty one. Those of published tables are in `published`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from medseg.statistics.bootstrap import Sums, of_mean

EMPTY_POLICY = "Dice and IoU of an empty reference: 1 if the prediction is empty too, else 0"
Numbers = dict[str, float]


@dataclass(frozen=True)
class Convention:
    """How the numbers of a set come from its images.

    `meaning` is one line for a reader, `source` where the definition comes from. `summarise` gives
    the numbers by metric, `sums` the numerators and denominators behind them, per image, for the
    bootstrap. Both take the confusion counts of all images or, where there is a `measure`, the list
    of what it gives for each image from its foreground probability float32 [H, W] and its mask bool
    [H, W]. `image_dice` is the Dice of one image from what `measure` gave, if the convention has
    one.
    """

    name: str
    meaning: str
    source: str
    summarise: Callable[[Any], Numbers]
    sums: Callable[[Any], dict[str, Sums]]
    measure: Callable[[np.ndarray, np.ndarray], dict[str, Any]] | None = None
    image_dice: Callable[[dict[str, Any]], float] | None = None


def per_image_foreground(counts: np.ndarray) -> Numbers:
    """The mean over images of each image's own value; the background is left out.

    Every image counts the same. With several foreground classes an image's value is the mean over
    those in its reference or prediction. Dice and IoU of an image with neither are 1. Precision
    without a predicted pixel, recall without a reference pixel and specificity of a class that
    fills the reference are undefined: left out of the mean (`summarise` counts such images).
    """
    values = _foreground_mean(counts)
    return {name: float(mean_of_defined(each)) for name, each in values.items()}


def _per_image_sums(counts: np.ndarray) -> dict[str, Sums]:
    return {name: of_mean(values) for name, values in _foreground_mean(counts).items()}


def pooled_foreground(counts: np.ndarray) -> Numbers:
    """From the pixels of all images together: large objects count for more.

    The mean over the foreground classes. A class that is in no reference and no prediction is left
    out; Dice and IoU are 1 if that holds for all of them. DUCK-Net's published numbers are of this
    kind, at 352x352.
    """
    return {name: float(value) for name, value in _foreground_mean(pool(counts)).items()}


def _pooled_sums(counts: np.ndarray) -> dict[str, Sums]:
    found = {}
    for name, metric in METRICS.items():
        above, below = _float_sums(metric.sums(counts))
        found[name] = above[:, 1:], below[:, 1:]
    return found


def macro_with_background(counts: np.ndarray) -> Numbers:
    """As `pooled_foreground`, but the mean is over all classes with the easy background.

    The convention of the published benchmark of U-Net, ResUNet, DUCK-Net and others by the toolkit
    that this one replaces. As there, a class that is in no reference and no prediction is left out
    of the mean Dice but counts 0 in the mean IoU. Ours leaves ignored pixels out of both, there
    only out of IoU. `macro_to_foreground` converts.
    """
    values = {name: metric(pool(counts)) for name, metric in METRICS.items()}
    values["iou"] = np.nan_to_num(values["iou"], nan=0.0)
    return {name: float(mean_of_defined(each)) for name, each in values.items()}


def _macro_sums(counts: np.ndarray) -> dict[str, Sums]:
    found = {name: _float_sums(metric.sums(counts)) for name, metric in METRICS.items()}
    above, below = found["iou"]
    nowhere = below.sum(0) == 0  # such a class counts 0 in the mean IoU
    found["iou"] = above, np.where(nowhere, 1.0, below)
    return found


PER_IMAGE = Convention(
    "per-image-foreground",
    meaning="the value of each image, foreground only, averaged over images",
    source="the usual one of challenges and of this toolkit",
    summarise=per_image_foreground,
    sums=_per_image_sums,
)
POOLED = Convention(
    "pooled-foreground",
    meaning="pixels of all images counted together, foreground only: large lesions weigh more",
    source="DUCK-Net's tables, there at 352x352",
    summarise=pooled_foreground,
    sums=_pooled_sums,
)
MACRO = Convention(
    "macro-with-background",
    meaning=(
        "pooled pixels, averaged over background and foreground: optimistic where lesions are small"
    ),
    source="github.com/zh320/medical-segmentation-pytorch",
    summarise=macro_with_background,
    sums=_macro_sums,
)
FROM_COUNTS = {each.name: each for each in (PER_IMAGE, POOLED, MACRO)}


def per_image(counts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row per image: name, the five metrics (NaN where undefined), and tp, fp, fn, tn.

    The metrics are those whose mean is `per_image_foreground`. The counts are pixels of the
    foreground, all classes of it as one. With several foreground classes dice_1, dice_2, ...
    follow, NaN for a class that is in neither mask.
    """
    _check_names(counts, names)
    values = _foreground_mean(counts)
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
    """The conventions from counts, and what happened to the images without foreground.

    {"protocols": {convention: numbers}, "empty_masks": {"policy": text, "reference_empty": images,
    "both_empty": images, "false_alarms": images}, "undefined_images": {"precision": images,
    "recall": images, "specificity": images}}, where false alarms are images with an empty reference
    and some predicted foreground, and undefined ones are left out of the per-image mean.
    """
    _check_names(counts, names)
    tp, fp, fn, _ = _foreground_pixels(counts)
    empty = tp + fn == 0
    false_alarms = int((empty & (fp > 0)).sum())
    values = _foreground_mean(counts)
    undefined = {name: int(np.isnan(each).sum()) for name, each in values.items()}
    return {
        "protocols": {name: each.summarise(counts) for name, each in FROM_COUNTS.items()},
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


def sums_from_counts(counts: np.ndarray) -> dict[tuple[str, str], Sums]:
    """Numerators and denominators of each number of `summarise`, by convention and metric."""
    return {
        (name, metric): sums
        for name, convention in FROM_COUNTS.items()
        for metric, sums in convention.sums(counts).items()
    }


def macro_to_foreground(dice: float, iou: float) -> tuple[float, float]:
    """Foreground and background Dice, from the two-class `macro_with_background` Dice and IoU.

    With c = 2 - dice they are dice -/+ sqrt(c^2 - 2 c / (iou + 1)): two equations, two unknowns,
    exact but for the rounding of what was printed (four digits leave about 0.0015). The smaller is
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
    """Each metric's mean over the foreground classes that define it, with `EMPTY_POLICY`, [...]."""
    values = {name: mean_of_defined(metric(counts)[..., 1:]) for name, metric in METRICS.items()}
    for name in ("dice", "iou"):
        values[name] = np.where(np.isnan(values[name]), 1.0, values[name])
    return values


def _foreground_pixels(counts: np.ndarray) -> list[np.ndarray]:
    """TP, FP, FN and TN of the foreground, all classes of it as one, [N] each."""
    return [each[:, 1] for each in parts(foreground_against_background(counts))]


def _float_sums(sums: tuple[np.ndarray, np.ndarray]) -> Sums:
    above, below = sums
    return np.asarray(above, np.float64), np.asarray(below, np.float64)


def _check_names(counts: np.ndarray, names: Sequence[str]) -> None:
    if len(counts) != len(names):
        raise ValueError(f"{len(counts)} counts for {len(names)} names")
