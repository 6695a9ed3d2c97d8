"""Looks that are planned keep the level of the study, and an early one needs strong evidence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fairtune.analysis import looks
from fairtune.analysis.comparison import judged
from fairtune.analysis.pairs import Family
from fairtune.analysis.sample import Sample, sample_of
from fairtune.core.params import Compare
from fairtune.design.schedule import looks_between

RULES = Compare(palette=["#112233"], resamples=1000, looks=[3, 5, 8])


def equal_methods(
    random: np.random.Generator, *, methods: int = 3, seeds: int = 8, units: int = 120
) -> Sample:
    """Return a study whose methods do not differ: independent normal outcomes.

    The seeds shift a method's training by as much as the units' noise does.
    """
    outcomes = {
        f"method_{place}": random.standard_normal((seeds, units))
        + random.standard_normal((seeds, 1)) / units**0.5
        for place in range(methods)
    }
    right = {name: one > 0 for name, one in outcomes.items()}
    return Sample(outcomes=outcomes, correct=right, rows=units)


def stopped(sample: Sample) -> set[str]:
    """Return the verdicts of a study that stops at the first look that decides every pair."""
    for seeds in RULES.looks:
        found = {one.verdict for one in judged(sample.first(seeds), RULES)}
        if "cannot tell" not in found:
            break
    return set(found)


def test_with_stopping_a_study_is_wrong_no_more_often_than_its_level() -> None:
    random, studies = np.random.default_rng(7), 100
    wrong = sum("better" in stopped(equal_methods(random)) for _ in range(studies))
    assert wrong <= stats.binom.ppf(0.999, studies, looks.ALPHA)


@pytest.mark.parametrize("planned", [[3, 4], [3, 5, 8], [5, 16, 27, 39, 50], [3, 50]])
def test_the_levels_of_the_looks_add_up_to_that_of_the_study(planned: list[int]) -> None:
    found = looks.levels(planned)
    assert sum(found) == pytest.approx(looks.ALPHA)
    assert found == sorted(found)
    assert found[0] > 0


def test_a_level_too_small_for_the_resamples_asks_for_more_than_any_of_them() -> None:
    sample = equal_methods(np.random.default_rng(1), seeds=3)
    family = Family(sample=sample, margin=0.01, resamples=1000)
    level = looks.levels([3, 50])[0]
    assert level < 1 / 1001
    assert family.critical(level) >= family.largest[0]
    assert family.critical(level) > family.critical(0.01)
    # By Bonferroni's inequality: six tails of a normal.
    assert family.critical(1e-6) == pytest.approx(-stats.norm.ppf(1e-6 / 6))
    assert family.adjusted(family.critical(1e-6)) == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(3, 4, [3, 4]), (3, 5, [3, 5]), (3, 8, [3, 5, 6, 8]), (5, 50, [5, 16, 27, 39, 50])],
)
def test_looks_are_few_and_spread(first: int, last: int, expected: list[int]) -> None:
    assert looks_between(first, last) == expected


def test_every_plan_grows_from_its_first_look_to_its_last() -> None:
    for first in range(3, 30):
        for last in range(first + 1, 60):
            found = looks_between(first, last)
            assert (found[0], found[-1]) == (first, last)
            assert sorted(set(found)) == found
            assert 2 <= len(found) <= 5


@pytest.mark.parametrize("methods", [2, 3])
def test_methods_that_answer_twelve_rows_alike_are_not_shown_to_be_equivalent(methods: int) -> None:
    right = np.tile([True, False], (3, 6))
    sample = sample_of({f"method_{place}": right for place in range(methods)})
    for found in judged(sample, RULES.model_copy(update={"looks": []})):
        assert found.verdict == "cannot tell"
        assert found.comparison.p_value > 0.5
        assert found.comparison.inner_high > 0.05
