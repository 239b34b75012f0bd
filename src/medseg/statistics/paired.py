"""Whether models differ on the same images: paired tests, correction for many pairs, letters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

EXACT_SIGNS = 14  # up to so many units all sign changes are tried
EXACT_RANKS = 200  # up to so many units the distribution of the rank sum is exact
_DRAWS = 20_000


def permutation_test(sums: np.ndarray, *, seed: int = 0) -> float:
    """Two-sided p value for a mean difference of 0.

    `sums` [G] are the differences summed over each independent unit. The two models are exchanged
    within units at random (Fisher's sign-flip test): all 2^G ways where G is at most 14, else
    20,000 draws, with the observed one counted among them, so that p is never 0. 1 without units.
    """
    sums = np.asarray(sums, np.float64)
    observed = abs(sums.sum())
    close = observed * (1 - 1e-9) - 1e-12  # ways that are equal but for rounding count as equal
    if len(sums) <= EXACT_SIGNS:
        ways = np.arange(2 ** len(sums))[:, None]
        signs = 1 - 2 * ((ways >> np.arange(len(sums))) & 1)  # one row per way: its bits as signs
        return float((np.abs(signs @ sums) >= close).mean())
    rng = np.random.default_rng(seed)
    beyond = 0
    step = max(1, 4_000_000 // len(sums))
    for first in range(0, _DRAWS, step):
        rows = min(step, _DRAWS - first)
        signs = rng.integers(0, 2, (rows, len(sums)), dtype=np.int8) * 2.0 - 1
        beyond += int((np.abs(signs @ sums) >= close).sum())
    return (1 + beyond) / (1 + _DRAWS)


def wilcoxon(differences: np.ndarray) -> float:
    """Two-sided p value of the signed-rank test (Wilcoxon 1945).

    `differences` [G] are those of independent units. Zeros are dropped and ties get their mean
    rank. Up to 200 units the distribution of the rank sum is exact, ties included (common libraries
    turn to the normal one there); above it is normal with the variance corrected for ties, and no
    correction for continuity. 1 without units that differ.
    """
    values = np.asarray(differences, np.float64)
    values = values[np.abs(values) > 1e-12]
    if not len(values):
        return 1.0
    ranks = mean_ranks(np.abs(values).round(12))
    positive = ranks[values > 0].sum()
    lower = min(positive, ranks.sum() - positive)
    if len(values) <= EXACT_RANKS:
        return min(1.0, 2 * _share_up_to(lower, ranks))
    spread = math.sqrt((ranks**2).sum() / 4)
    return math.erfc((ranks.sum() / 2 - lower) / spread / math.sqrt(2))


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs, [N]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _share_up_to(limit: float, ranks: np.ndarray) -> float:
    """Probability that the sum of a random half of the ranks is at most `limit`.

    Mean ranks are multiples of one half.
    """
    doubled = np.round(2 * ranks).astype(int)
    share = np.zeros(doubled.sum() + 1)
    share[0] = 1.0
    for rank in doubled:
        moved = np.zeros_like(share)
        moved[rank:] = share[: len(share) - rank]
        share = (share + moved) / 2
    return float(share[: round(2 * limit) + 1].sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for their number (Holm 1979), in the order given.

    They are compared with the level as they are.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def letters(count: int, different: set[tuple[int, int]]) -> list[str]:
    """Letters for models 0 to count - 1, best first.

    Two models share a letter exactly if their pair is not in `different`. The sets behind the
    letters are the maximal cliques of models that cannot be told apart (Piepho, J. Comput. Graph.
    Stat. 13, 2004), found by splitting at each pair that differs. Past z the letters are doubled.
    """
    sets: list[frozenset[int]] = [frozenset(range(count))]
    for a, b in sorted(tuple(sorted(pair)) for pair in different):
        parts: list[frozenset[int]] = []
        for members in sets:
            if {a, b} <= members:
                parts += [members - {a}, members - {b}]
            else:
                parts.append(members)
        distinct = list(dict.fromkeys(parts))
        sets = [part for part in distinct if not any(part < other for other in distinct)]
    sets.sort(key=sorted)
    found = [""] * count
    for i, members in enumerate(sets):
        letter = chr(ord("a") + i % 26) * (1 + i // 26)
        for model in members:
            found[model] += letter
    return found
