"""What a data set holds: counts, sizes, class balance, mean and deviation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from medseg.data.masks import THRESHOLD
from medseg.doctor.collect import Source
from medseg.doctor.context import Context
from medseg.doctor.look import Look, Shape

SHARES = (
    0.0,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
)  # bins of the foreground's share of its image


def summarise(source: Source, looks: Sequence[Look], context: Context) -> dict[str, Any]:
    """Plain values; shares of classes are of all pixels that are not ignored, `mean` and
    `deviation` over all pixels of all images, channels red, green, blue, values 0 to 1.
    """
    shapes = [seen.shape for seen in looks if seen.shape]
    return {
        "parts": {
            part: sum(pair.part == part and pair.image is not None for pair in source.pairs)
            for part in source.parts
        },
        "images": sum(pair.image is not None for pair in source.pairs),
        "masks": sum(pair.mask is not None for pair in source.pairs),
        "mask_kind": context.kind,
        **_balance(shapes, context),
        "foreground_shares": _histogram(shapes),
        "sizes": _sizes(looks),
        **_mean_and_deviation(looks),
    }


def class_counts(shape: Shape, classes: int) -> np.ndarray:
    """int64 [classes]: pixels by class, by the coding that this mask itself has."""
    if shape.kind == "binary-255":
        below = shape.counts[: THRESHOLD + 1].sum()
        return np.array([below, shape.counts.sum() - below] + [0] * (classes - 2), np.int64)
    return np.resize(shape.counts[:classes], classes).astype(np.int64)


def _balance(shapes: Sequence[Shape], context: Context) -> dict[str, Any]:
    classes = context.classes
    if classes < 2:
        largest = [
            int(np.flatnonzero(shape.counts[:255])[-1])
            for shape in shapes
            if shape.kind == "index" and shape.counts[:255].any()
        ]
        classes = max([1, *largest]) + 1 if context.kind == "index" else 2
    counts = np.array([class_counts(shape, classes) for shape in shapes]).reshape(-1, classes)
    total = max(1, int(counts.sum()))
    return {
        "classes": [
            {
                "class": index,
                "pixel_share": int(counts[:, index].sum()) / total,
                "masks": int((counts[:, index] > 0).sum()),
            }
            for index in range(classes)
        ]
    }


def _histogram(shapes: Sequence[Shape]) -> list[dict[str, Any]]:
    """How many masks have a foreground of which share of the image; empty masks stand alone, at 0
    to 0.
    """
    shares = np.array([shape.foreground / shape.counts.sum() for shape in shapes])
    rows = [{"from": 0.0, "to": 0.0, "masks": int((shares == 0).sum())}]
    return rows + [
        {"from": low, "to": high, "masks": int(((shares > low) & (shares <= high)).sum())}
        for low, high in pairwise(SHARES)
    ]


def _sizes(looks: Sequence[Look]) -> dict[str, Any]:
    sizes = [seen.image_size for seen in looks if seen.image_size]
    counts = Counter(f"{width}x{height}" for height, width in sizes)
    sides = np.array(sizes).reshape(-1, 2)
    spread = {
        name: [
            int(sides[:, axis].min()),
            float(np.median(sides[:, axis])),
            int(sides[:, axis].max()),
        ]
        for name, axis in (("width", 1), ("height", 0))
        if len(sides)
    }
    return {"distinct": len(counts), **spread, "counts": dict(counts.most_common())}


def _mean_and_deviation(looks: Sequence[Look]) -> dict[str, Any]:
    seen = [
        (each.colours, each.image_size[0] * each.image_size[1]) for each in looks if each.colours
    ]
    if not seen:
        return {"mean": None, "deviation": None}
    pixels = sum(count for _, count in seen)
    mean = np.sum([colours.sums for colours, _ in seen], axis=0) / pixels
    square = np.sum([colours.squares for colours, _ in seen], axis=0) / pixels
    return {"mean": mean.tolist(), "deviation": np.sqrt(np.maximum(0, square - mean**2)).tolist()}
