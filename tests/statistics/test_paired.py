"""Paired tests against enumeration, published values and their own level."""

import itertools
import math

import numpy as np
import pytest

from medseg.statistics.paired import holm, letters, mean_ranks, permutation_test, wilcoxon


def by_enumeration(values, statistic):
    """Share of all sign changes whose statistic is at least as far from its centre."""
    seen = statistic(values)
    ways = [
        statistic([v * s for v, s in zip(values, signs, strict=True)])
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    return sum(abs(way) >= abs(seen) - 1e-9 for way in ways) / len(ways)


def signed_ranks(values):
    size = sorted(abs(v) for v in values)
    rank = {v: 1 + np.mean([i for i, other in enumerate(size) if other == v]) for v in size}
    return sum(math.copysign(rank[abs(v)], v) for v in values)


@pytest.mark.parametrize(
    "values",
    [
        [0.1, 0.2, -0.05, 0.3],
        [1, -1, 2, -3, 3, 3, -2, 1, 1],
        [-0.4],
        [0.3, 0.3, 0.3, 0.3, 0.3],
        [0.11, -0.02, 0.07, 0.05, -0.08, 0.01, 0.2, 0.13, 0.06, -0.03],
    ],
)
def test_small_sets_by_enumeration(values):
    assert permutation_test(np.array(values)) == pytest.approx(by_enumeration(values, sum))
    assert wilcoxon(np.array(values)) == pytest.approx(by_enumeration(values, signed_ranks))


def test_published_wilcoxon_values():
    """The critical value 8 of n = 10 has p .0488, 52 of n = 20 has .0484; both from the exact
    tables.
    """
    for count, critical, p in ((10, 8, 0.0488), (20, 52, 0.0484)):
        ranks = np.arange(1.0, count + 1)
        negative = []
        for rank in ranks[::-1]:
            if sum(negative) + rank <= critical:
                negative.append(rank)
        assert sum(negative) == critical
        assert wilcoxon(np.where(np.isin(ranks, negative), -ranks, ranks)) == pytest.approx(
            p, abs=5e-5
        )


def test_exact_and_normal_agree_where_they_meet(monkeypatch):
    rng = np.random.default_rng(0)
    for shift in (0.02, 0.1, 0.2):
        values = rng.normal(shift, 1, 180).round(1)  # with zeros and many ties
        exact = wilcoxon(values)
        with monkeypatch.context() as patch:
            patch.setattr("medseg.statistics.paired.EXACT_RANKS", 0)
            assert wilcoxon(values) == pytest.approx(exact, abs=0.004)
            assert wilcoxon(values) != exact


def test_drawn_and_exact_permutations_agree(monkeypatch):
    values = np.random.default_rng(2).normal(0.4, 1, 14)
    exact = permutation_test(values)
    monkeypatch.setattr("medseg.statistics.paired.EXACT_SIGNS", 0)
    assert permutation_test(values) == pytest.approx(exact, abs=0.012)
    assert permutation_test(values) != exact
    assert permutation_test(np.full(60, 0.1)) == pytest.approx(1 / 20_001)  # never 0


def test_nothing_differs():
    for test in (permutation_test, wilcoxon):
        assert test(np.zeros(8)) == test(np.zeros(60)) == test(np.array([])) == 1
    assert permutation_test(np.array([0.1, -0.1])) == wilcoxon(np.array([0.1, -0.1])) == 1


def test_which_model_comes_first_does_not_matter():
    values = np.random.default_rng(3).normal(0.3, 1, 40)
    assert wilcoxon(values) == pytest.approx(wilcoxon(-values))
    assert permutation_test(values) == permutation_test(-values)


def test_mean_ranks():
    assert mean_ranks(np.array([3, 1, 3, 2, 3])).tolist() == [4, 1, 4, 2, 4]


def test_holm():
    """Worked example: 4 p values, the smallest times 4, then times 3 ..., never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([0.04]) == [0.04] and holm([]) == []


def test_letters_share_one_exactly_where_nothing_differs():
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 5, 7):
        pairs = list(itertools.combinations(range(count), 2))
        for share in (0, 0.2, 0.5, 0.8, 1):
            different = {pair for pair in pairs if rng.random() < share}
            found = letters(count, different)
            for a, b in pairs:
                assert bool(set(found[a]) & set(found[b])) == ((a, b) not in different)
            assert all(found)
    assert letters(4, {(0, 2), (0, 3), (1, 3)}) == ["a", "ab", "bc", "c"]
    assert letters(3, {(2, 0)}) == ["a", "ab", "b"]


@pytest.mark.slow
@pytest.mark.parametrize("groups", [None, 12, 30])
def test_false_positive_rate_is_the_level(groups):
    """Two models that differ by chance only, on 60 images or on videos of them: 5 % of 1,000 tests
    find a difference.
    """
    rng = np.random.default_rng(groups or 0)
    found = {"permutation": 0, "wilcoxon": 0}
    for i in range(1000):
        units = groups or 60
        skill = rng.beta(9, 1.5, units)
        one, two = (np.clip(skill + rng.normal(0, 0.1, units), 0, 1) for _ in range(2))
        sizes = rng.integers(3, 20, units) if groups else np.ones(units)
        found["permutation"] += permutation_test((one - two) * sizes, seed=i) <= 0.05
        found["wilcoxon"] += wilcoxon(one - two) <= 0.05
    for name, count in found.items():
        assert 0.036 <= count / 1000 <= 0.064, name  # two standard deviations of 1,000 draws
