"""What a data set holds: counts, sizes, class balance, mean and standard deviation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from medseg.data.masks import THRESHOLD, MaskCoding
from medseg.doctor.collect import Source
from medseg.doctor.context import Context
from medseg.doctor.inspection import Inspection
from medseg.doctor.mask_stats import MaskStats

# Bin edges of the foreground's share of its image.
SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def summarise(
    source: Source, inspections: Sequence[Inspection], context: Context
) -> dict[str, Any]:
    """Summarise a data set as plain values.

    Shares of classes refer to all pixels that are not ignored. `mean` and `deviation` are taken
    over all pixels of all images, by channel (red, green, blue), for values from 0 to 1.
    """
    masks = [inspection.mask_stats for inspection in inspections if inspection.mask_stats]
    images_by_part = Counter(pair.part for pair in source.pairs if pair.image)
    return {
        "parts": {part: images_by_part[part] for part in source.parts},
        "images": images_by_part.total(),
        "masks": sum(pair.mask is not None for pair in source.pairs),
        "without_masks": dict(Counter(pair.part for pair in source.pairs if pair.is_bare)),
        "mask_kind": context.kind,
        "masks_read_as": context.coding.text if context.coding else "",
        "masks_refused": context.problem,
        "classes": _class_balance(masks, context),
        "foreground_shares": _foreground_histogram(masks),
        "sizes": _sizes(inspections),
        **_mean_and_deviation(inspections),
    }


def count_classes(stats: MaskStats, classes: int, coding: MaskCoding | None) -> np.ndarray:
    """int64 [classes]: pixels by class, in the coding of the set or that of the mask itself."""
    if coding and stats.kind == coding.kind and coding.layout.plane != "colours":
        found = coding.class_of(np.arange(256))
        return np.array([stats.counts[found == index].sum() for index in range(classes)], np.int64)
    if stats.kind == "binary-255":
        background = stats.counts[: THRESHOLD + 1].sum()
        foreground = stats.counts.sum() - background
        return np.array([background, foreground] + [0] * (classes - 2), np.int64)
    return np.resize(stats.counts[:classes], classes).astype(np.int64)


def _class_balance(masks: Sequence[MaskStats], context: Context) -> list[dict[str, Any]]:
    classes = context.classes
    found = [count_classes(stats, classes, context.coding) for stats in masks]
    counts = np.array(found).reshape(-1, classes)
    total = max(1, int(counts.sum()))
    return [
        {
            "class": index,
            "pixel_share": int(counts[:, index].sum()) / total,
            "masks": int((counts[:, index] > 0).sum()),
        }
        for index in range(classes)
    ]


def _foreground_histogram(masks: Sequence[MaskStats]) -> list[dict[str, Any]]:
    """The number of masks by their share of foreground; empty masks have a row of their own."""
    shares = np.array([stats.foreground / stats.pixels for stats in masks])
    rows = [{"from": 0.0, "to": 0.0, "masks": int((shares == 0).sum())}]
    for low, high in pairwise(SHARES):
        count = int(((shares > low) & (shares <= high)).sum())
        rows.append({"from": low, "to": high, "masks": count})
    return rows


def _sizes(inspections: Sequence[Inspection]) -> dict[str, Any]:
    """Distinct sizes and their counts; minimum, median and maximum of width and height."""
    sizes = [inspection.image_size for inspection in inspections if inspection.image_size]
    counts = Counter(f"{width}x{height}" for height, width in sizes)
    summary: dict[str, Any] = {"distinct": len(counts)}
    if sizes:
        heights, widths = np.array(sizes).T
        summary["width"] = _range(widths)
        summary["height"] = _range(heights)
    return {**summary, "counts": dict(counts.most_common())}


def _range(lengths: np.ndarray) -> list[float]:
    return [int(lengths.min()), float(np.median(lengths)), int(lengths.max())]


def _mean_and_deviation(inspections: Sequence[Inspection]) -> dict[str, Any]:
    images = [inspection for inspection in inspections if inspection.image_stats]
    if not images:
        return {"mean": None, "deviation": None}
    pixels = sum(image.image_size[0] * image.image_size[1] for image in images)
    mean = np.sum([image.image_stats.sums for image in images], axis=0) / pixels
    square = np.sum([image.image_stats.squares for image in images], axis=0) / pixels
    deviation = np.sqrt(np.maximum(0, square - mean**2))
    return {"mean": mean.tolist(), "deviation": deviation.tolist()}
