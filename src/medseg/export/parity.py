"""The gate of every export: the file's masks against those of the run, on real images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import cv2
import numpy as np

from medseg.data.decode import read_image
from medseg.data.masks import MaskCoding, read_classes
from medseg.data.sample import Item
from medseg.evaluation.conventions import per_image
from medseg.inference.predictor import Predictor
from medseg.metrics.counts import confusion
from medseg.statistics.bootstrap import mean_interval

PIXELS = 1e-5  # fp32: share of pixels that may differ
DICE = 1e-3  # fp16: by how much the mean Dice may differ
INTERVAL = -5e-3  # int8: least lower end of the interval of the Dice difference
SIZES = 50  # generated ones, beside those of the real images
ODD = ((1, 1), (1, 61), (53, 1), (2, 3), (31, 37), (97, 101), (127, 353), (351, 353), (719, 1279))


@dataclass(frozen=True)
class Sample:
    """The images of the comparison, with their truth as uint8 [H, W] where it is known."""

    items: Sequence[Item]
    coding: MaskCoding
    about: str


def compare(
    run: Predictor,
    file: Predictor,
    sample: Sample,
    *,
    threshold: float = 0.5,
    sizes: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What differs between the masks of the run and those of the file; what parity.json holds.

    Dice is per image, of the mean over foreground classes, as in per_image.csv; its difference is
    that of the file less that of the run, with the paired 95 % interval over groups. `sizes` adds
    images of generated sizes, which count for the pixels only. "nan" counts values that are not
    finite; None for a file that gives masks only, where such pixels are background.
    """
    classes = run.classes
    counts = np.zeros((2, len(sample.items), classes, classes), np.int64)
    seconds: tuple[list[float], list[float]] = ([], [])
    differing, share, undefined = [], np.zeros(2), 0
    for i, item in enumerate(sample.items):
        image = read_item(run, item)
        truth = read_classes(item, sample.coding)
        masks = []
        for which, predictor in enumerate((run, file)):
            if i == 0:
                predictor(image, threshold)  # the first call prepares
            mask, took = _timed(predictor, image, threshold)
            seconds[which].append(took)
            share[which] += (mask > 0).mean() / len(sample.items)
            counts[which, i] = _confusion(mask, truth, classes)
            masks.append(mask)
        undefined += _undefined(file, image)
        differing.append((int((masks[0] != masks[1]).sum()), masks[0].size, item.name))
        if progress:
            progress(i + 1, len(sample.items))
    images = generated_images(run, sample.items) if sizes else ()
    generated = [_differing(run, file, image, threshold) for image in images]
    return {
        "data": sample.about,
        "images": len(sample.items),
        **_pixels(differing, generated),
        **_dice(counts, sample.items),
        "nan": undefined if file.backend.gives_probability else None,
        "foreground": {"run": share[0], "file": share[1]},
        "latency_ms": {
            "run": 1000 * median(seconds[0]),
            "file": 1000 * median(seconds[1]),
        },
    }


def verdict(found: dict[str, Any], precision: str) -> str:
    """Empty where the file keeps the limit of its precision; else which it misses, by how much."""
    if found["nan"]:
        return f"{found['nan']} values are not finite; try --precision fp32"
    if precision == "fp32":
        share = found["differing_share"]
        if share <= PIXELS:
            return ""
        return (
            f"{found['differing']} of {found['pixels']} pixels differ, {share:.2e} of them; the"
            f" limit is {PIXELS:.0e}; try another --opset or --format"
        )
    low, high = found["dice"]["interval"]
    difference = found["dice"]["difference"]
    if precision == "fp16":
        if abs(difference) <= DICE:
            return ""
        return (
            f"mean Dice differs by {difference:+.4f}; the limit is {DICE}; try --precision fp32, or"
            " int8, which is calibrated"
        )
    if low >= INTERVAL:
        return ""
    return (
        f"the 95 % interval of the Dice difference is {low:+.4f} to {high:+.4f}; its lower end may"
        f" be {INTERVAL} at the least; try more --calibration-images, more --parity-images, or"
        " --precision fp16"
    )


def latency(predictor: Predictor, items: Sequence[Item], *, threshold: float = 0.5) -> float:
    """Median milliseconds from a decoded image to its mask, one after another."""
    images = [read_item(predictor, item) for item in items]
    predictor(images[0], threshold)  # the first call prepares
    return 1000 * median(_timed(predictor, image, threshold)[1] for image in images)


def read_item(predictor: Predictor, item: Item) -> np.ndarray:
    """The image of an item as the predictor wants it: uint8 [H, W, C]."""
    wanted = predictor.preprocessing
    source, depth = item.image, wanted.bit_depth
    return read_image(source, channels=wanted.channels, bit_depth=depth, page=item.page).pixels


def generated_images(run: Predictor, items: Sequence[Item]) -> Iterator[np.ndarray]:
    """Real images stretched to other sizes, odd and prime ones among them: uint8 [H, W, C]."""
    rng = np.random.default_rng(0)
    sizes = [*ODD, *(tuple(map(int, each)) for each in rng.integers(8, 900, (SIZES - len(ODD), 2)))]
    for i, (height, width) in enumerate(sizes):
        item = items[i % len(items)]
        image = read_item(run, item)
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        yield resized.reshape(height, width, image.shape[2])


def _timed(predictor: Predictor, image: np.ndarray, threshold: float) -> tuple[np.ndarray, float]:
    started = time.perf_counter()
    mask = predictor(image, threshold)
    return mask, time.perf_counter() - started


def _differing(
    run: Predictor, file: Predictor, image: np.ndarray, threshold: float
) -> tuple[int, int, str]:
    height, width = image.shape[:2]
    return (
        int((run(image, threshold) != file(image, threshold)).sum()),
        height * width,
        f"{height}x{width}",
    )


def _undefined(file: Predictor, image: np.ndarray) -> int:
    """How many values of the file are not finite."""
    if not file.backend.gives_probability:
        return 0
    return int((~file.margins([image])[0].isfinite()).sum())


def _confusion(mask: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    import torch

    pair = torch.from_numpy(mask)[None], torch.from_numpy(np.ascontiguousarray(truth))[None]
    return confusion(*pair, classes)[0].numpy()


def _pixels(
    real: list[tuple[int, int, str]], generated: list[tuple[int, int, str]]
) -> dict[str, Any]:
    differing = sum(each[0] for each in real + generated)
    pixels = sum(each[1] for each in real + generated)
    worst = max(real + generated)
    return {
        "generated_sizes": len(generated),
        "pixels": pixels,
        "differing": differing,
        "differing_share": differing / pixels,
        "worst_image": {"name": worst[2], "differing": worst[0]},
    }


def _dice(counts: np.ndarray, items: Sequence[Item]) -> dict[str, Any]:
    names, groups = [item.name for item in items], [item.group for item in items]
    ours, theirs = (
        np.array([row["dice"] for row in per_image(each, names)], np.float64) for each in counts
    )
    difference = theirs - ours
    return {
        "dice": {
            "run": float(np.nanmean(ours)),
            "file": float(np.nanmean(theirs)),
            "difference": float(np.nanmean(difference)),
            "interval": list(mean_interval(difference, groups, bounds=(-1.0, 1.0))),
        }
    }
