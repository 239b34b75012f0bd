"""Studentised bootstrap intervals of a mean of ratios of sums.

All overlap metrics of a test set are such means. A mean over images is the sum of its values over
their number; a pooled Dice is twice the sum of true positives over a sum of pixels; a macro Dice is
the mean of such ratios over classes. One function serves them all, and a whole group (a video
sequence, a patient) is drawn at a time, because its images are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

LEVEL = 0.95
FEW = 30  # with fewer units intervals cover less than they claim (docs/log.md)
_BLOCK = 2_000_000  # weights held at a time
Sums = tuple[np.ndarray, np.ndarray]
Bounds = tuple[float, float]


def intervals(
    quantities: Mapping[Hashable, Sums],
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = LEVEL,
    seed: int = 0,
    bounds: Bounds | Mapping[Hashable, Bounds] = (0.0, 1.0),
) -> dict[Hashable, tuple[float, float]]:
    """Low and high end of each quantity, from the same draws of groups.

    A quantity is numerators and denominators, float [N] or [N, K], one row per image: its value is
    the mean over K of sum(numerators) / sum(denominators), over those with a denominator. `groups`
    holds the group of each image; an image whose group is None, or every image where `groups` is
    None, is a group of its own. Ends are cut to `bounds`, which may differ by quantity (0 and 1
    where it names none). NaN where the value is undefined or fewer than two groups have a part in
    its denominator.

    The method is the bootstrap-t of Efron & Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 12.5, with the linearised standard error of a ratio; draws without spread count as
    infinitely far, so that few groups give wide intervals instead of none. Percentile and BCa
    intervals, which are more common, cover less with left-skewed Dice (docs/log.md).
    """
    index = group_index(groups, len(next(iter(quantities.values()))[0]))
    sums = {
        name: tuple(_by_group(np.asarray(each, np.float64), index) for each in pair)
        for name, pair in quantities.items()
    }
    # one value says nothing of the spread
    sums = {name: pair for name, pair in sums.items() if _groups_with_a_part(pair) >= 2}
    limits = bounds if isinstance(bounds, Mapping) else dict.fromkeys(quantities, bounds)
    units = int(index.max()) + 1 if len(index) else 0
    observed: dict[Hashable, tuple[float, float]] = {}
    for name, pair in sums.items():
        value, error = _ratio(np.ones((1, units)), *pair)
        observed[name] = float(value[0]), float(error[0])
    distances: dict[Hashable, list[np.ndarray]] = {name: [] for name in sums}
    for weights in _weights(units, _draws(units), seed):
        for name, pair in sums.items():
            value, error = _ratio(weights, *pair)
            distances[name].append(_studentised(value, error, observed[name][0]))
    ends = dict.fromkeys(quantities, (math.nan, math.nan))
    for name, (value, error) in observed.items():
        drawn = np.concatenate(distances[name])
        ends[name] = _ends(value, error, drawn, level, limits.get(name, (0.0, 1.0)))
    return ends


def mean_interval(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = LEVEL,
    seed: int = 0,
    bounds: Bounds = (0.0, 1.0),
) -> tuple[float, float]:
    """The interval of the mean of `values` [N], as in `intervals`; NaN values are left out."""
    quantities = {"mean": of_mean(np.asarray(values, np.float64))}
    return intervals(quantities, groups, level=level, seed=seed, bounds=bounds)["mean"]


def of_mean(values: np.ndarray) -> Sums:
    """The mean of the defined among `values` [N] as numerators and denominators."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0.0), defined.astype(np.float64)


def group_index(groups: Sequence[Hashable] | None, count: int) -> np.ndarray:
    """The number of each image's group, int [N]; an image without a group is one by itself."""
    if groups is None:
        return np.arange(count)
    if len(groups) != count:
        raise ValueError(f"{len(groups)} groups for {count} values")
    known: dict[Hashable, int] = {}
    numbers = []
    for i, group in enumerate(groups):
        key = ("alone", i) if group is None else ("group", group)
        numbers.append(known.setdefault(key, len(known)))
    return np.array(numbers, int)


def _by_group(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Rows of images [N] or [N, K] summed to rows of groups [G, K]."""
    columns = values.reshape(len(values), -1).T
    return np.stack([np.bincount(index, column) for column in columns], axis=1)


def _groups_with_a_part(sums: Sums) -> int:
    """How many groups have a part in a denominator."""
    _, below = sums
    return int((below > 0).any(axis=1).sum())


def _draws(units: int) -> int:
    """5,000 where that is quick, and never fewer than 1,000."""
    return int(np.clip(5_000_000 // units, 1000, 5000))


def _weights(units: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn, float [b, units] in blocks that add up to `draws` rows.

    Each row sums to `units`.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // units)
    for first in range(0, draws, step):
        rows = min(step, draws - first)
        picked = rng.integers(0, units, (rows, units)) + np.arange(rows)[:, None] * units
        counts = np.bincount(picked.ravel(), minlength=rows * units)
        yield counts.reshape(rows, units).astype(np.float64)


def _ratio(
    weights: np.ndarray, above: np.ndarray, below: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The value and its standard error in each draw, [b] each.

    `weights` are [b, G], numerators `above` and denominators `below` [G, K].
    """
    top, bottom = weights @ above, weights @ below
    defined = bottom > 0
    ratio = np.divide(top, bottom, out=np.zeros_like(top), where=defined)
    classes = defined.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = ratio.sum(1) / classes  # NaN where no class has a denominator
        share = np.where(defined, 1 / (classes[:, None] * bottom), 0.0)
    influence = share @ above.T - (share * ratio) @ below.T  # of each group on the value, [b, G]
    # G / (G - 1) is left out: it is in every draw and cancels
    return value, np.sqrt(np.einsum("bg,bg,bg->b", weights, influence, influence))


def _studentised(values: np.ndarray, errors: np.ndarray, observed: float) -> np.ndarray:
    """The distances of the defined `values` from the observed one, in standard errors.

    Infinite where a draw has no spread, 0 where it has none and equals the observed value.
    """
    defined = ~np.isnan(values)
    distance = values[defined] - observed
    error = errors[defined]
    far = np.where(np.abs(distance) > 1e-12, np.copysign(np.inf, distance), 0.0)
    return np.divide(distance, error, out=far, where=error > 1e-12)


def _ends(
    value: float, error: float, distances: np.ndarray, level: float, bounds: Bounds
) -> tuple[float, float]:
    """The interval about `value` from its studentised distances in the draws."""
    if math.isnan(value) or not len(distances):
        return math.nan, math.nan
    if error < 1e-12:
        return value, value
    low, high = np.quantile(distances, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return max(bounds[0], value - float(high) * error), min(bounds[1], value - float(low) * error)
