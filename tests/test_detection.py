"""What is called detectable, against studies drawn with errors that are known."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal

from fairtune.analysis.crossed import FloatArray, SeedPart, reaches, row_variance
from fairtune.analysis.detection import Draws, Room, RowGaps, of_methods, of_models
from fairtune.analysis.pairs import Family
from fairtune.analysis.sample import sample_of


def gaps_of(rows: int, only_a: int, only_b: int) -> RowGaps:
    """Return the gaps of two models' rows."""
    differences = np.zeros(rows)
    differences[:only_a], differences[only_a : only_a + only_b] = 1, -1
    return RowGaps.of(differences, grain=1.0)


def discordant(accuracy_a: float, accuracy_b: float) -> float:
    """Share of discordant rows where both are right on a row by normal scores, correlated 9/11."""
    cuts = ndtri([accuracy_a, accuracy_b])
    both = multivariate_normal.cdf(cuts, cov=[[1, 9 / 11], [9 / 11, 1]])
    return float(accuracy_a + accuracy_b - 2 * both)


def test_the_errors_of_equal_methods_are_those_of_the_interval() -> None:
    differences = np.random.default_rng(0).choice([-1.0, -0.5, 0.0, 0.5, 1.0], 400)
    differences -= differences.mean()
    gaps = RowGaps.of(differences, grain=1.0)
    assert gaps.variance(0.0) == pytest.approx(row_variance(differences, grain=1.0))


def test_more_rows_are_discordant_the_larger_the_difference() -> None:
    equal = discordant(0.9, 0.9)
    for difference in (0.03, 0.06, 0.09):
        expected = discordant(0.9 + difference / 2, 0.9 - difference / 2)
        found = gaps_of(100_000, *[round(50_000 * equal)] * 2)
        assert expected > 1.04 * equal or difference == 0.03
        assert found.squares(difference) == pytest.approx(expected, rel=0.03)
        # A study that found a difference says the same of no difference.
        unequal = gaps_of(
            100_000,
            round(50_000 * (expected + difference)),
            round(50_000 * (expected - difference)),
        )
        assert unequal.squares(0.0) == pytest.approx(equal, rel=0.03)


def test_what_one_seed_calls_detectable_is_found_four_times_in_five() -> None:
    """On 500 rows, with the critical values of one pair, and of four and eight methods."""
    random, rows = np.random.default_rng(1), 500
    equal = discordant(0.9, 0.9)
    gaps = gaps_of(rows, *[round(rows * equal / 2)] * 2)
    for critical in (1.96, 2.6, 3.0):
        tail = float(ndtr(-critical))
        size = of_models(gaps, most=1.0, degrees=inf, tail=tail, power=0.8)
        apart = discordant(0.9 + size / 2, 0.9 - size / 2)
        shares = [(apart + size) / 2, (apart - size) / 2, 1 - apart]
        only_a, only_b, _ = random.multinomial(rows, shares, 40_000).T
        mean = (only_a - only_b) / (rows + 2)
        spread = np.sqrt(((only_a + only_b + 1) / (rows + 2) - mean**2) / (rows + 2))
        found = float(((only_a - only_b) / rows > critical * spread).mean())
        assert 0.78 <= found <= 0.82


ROWS, NOISE = 0.0047**2, 0.0039**2
"""Errors of three seeds on 2,000 rows, as in the studies of benchmarks/verdicts.py."""


def found_of(effect: float, *, methods: int, studies: int = 250) -> float:
    """Return how often differences are found that studies of three seeds call detectable."""
    random, seeds, tail = np.random.default_rng(2), 3, float(ndtr(-1.96))
    one = effect**2 + NOISE

    def spreads(many: int) -> FloatArray:
        return one * random.chisquare(seeds - 1, (methods, many)) / (seeds - 1)

    # What 40,000 studies need, to find a difference.
    variances = np.maximum(spreads(40_000)[:2] - NOISE, 0) / seeds
    error = sqrt(ROWS + 2 * effect**2 / seeds) * random.standard_normal(40_000)
    needed = np.sort(reaches(ROWS, variances, seeds=seeds, tail=tail) - error)
    # Rows that are all discordant: the difference adds nothing to their errors.
    gaps = RowGaps(units=1 / ROWS, size=1.0, equal=1.0)
    power = []
    for of_study in spreads(studies).T:
        parts = [SeedPart(float(spread), NOISE, seeds) for spread in of_study]
        draws = Draws.of(parts, 1_000, seed=3)
        size = of_methods(
            gaps, (parts[0], parts[1]), draws, Room(middle=0.5, end=0.0),
            degrees=inf, tail=tail, power=0.8,
        )  # fmt: skip
        power.append(np.searchsorted(needed, size) / len(needed))
    return float(np.mean(power))


def test_what_three_seeds_call_detectable_is_found_at_most_effects() -> None:
    """Of two methods and of four, whatever the seeds do.

    By the prior that is flat in the logarithm 86% are found at 0.3 points.
    """
    for effect in (0.003, 0.006, 0.012):
        assert 0.74 <= found_of(effect, methods=2) <= 0.84
    assert 0.77 <= found_of(0.004, methods=4) <= 0.84


def test_seeds_move_a_score_the_less_the_nearer_it_is_to_its_end() -> None:
    better, worse = Room(middle=0.9, end=0.001).growth(0.1)
    step = 1e-4

    def moved(share: float) -> float:
        return float(ndtr(ndtri(share) + step)) - share

    assert better == pytest.approx((moved(0.95) / moved(0.9)) ** 2, rel=0.01)
    assert worse == pytest.approx((moved(0.85) / moved(0.9)) ** 2, rel=0.01)
    assert Room(middle=0.9, end=0.001).growth(0.0) == (1.0, 1.0)
    # Of scores from -1 on, 0.8 lies where 90% does, and a difference of 0.2 is one of 0.1.
    assert Room(middle=0.9, end=0.001, length=2.0).growth(0.2) == (better, worse)


def test_a_difference_without_room_is_as_large_as_scores_can_have() -> None:
    gaps = RowGaps(units=1000, size=0.6, equal=0.07)
    parts = (SeedPart(0.3**2, NOISE, 3), SeedPart(0.2**2, NOISE, 3))
    draws = Draws.of(list(parts), 500, seed=0)
    room = Room(middle=0.9, end=0.0005)
    assert of_methods(gaps, parts, draws, room, degrees=inf, tail=0.001, power=0.8) == 1.0


def test_what_is_detectable_depends_on_the_study_alone() -> None:
    random = np.random.default_rng(5)
    runs = {name: random.random((3, 300)) < 0.85 for name in "abcd"}
    family, again = (Family(sample=sample_of(runs), margin=0.01, resamples=200) for _ in range(2))
    there = [family.detectable(*pair) for pair in family.pairs]
    back = [again.detectable(*pair) for pair in reversed(again.pairs)]
    assert there == back[::-1]
    of_more = family.detectable("a", "b", power=0.9)
    assert of_more > there[0] > family.detectable("a", "b", power=0.5) > 0
