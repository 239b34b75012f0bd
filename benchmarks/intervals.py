"""How often 95 % intervals of a mean Dice hold the true mean.

    python benchmarks/intervals.py [--sets 1000] [--real RUN/report/validation/per_image.csv]

The intervals are percentile, BCa, and the studentised one that medseg uses. Prints the share of
test sets covered, by size and population; about two minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import numpy as np

from medseg.evaluation.rows import read_rows
from medseg.statistics.bootstrap import mean_interval

Draw = Callable[[np.random.Generator, int], np.ndarray]
Method = Callable[[np.ndarray, np.random.Generator], tuple[float, float]]
SIZES = (10, 20, 30, 60, 120)
DRAWS = 2000


def tail(rng: np.random.Generator, n: int) -> np.ndarray:
    """`n` Dice of a model that does badly on 15 % of the images."""
    return np.where(rng.random(n) < 0.15, rng.beta(2, 1.6, n), rng.beta(16, 1.3, n))


def misses(rng: np.random.Generator, n: int) -> np.ndarray:
    """`n` Dice of a model that misses 4 % of the lesions."""
    return np.where(rng.random(n) < 0.04, 0.0, rng.beta(9, 1.2, n))


def percentile(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The middle 95 % of the resampled means."""
    return tuple(np.quantile(_means(values, rng), (0.025, 0.975)))


def bca(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The percentile interval corrected for bias and skewness (Efron 1987)."""
    means, normal = _means(values, rng), NormalDist()
    off = values - values.mean()
    skew = (off**3).sum() / (6 * (off**2).sum() ** 1.5)
    below = (means < values.mean()).mean() + (means == values.mean()).mean() / 2
    bias = normal.inv_cdf(min(max(below, 1e-4), 1 - 1e-4))
    shares = [normal.cdf(bias + (bias + z) / (1 - skew * (bias + z))) for z in (-1.96, 1.96)]
    return tuple(np.quantile(means, shares))


def studentised(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The interval of every summary of medseg."""
    return mean_interval(values, seed=int(rng.integers(2**31)))


POPULATIONS: dict[str, Draw] = {"tail": tail, "misses": misses}
METHODS = {"percentile": percentile, "BCa": bca, "studentised": studentised}


def main() -> None:
    """Print one line per size and population."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--real", type=Path, help="per_image.csv whose Dice are drawn from")
    options = parser.parse_args()
    populations = dict(POPULATIONS)
    if options.real:
        real = np.array([row["dice"] for row in read_rows(options.real)])
        populations["real"] = lambda rng, n: rng.choice(real, n)
    print("| n | population | " + " | ".join(METHODS) + " |\n|---|---|" + "---|" * len(METHODS))
    for size in SIZES:
        for name, draw in populations.items():
            if name == "real":
                truth = real.mean()
            else:
                truth = draw(np.random.default_rng(0), 2_000_000).mean()
            rng = np.random.default_rng(size)
            sets = [draw(rng, size) for _ in range(options.sets)]
            shares = [covered(method, sets, truth, rng) for method in METHODS.values()]
            cells = " | ".join(f"{share:.3f}" for share in shares)
            print(f"| {size} | {name} | {cells} |", flush=True)


def covered(
    method: Method, sets: list[np.ndarray], truth: float, rng: np.random.Generator
) -> float:
    """The share of the sets whose interval holds the true mean."""
    held = 0
    for values in sets:
        low, high = method(values, rng)
        held += bool(low <= truth <= high)
    return held / len(sets)


def _means(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(1)


if __name__ == "__main__":
    main()
