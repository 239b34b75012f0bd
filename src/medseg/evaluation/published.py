"""Five conventions of published tables, each a different quantity: what their code computes.

Each `measure` takes a foreground probability float32 [H, W] and a mask bool [H, W] of one image, at
the size of the mask file. None of them has the policy of `conventions` for images without
foreground: each docstring says what it gives there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from medseg.evaluation.conventions import FROM_COUNTS, Convention, Numbers
from medseg.evaluation.saliency import counts_by_threshold, e_measure, s_measure, weighted_f
from medseg.statistics.bootstrap import Sums, of_mean

SIDE = 352
CURVES = {"dice_curve": "dice", "iou_curve": "iou", "e_curve": "e_measure"}
ORDER = (
    "dice",
    "iou",
    "precision",
    "recall",
    "max_dice",
    "max_iou",
    "weighted_f",
    "s_measure",
    "e_measure",
    "max_e_measure",
    "mae",
)
Values = dict[str, Any]


def pranet(probability: np.ndarray, mask: np.ndarray) -> Values:
    """PraNet's MATLAB evaluation, used by Polyp-PVT and most polyp tables.

    github.com/DengPingFan/PraNet, eval/. The map is stretched to 0..1 (`mapminmax`; a constant map
    stays), then Dice, IoU and E-measure are averaged over the 256 thresholds k / 255. The highest
    value of the curve over the set is `max_dice`. Empty mask: Dice, IoU and weighted F are 0,
    whatever is predicted, and stretching invents a foreground. Theirs gives NaN for the weighted F
    there.
    """
    values = probability.astype(np.float64)
    low, high = values.min(), values.max()
    if high > low:
        values = (values - low) / (high - low)
    return _saliency(values, mask)


def uacanet(probability: np.ndarray, mask: np.ndarray) -> Values:
    """UACANet's evaluation: PraNet's in Python, without the stretching.

    github.com/plemeri/UACANet, run/Eval.py. Empty mask: Dice, IoU and weighted F are 0, whatever is
    predicted. Later versions of its run/Test.py stretch and threshold the maps before they are
    written; evaluate such files as they are.
    """
    return _saliency(probability.astype(np.float64), mask)


def polyp_pvt_soft(probability: np.ndarray, mask: np.ndarray) -> Values:
    """The Dice in Polyp-PVT's training log: soft, smooth 1, after stretching.

    github.com/DengPingFan/Polyp-PVT, Train.py. At the size of the mask file, to which its `test`
    enlarges the logits. Ours has a binary mask where theirs keeps the grey values of JPEG masks,
    and does not round to four digits. Empty mask: 1 / (sum of the map + 1), near 0.
    """
    values = probability.astype(np.float64)
    values = (values - values.min()) / (values.max() - values.min() + 1e-8)
    return {"dice": float((2 * values[mask].sum() + 1) / (values.sum() + mask.sum() + 1))}


def fcbformer_352(probability: np.ndarray, mask: np.ndarray) -> Values:
    """FCBFormer: per image at 352x352, the mask resized bilinearly, above 0.5.

    github.com/ESandML/FCBFormer, eval.py. Theirs thresholds the network's own output of 352x352,
    ours the map resized to it. Empty mask: all are 0, also for an empty prediction (scikit-learn's
    `zero_division`), and so are precision without prediction and recall without mask.
    """
    return _ratios(*_overlap(_shrunk(probability) > 0.5, _shrunk(mask.astype(np.float32)) > 0.5))


def ducknet_352(probability: np.ndarray, mask: np.ndarray) -> Values:
    """DUCK-Net: tp, fp, fn at 352x352, summed over the set before any ratio.

    github.com/RazvanDu/DUCK-Net. The mask is resized by Pillow's Lanczos filter and is foreground
    from 127 on. Empty masks count through their false positives only.
    """
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    truth = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS)) >= 127
    return {"counts": np.array(_overlap(_shrunk(probability) > 0.5, truth))}


def _mean_of_values(images: Sequence[Values]) -> Numbers:
    """Means over images; of a curve over thresholds its mean, and its highest value as max_..."""
    numbers = {}
    for key in images[0]:
        mean = np.mean([image[key] for image in images], axis=0)
        if key in CURVES:
            numbers |= {CURVES[key]: float(mean.mean()), f"max_{CURVES[key]}": float(mean.max())}
        else:
            numbers[key] = float(mean)
    return {key: numbers[key] for key in ORDER if key in numbers}


def _sums_of_values(images: Sequence[Values]) -> dict[str, Sums]:
    """The highest values of a curve are taken at the threshold where the whole set has them.

    To first order their spread is the same as if each draw chose its own.
    """
    values, of_curves = {}, {}
    for key in images[0]:
        each = np.array([image[key] for image in images])
        if key in CURVES:
            of_curves[CURVES[key]] = each.mean(axis=1)
            of_curves[f"max_{CURVES[key]}"] = each[:, each.mean(axis=0).argmax()]
        else:
            values[key] = each
    return {key: of_mean(each) for key, each in (values | of_curves).items()}


def _pooled(images: Sequence[Values]) -> Numbers:
    return _ratios(*(int(each) for each in np.sum([image["counts"] for image in images], axis=0)))


def _sums_of_pooled(images: Sequence[Values]) -> dict[str, Sums]:
    tp, fp, fn = np.array([image["counts"] for image in images], np.float64).T
    return {
        "dice": (2 * tp, 2 * tp + fp + fn),
        "iou": (tp, tp + fp + fn),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
    }


PRANET = Convention(
    "pranet",
    meaning="maps stretched to 0..1, averaged over 256 thresholds and images: most polyp tables",
    source="github.com/DengPingFan/PraNet",
    measure=pranet,
    summarise=_mean_of_values,
    sums=_sums_of_values,
    image_dice=lambda values: float(values["dice_curve"].mean()),
)
UACANET = Convention(
    "uacanet",
    meaning="as pranet, without the stretching",
    source="github.com/plemeri/UACANet",
    measure=uacanet,
    summarise=_mean_of_values,
    sums=_sums_of_values,
    image_dice=lambda values: float(values["dice_curve"].mean()),
)
POLYP_PVT_SOFT = Convention(
    "polyp-pvt-soft",
    meaning="soft Dice of stretched maps, as in Polyp-PVT's training log",
    source="github.com/DengPingFan/Polyp-PVT",
    measure=polyp_pvt_soft,
    summarise=_mean_of_values,
    sums=_sums_of_values,
    image_dice=lambda values: values["dice"],
)
FCBFORMER_352 = Convention(
    "fcbformer-352",
    meaning="per image at 352x352",
    source="github.com/ESandML/FCBFormer",
    measure=fcbformer_352,
    summarise=_mean_of_values,
    sums=_sums_of_values,
    image_dice=lambda values: values["dice"],
)
DUCKNET_352 = Convention(
    "ducknet-352",
    meaning="pooled pixels at 352x352",
    source="github.com/RazvanDu/DUCK-Net",
    measure=ducknet_352,
    summarise=_pooled,
    sums=_sums_of_pooled,
)
PUBLISHED = {
    each.name: each for each in (PRANET, UACANET, POLYP_PVT_SOFT, FCBFORMER_352, DUCKNET_352)
}
CONVENTIONS = FROM_COUNTS | PUBLISHED


def _saliency(values: np.ndarray, mask: np.ndarray) -> Values:
    """What is averaged over images: four measures, and Dice, IoU and E-measure by threshold.

    The curves are float64 [256]; 0 where nothing is hit.
    """
    tp, fp = counts_by_threshold(values, mask)
    positives = int(mask.sum())
    return {
        "mae": float(np.abs(values - mask).mean()),
        "weighted_f": weighted_f(values, mask),
        "s_measure": s_measure(values, mask),
        "dice_curve": 2 * tp / np.maximum(1, tp + fp + positives),
        "iou_curve": tp / np.maximum(1, fp + positives),
        "e_curve": e_measure(tp, fp, positives, mask.size),
    }


def _shrunk(values: np.ndarray) -> np.ndarray:
    values = np.ascontiguousarray(values, np.float32)
    return cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def _overlap(predicted: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    """TP, FP and FN of two masks bool [H, W]."""
    tp = int((predicted & truth).sum())
    return tp, int(predicted.sum()) - tp, int(truth.sum()) - tp


def _ratios(tp: int, fp: int, fn: int) -> Numbers:
    """Dice, IoU, precision and recall, 0 where undefined."""
    return {
        "dice": _share(2 * tp, 2 * tp + fp + fn),
        "iou": _share(tp, tp + fp + fn),
        "precision": _share(tp, tp + fp),
        "recall": _share(tp, tp + fn),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
