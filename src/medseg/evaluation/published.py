"""Five conventions of published tables, each a different quantity: what their code computes, on a
map and a mask.

Each takes a foreground probability float32 [H, W] and a mask bool [H, W] of one image, at the size
of the mask file, and returns what is averaged (or, for DUCK-Net, summed) over images; `summarise`
does that. None of them has the policy of `protocols` for images without foreground: each docstring
says what it gives there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from medseg.evaluation.saliency import counts_by_threshold, e_measure, s_measure, weighted_f
from medseg.statistics.bootstrap import Sums, of_mean

SIDE = 352
Values = dict[str, Any]


def pranet(probability: np.ndarray, mask: np.ndarray) -> Values:
    """PraNet's MATLAB evaluation, used by Polyp-PVT and most polyp tables
    (github.com/DengPingFan/PraNet, eval/).

    The map is stretched to 0..1 (`mapminmax`; a constant map stays), then Dice, IoU and E-measure
    are averaged over the 256 thresholds k / 255. The highest value of the curve over the set is
    `max_dice`. Empty mask: Dice, IoU and weighted F are 0, whatever is predicted, and stretching
    invents a foreground. Theirs gives NaN for the weighted F there.
    """
    values = probability.astype(np.float64)
    low, high = values.min(), values.max()
    if high > low:
        values = (values - low) / (high - low)
    return {
        "mae": float(np.abs(values - mask).mean()),
        "weighted_f": weighted_f(values, mask),
        "s_measure": s_measure(values, mask),
        **_curves(values, mask),
    }


def uacanet(probability: np.ndarray, mask: np.ndarray) -> Values:
    """UACANet's evaluation (github.com/plemeri/UACANet, run/Eval.py): PraNet's in Python, without
    the stretching.

    Empty mask: Dice, IoU and weighted F are 0, whatever is predicted. Later versions of its
    run/Test.py stretch and threshold the maps before they are written; evaluate such files as they
    are.
    """
    values = probability.astype(np.float64)
    return {
        "mae": float(np.abs(values - mask).mean()),
        "weighted_f": weighted_f(values, mask),
        "s_measure": s_measure(values, mask),
        **_curves(values, mask),
    }


def polyp_pvt_soft(probability: np.ndarray, mask: np.ndarray) -> Values:
    """The Dice in Polyp-PVT's training log (github.com/DengPingFan/Polyp-PVT, Train.py): soft,
    smooth 1, after stretching.

    At the size of the mask file, to which its `test` enlarges the logits. Ours has a binary mask
    where theirs keeps the grey values of JPEG masks, and does not round to four digits. Empty mask:
    1 / (sum of the map + 1), near 0.
    """
    values = probability.astype(np.float64)
    values = (values - values.min()) / (values.max() - values.min() + 1e-8)
    return {"dice": float((2 * values[mask].sum() + 1) / (values.sum() + mask.sum() + 1))}


def fcbformer_352(probability: np.ndarray, mask: np.ndarray) -> Values:
    """FCBFormer (github.com/ESandML/FCBFormer, eval.py): per image at 352x352, the mask resized
    bilinearly, above .5.

    Theirs thresholds the network's own output of 352x352, ours the map resized to it. Empty mask:
    all are 0, also for an empty prediction (scikit-learn's `zero_division`), and so are precision
    without prediction and recall without mask.
    """
    tp, fp, fn = _overlap(_shrunk(probability) > 0.5, _shrunk(mask.astype(np.float32)) > 0.5)
    return {
        "dice": _share(2 * tp, 2 * tp + fp + fn),
        "iou": _share(tp, tp + fp + fn),
        "precision": _share(tp, tp + fp),
        "recall": _share(tp, tp + fn),
    }


def ducknet_352(probability: np.ndarray, mask: np.ndarray) -> Values:
    """DUCK-Net (github.com/RazvanDu/DUCK-Net): tp, fp, fn at 352x352, summed over the set before
    any ratio.

    The mask is resized by Pillow's Lanczos filter and is foreground from 127 on. Empty masks count
    through their false positives only.
    """
    from PIL import Image

    truth = (
        np.asarray(
            Image.fromarray(mask.astype(np.uint8) * 255).resize(
                (SIDE, SIDE), Image.Resampling.LANCZOS
            )
        )
        >= 127
    )
    return {"counts": np.array(_overlap(_shrunk(probability) > 0.5, truth))}


PUBLISHED: dict[str, Callable[[np.ndarray, np.ndarray], Values]] = {
    "pranet": pranet,
    "uacanet": uacanet,
    "polyp-pvt-soft": polyp_pvt_soft,
    "fcbformer-352": fcbformer_352,
    "ducknet-352": ducknet_352,
}


def summarise(name: str, images: Sequence[Values]) -> dict[str, float]:
    """The number that the convention `name` prints, from its values of all images."""
    if name == "ducknet-352":
        tp, fp, fn = (int(each) for each in np.sum([image["counts"] for image in images], axis=0))
        return {
            "dice": _share(2 * tp, 2 * tp + fp + fn),
            "iou": _share(tp, tp + fp + fn),
            "precision": _share(tp, tp + fp),
            "recall": _share(tp, tp + fn),
        }
    out = {
        key: float(np.mean([image[key] for image in images]))
        for key in images[0]
        if not key.endswith("_curve")
    }
    for key in ("dice", "iou", "e"):
        if f"{key}_curve" in images[0]:
            curve = np.mean([image[f"{key}_curve"] for image in images], axis=0)
            out |= {
                "e_measure" if key == "e" else key: float(curve.mean()),
                "max_e_measure" if key == "e" else f"max_{key}": float(curve.max()),
            }
    order = (
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
    return {key: out[key] for key in order if key in out}


def quantities(name: str, images: Sequence[Values]) -> dict[str, Sums]:
    """Numerators and denominators of each number of `summarise`, for
    `statistics.bootstrap.intervals`.

    The highest values of a curve are taken at the threshold where the whole set has them: to first
    order their spread is the same as if each draw chose its own.
    """
    if name == "ducknet-352":
        tp, fp, fn = np.array([image["counts"] for image in images], np.float64).T
        return {
            "dice": (2 * tp, 2 * tp + fp + fn),
            "iou": (tp, tp + fp + fn),
            "precision": (tp, tp + fp),
            "recall": (tp, tp + fn),
        }
    values = {
        key: np.array([image[key] for image in images])
        for key in images[0]
        if not key.endswith("_curve")
    }
    for key in ("dice", "iou", "e"):
        if f"{key}_curve" in images[0]:
            curves = np.array([image[f"{key}_curve"] for image in images])
            title = "e_measure" if key == "e" else key
            values |= {
                title: curves.mean(axis=1),
                f"max_{title}": curves[:, curves.mean(axis=0).argmax()],
            }
    return {key: of_mean(each) for key, each in values.items()}


def image_dice(name: str, values: Values) -> float:
    """The Dice of one image in the convention `name`; NaN for DUCK-Net's, which has none."""
    if name == "ducknet-352":
        return float("nan")
    return float(values["dice_curve"].mean()) if "dice_curve" in values else values["dice"]


def _curves(values: np.ndarray, mask: np.ndarray) -> Values:
    """Dice, IoU and E-measure at the 256 thresholds; 0 where nothing is hit."""
    tp, fp = counts_by_threshold(values, mask)
    positives = int(mask.sum())
    return {
        "dice_curve": 2 * tp / np.maximum(1, tp + fp + positives),
        "iou_curve": tp / np.maximum(1, fp + positives),
        "e_curve": e_measure(tp, fp, positives, mask.size),
    }


def _shrunk(values: np.ndarray) -> np.ndarray:
    return cv2.resize(
        np.ascontiguousarray(values, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR
    )


def _overlap(predicted: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    tp = int((predicted & truth).sum())
    return tp, int(predicted.sum()) - tp, int(truth.sum()) - tp


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
