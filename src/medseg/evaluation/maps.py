"""Masks and probability maps of any tool, read alike over a folder: what a value stands for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.data.decode import read_stored_mask
from medseg.data.masks.census import NOISE_LEVELS, Census, Plane, listed
from medseg.data.masks.facts import FileFacts, measure
from medseg.data.masks.layout import about_layout, choose_layout, plane_of
from medseg.data.masks.planes import Layout, values_of
from medseg.errors import UserError

ROUNDING = 1e-4  # beyond 0 and 1, of float arithmetic
SMALL = 63  # values up to here, without noise between them, are class indices and no map
HALF = 128  # a map of 8 bits without any such value has no foreground
PERCENT = 100
DEEP, TWELVE_BITS = 65535, 4095
ONE_COLOUR = "draw the class that is evaluated, and no other, in white or one colour on black"


@dataclass(frozen=True)
class MapReading:
    """How the files of a folder become probabilities: plane `layout`, divided by `scale`.

    `floats` are taken as they are.
    """

    layout: Layout
    scale: float
    text: str
    floats: bool = False


def survey_maps(files: Sequence[Path], *, workers: int = 4) -> MapReading:
    """What the values of a folder of predictions stand for, from all of its files.

    Two values are a mask; floats from 0 to 1, 0 to 100 percent, 8 and 16 bits are probabilities.
    Raises `UserError` naming a file for values that are neither, and for files that are not alike.
    """
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(_look, files))
    floats = [each for each in found if isinstance(each, _Floats)]
    if all(each.facts for each in floats):  # whole numbers in a type for others
        return _of_integers([each.facts if isinstance(each, _Floats) else each for each in found])
    if len(floats) < len(found):
        other = next(each for each in found if isinstance(each, FileFacts))
        raise UserError(
            f"{floats[0].path} holds floats, {other.path} whole numbers; save all predictions alike"
        )
    return _of_floats(floats)


def read_probabilities(path: Path, reading: MapReading) -> np.ndarray:
    """float32 [H, W] from 0 to 1. Raises `UserError` naming the file."""
    stored = read_stored_mask(path)
    bare = reading.floats or reading.scale == DEEP  # of 16 bits nothing is scaled before
    values = stored.samples if bare else values_of(stored, reading.layout, str(path))
    if values.ndim == 3:
        values = values.max(axis=2)
    return np.clip(values.astype(np.float64) / reading.scale, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class _Floats:
    """The range of a file of floats; `facts` where all are whole and some above 1."""

    path: Path
    low: float
    high: float
    is_mask: bool  # 0 and 1, nothing between
    facts: FileFacts | None = None


def _look(path: Path) -> _Floats | FileFacts:
    stored = read_stored_mask(path)
    samples = stored.samples
    if samples.dtype.kind != "f" or samples.ndim != 2:
        return measure(stored, path)
    low, high = float(samples.min(initial=0)), float(samples.max(initial=0))
    whole = low >= 0 and not (samples != np.rint(samples)).any()
    facts = measure(stored, path) if whole and high > 1 else None
    return _Floats(path, low, high, whole and high == 1, facts)


def _of_floats(files: Sequence[_Floats]) -> MapReading:
    top = max(each.high for each in files)
    percent = PERCENT / 2 < top <= PERCENT * (1 + ROUNDING)
    scale = float(PERCENT) if percent else 1.0
    for each in files:
        if not (each.low >= -ROUNDING and each.high <= scale * (1 + ROUNDING)):
            raise UserError(
                f"{each.path}: holds floats from {each.low:.7g} to {each.high:.7g}; expected"
                " probabilities from 0 to 1 (apply the sigmoid or softmax first)"
            )
        if percent and each.is_mask:
            raise UserError(
                f"{each.path}: holds 0 and 1 only, other predictions percent up to {top:g}; save"
                " all predictions alike"
            )
    text = "percent" if percent else "probabilities"
    return MapReading(Layout(), scale, f"{text} as floats", floats=True)


def _of_integers(files: Sequence[FileFacts]) -> MapReading:
    layout = choose_layout(files, advice=ONE_COLOUR)
    planes = [Plane(facts.path, plane_of(facts, layout), facts.lossy) for facts in files]
    census = Census(planes)
    levels = census.levels.tolist()
    top = levels[-1]
    bits = max(facts.bits for facts in files)
    note = about_layout(layout)
    note = f" ({note})" if note else ""
    if len(levels) <= 2 and levels[0] == 0:
        values = f"0 and {top}{note}" if top else "0 only"
        return MapReading(layout, max(top, 1), f"masks of {values}")
    lossy = any(plane.lossy for plane in planes)
    low = census.within(1, SMALL + 1)
    totals, solid = census.counts.sum(0), census.solid.sum(0)
    noisy = (solid * 20 <= totals) & (census.levels > 0)
    classes = (census.inside(low) > 0).any() and noisy.sum() < NOISE_LEVELS and not lossy
    if classes and all(level <= SMALL or level == 255 for level in levels):
        row = int(census.area(low).argmax())
        raise _neither(planes[row].path, census.text(row))
    tops = [int(plane.histogram.levels[-1]) for plane in planes]
    for plane, highest in zip(planes, tops, strict=True):
        odd = len(plane.histogram.levels) == 2 and highest < top and not plane.histogram.levels[0]
        if odd and plane.histogram.solid[-1] and not plane.lossy:
            raise _neither(plane.path, listed(plane.histogram.levels))
    if top == PERCENT and len(levels) > 10 and sum(each >= PERCENT - 1 for each in tops) > 1:
        return MapReading(layout, PERCENT, f"percent{note}")
    if top <= 255 and bits != 16:
        return MapReading(layout, 255, f"maps of 8 bits{note}")
    deepest = max(facts.deepest for facts in files)
    if {facts.bits for facts in files} == {16} and TWELVE_BITS < deepest <= DEEP:
        return MapReading(layout, DEEP, f"maps of 16 bits{note}")
    worst = max(planes, key=lambda plane: int(plane.histogram.levels[-1]))
    raise _neither(worst.path, listed(worst.histogram.levels))


def _neither(path: Path, values: str) -> UserError:
    return UserError(
        f"{path}: holds the values {values}, neither a mask of two values nor a probability map (0"
        " to 1, 0 to 100 percent, 8 or 16 bits); give one mask for the class that is evaluated"
    )
