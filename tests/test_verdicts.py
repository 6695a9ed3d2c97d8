"""Reference values worked out by hand, enumeration, and simulated studies whose truth is known."""

import json
from dataclasses import asdict
from itertools import product
from math import nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import ndtri, stdtrit
from scipy.stats import binom, binomtest, norm, studentized_range

from fairtune.analysis.crossed import crossed_error
from fairtune.analysis.estimates import BoolArray, accuracy_estimate, wilson
from fairtune.analysis.mcnemar import exact_mcnemar
from fairtune.analysis.pairs import Family, PairedComparison, compare_pairs
from fairtune.analysis.pareto import pareto_front
from fairtune.analysis.quality import (
    accuracy_by_length,
    agreement,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    reliability_bins,
)
from fairtune.analysis.sample import sample_of
from fairtune.analysis.verdicts import PairVerdict, compare_all, supported_ranks


def outcomes(*counts: tuple[str, int]) -> tuple[BoolArray, BoolArray]:
    """One seed of two methods from counts of rows; ("10", 5): a right and b wrong on 5 rows."""
    a = np.concatenate([np.full(n, kind[0] == "1") for kind, n in counts])
    b = np.concatenate([np.full(n, kind[1] == "1") for kind, n in counts])
    return a[None], b[None]


def paired_comparison(a: BoolArray, b: BoolArray, **knobs: Any) -> PairedComparison:
    """Two methods alone: a family of one pair."""
    return compare_pairs(sample_of({"a": a, "b": b}), **knobs)["a", "b"]


def simulated(
    rng: np.random.Generator, *, difficulty: npt.NDArray[np.float64], seeds: int, seed_sd: float
) -> BoolArray:
    """A probit model of accuracy 0.9: shared row difficulty (sd 3), own row part, seed, chance."""
    rows = len(difficulty)
    mean = ndtri(0.9) * sqrt(3**2 + 1 + 1 + seed_sd**2)
    own = difficulty + rng.normal(size=rows) + rng.normal(0, seed_sd, (seeds, 1))
    right: BoolArray = mean + own + rng.normal(size=(seeds, rows)) > 0
    return right


def false_alarms(*, seeds: int, seed_sd: float, studies: int = 500) -> tuple[float, float, float]:
    """Shares of studies without a true difference: p_value <= 5%, mcnemar_p <= 5%, 0 not in it."""
    rng = np.random.default_rng(20)
    hits = np.zeros(3)
    for _ in range(studies):
        shared = rng.normal(0, 3, 800)
        a = simulated(rng, difficulty=shared, seeds=seeds, seed_sd=seed_sd)
        b = simulated(rng, difficulty=shared, seeds=seeds, seed_sd=seed_sd)
        c = paired_comparison(a, b, margin=0.01, resamples=400)
        hits += [c.p_value <= 0.05, c.mcnemar_p <= 0.05, not c.low <= 0 <= c.high]
    p, mcnemar, interval = hits / studies
    return p, mcnemar, interval


# At 5% and 500 studies, 0.999 of all simulations lie at or below this share.
HIGHEST = binom.ppf(0.999, 500, 0.05) / 500


def test_wilson_interval_matches_the_value_worked_out_by_hand() -> None:
    # 8 of 10: (0.8 + 0.19207) / 1.38415 -+ 1.95996 sqrt(0.016 + 0.009604) / 1.38415
    estimate = accuracy_estimate(np.array([[True] * 8 + [False] * 2]))
    assert estimate.mean == 0.8
    assert (estimate.low, estimate.high) == pytest.approx((0.49016, 0.94332), abs=1e-5)
    assert estimate.half_width == pytest.approx(0.22658, abs=1e-5)
    assert "not covered" in estimate.how


@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 0.8225, 1.0])
@pytest.mark.parametrize("rows", [7.0, 40.5, 2000.0])
def test_wilson_interval_is_that_of_statsmodels(share: float, rows: float) -> None:
    from statsmodels.stats.proportion import proportion_confint

    expected = proportion_confint(share * rows, rows, alpha=0.05, method="wilson")
    assert wilson(share, rows) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("seeds", [1, 3])
def test_perfect_or_hopeless_accuracy_keeps_the_interval_of_its_rows(
    right: bool, seeds: int
) -> None:
    # Wilson at p = 1 or 0: the width is z^2 / (n + z^2) = 3.8415 / 103.8415; seeds add no rows.
    estimate = accuracy_estimate(np.full((seeds, 100), right))
    assert estimate.high - estimate.low == pytest.approx(3.84146 / 103.84146)


def test_identical_seeds_say_no_more_than_one_seed() -> None:
    one = np.random.default_rng(0).random((1, 300)) < 0.9
    alone, thrice = accuracy_estimate(one), accuracy_estimate(np.repeat(one, 3, axis=0))
    assert (thrice.low, thrice.high) == pytest.approx((alone.low, alone.high))


def test_crossed_error_matches_the_analysis_of_variance_by_hand() -> None:
    # Seed means 1 and 0.25, row means 1, .5, .5, .5: SS total 1.875 = seeds 1.125 + rows 0.375 +
    # error 0.375; MS seed 1.125 / 1, MS error 0.375 / 3; (1.125 - 0.125) / (2 * 4) = 0.125.
    error = crossed_error(0.01, [np.array([[1, 1, 1, 1], [1, 0, 0, 0]], dtype=bool)], fewest=2)
    assert error.seeds == pytest.approx(0.125)
    assert error.degrees == pytest.approx(1)
    # t(1 df, 97.5%) = 12.706 on the seeds, z = 1.96 on the rows.
    assert error.quantile(0.025) == pytest.approx(
        sqrt(12.7062**2 * 0.125 + 1.95996**2 * 0.01), rel=1e-4
    )
    assert error.tail(error.quantile(0.025)) == pytest.approx(0.025)
    assert error.tail(-error.quantile(0.025)) == pytest.approx(0.975)


def test_independent_seeds_of_two_methods_pool_their_degrees_of_freedom() -> None:
    run = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], dtype=bool)
    pooled = crossed_error(0.01, [run, run], fewest=2)
    assert pooled.seeds == pytest.approx(0.25)
    assert pooled.degrees == pytest.approx(2)  # Welch, equal variances: 1 + 1


@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.0), (3, 0.3)])
def test_accuracy_interval_covers_the_truth_at_its_level(seeds: int, seed_sd: float) -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(500):
        run = simulated(rng, difficulty=rng.normal(0, 3, 800), seeds=seeds, seed_sd=seed_sd)
        estimate = accuracy_estimate(run)
        covered += estimate.low <= 0.9 <= estimate.high
    assert 1 - HIGHEST <= covered / 500 <= 0.99


def test_one_seed_without_a_difference_raises_alarms_at_the_nominal_rate() -> None:
    p, _, interval = false_alarms(seeds=1, seed_sd=0.0)
    assert 0.01 <= p <= HIGHEST
    assert 0.01 <= interval <= HIGHEST


def test_seed_effect_without_a_difference_raises_alarms_at_the_nominal_rate() -> None:
    p, mcnemar, interval = false_alarms(seeds=3, seed_sd=0.3)
    assert 0.01 <= p <= HIGHEST
    assert 0.01 <= interval <= HIGHEST
    # The same studies fool the test of the trained models alone: seeds must be in the error.
    assert mcnemar > 0.2


def test_false_verdicts_in_a_study_of_four_methods_stay_within_alpha() -> None:
    rng = np.random.default_rng(8)
    any_better = 0
    for _ in range(300):
        shared = rng.normal(0, 3, 500)
        runs = {n: simulated(rng, difficulty=shared, seeds=1, seed_sd=0.0) for n in "abcd"}
        verdicts = compare_all(sample_of(runs), margin=0.001, resamples=400)
        any_better += any(v.verdict == "better" for v in verdicts)
    assert any_better <= binom.ppf(0.999, 300, 0.05)


def test_mcnemar_p_matches_the_binomial_tail_by_hand() -> None:
    # 10 against 2 discordant rows: 2 (C(12,0) + C(12,1) + C(12,2)) / 2^12 = 158 / 4096
    a, b = outcomes(("11", 50), ("10", 10), ("01", 2), ("00", 8))
    result = paired_comparison(a, b, margin=0.01)
    assert result.mcnemar_p == pytest.approx(158 / 4096)
    assert (result.only_a, result.only_b) == (10, 2)
    assert result.difference == pytest.approx(8 / 70)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 5), (7, 6), (30, 9), (400, 310), (0, 60)])
def test_mcnemar_p_equals_scipys_exact_binomial_test(wins: int, losses: int) -> None:
    sums = np.array([1] * wins + [-1] * losses + [0] * 20)
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert exact_mcnemar(sums) == pytest.approx(expected)


def test_mcnemar_p_over_seeds_equals_the_enumeration_of_all_sign_flips() -> None:
    sums = np.array([3, 3, 2, -1, 1, 0, 2, 1, -2, 3])
    flips = np.array(list(product([-1, 1], repeat=len(sums)))) @ np.abs(sums)
    assert exact_mcnemar(sums) == pytest.approx(np.mean(np.abs(flips) >= abs(sums.sum())))


def test_paired_interval_is_the_agresti_min_interval_for_one_seed() -> None:
    # Counts 60 and 40 of 2,000, half a row added to each cell: variance of the mean
    # ((60.5 + 40.5) / 2002 - (20 / 2002)^2) / 2002
    a, b = outcomes(("11", 1700), ("10", 60), ("01", 40), ("00", 200))
    result = paired_comparison(a, b, margin=0.01, resamples=40_000)
    error = sqrt((101 / 2002 - (20 / 2002) ** 2) / 2002)
    assert result.standard_error == pytest.approx(error)
    assert (result.low, result.high) == pytest.approx(
        (0.01 - 1.96 * error, 0.01 + 1.96 * error), abs=4e-4
    )
    # Power 80%, two-sided 5%: (1.959964 + 0.841621) standard errors.
    assert result.detectable == pytest.approx(2.801585 * error, rel=0.02)


def test_pairing_by_row_narrows_the_interval() -> None:
    rng = np.random.default_rng(5)
    a = rng.random((1, 1000)) < 0.8
    b = a ^ (rng.random((1, 1000)) < 0.02)
    paired = paired_comparison(a, b, margin=0.01)
    shuffled = paired_comparison(a, rng.permutation(b, axis=1), margin=0.01)
    assert paired.high - paired.low < 0.4 * (shuffled.high - shuffled.low)


def test_seeds_that_disagree_widen_the_interval_and_raise_the_p_value() -> None:
    base = np.zeros((3, 1000), dtype=bool)
    a, b = base.copy(), base.copy()
    a[0, :960], a[1, :930], a[2, :900] = True, True, True  # mean 93%, seed sd 3 points
    b[:, :900] = True
    result = paired_comparison(a, b, margin=0.01)
    assert result.difference == pytest.approx(0.03)
    assert result.mcnemar_p < 1e-6
    # Two-sided t with 2 df at 0.03 / (0.03 / sqrt(3)) = sqrt(3): 1 - sqrt(3) / sqrt(3 + 2)
    assert result.p_value == pytest.approx(1 - sqrt(3 / 5), rel=0.05)
    assert result.low < 0 < result.high
    # Only a has a seed variance: 2 degrees of freedom, t = 4.303 on sd 0.03 / sqrt(3) or so.
    assert result.high - result.low == pytest.approx(2 * 4.303 * 0.03 / sqrt(3), rel=0.05)


def test_equal_means_whose_seeds_differ_give_a_p_value_of_one() -> None:
    a = np.zeros((3, 100), dtype=bool)
    a[0, :90], a[1, :80], a[2, :70] = True, True, True
    result = paired_comparison(a, a[::-1], margin=0.05)
    assert result.p_value == 1
    assert result.equivalence_p > 0.05


def test_swapping_the_methods_mirrors_the_comparison() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.random((3, 400)) < 0.9, rng.random((3, 400)) < 0.85
    there = paired_comparison(a, b, margin=0.05)
    back = paired_comparison(b, a, margin=0.05)
    assert back.difference == -there.difference
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=2e-3)
    assert (back.p_value, back.equivalence_p) == pytest.approx(
        (there.p_value, there.equivalence_p), abs=2e-3
    )
    assert (back.behind_a, back.behind_b) == (there.behind_b, there.behind_a)


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.random((3, 2000)) < 0.9, rng.random((3, 2000)) < 0.8
    first, again, other = (paired_comparison(a, b, margin=0.05, seed=n) for n in (4, 4, 5))
    assert first == again
    assert first.low != other.low
    assert first.low == pytest.approx(other.low, abs=1e-3)


def test_a_true_difference_of_the_detectable_size_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(9)
    found, rows = 0, 1000
    # 6% of rows discordant: detectable is 2.8016 sqrt(0.06 / 1000) = 0.0217.
    shares = np.array([0.06 / 2 + 0.0217 / 2, 0.06 / 2 - 0.0217 / 2])
    for _ in range(300):
        wins, losses, ties = rng.multinomial(rows, [*shares, 1 - shares.sum()])
        a, b = outcomes(("10", wins), ("01", losses), ("11", ties))
        result = paired_comparison(a, b, margin=0.01, resamples=100)
        found += result.p_value <= 0.05
        assert result.detectable == pytest.approx(0.0217, rel=0.3)
    assert 0.70 <= found / 300 <= 0.88  # the exact test is a little conservative


def test_what_three_seeds_call_detectable_is_found_four_times_in_five(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A study of equal methods names a difference, and others have it, half of it to either side.

    Going by the seeds' variance as estimated, in place of what it may be, finds two in three. How
    much is found at other effects is in tests/test_detection.py.
    """
    rng = np.random.default_rng(11)
    found, studies, others, spread = 0, 400, 4, sqrt(3**2 + 1 + 1)
    effect = 0.006 / (float(norm.pdf(ndtri(0.9))) / spread)  # 0.6 points of accuracy

    def study(gain: float) -> PairedComparison:
        shared = rng.normal(0, 3, 2000)
        a, b = (
            simulated(
                rng, difficulty=shared + (ndtri(0.9 + of) - ndtri(0.9)) * spread, seeds=3,
                seed_sd=effect,
            )
            for of in (gain / 2, -gain / 2)
        )  # fmt: skip
        return paired_comparison(a, b, margin=0.01, resamples=200)

    for _ in range(studies):
        size = study(0.0).detectable
        with monkeypatch.context() as patch:
            # What the others could have detected is half of the work, and nobody asks.
            patch.setattr(Family, "detectable", lambda *_: nan)
            found += sum(study(size).low > 0 for _ in range(others))
    assert 0.75 <= found / studies / others <= 0.85


def test_equivalence_p_is_the_larger_of_the_two_one_sided_tests() -> None:
    a, b = outcomes(("11", 1900), ("10", 20), ("01", 10), ("00", 70))
    result = paired_comparison(a, b, margin=0.01)
    # difference 0.005, margin 0.01: z = (0.01 - 0.005) / standard error, upper side
    z = 0.005 / result.standard_error
    assert ndtri(1 - result.equivalence_p) == pytest.approx(z, rel=0.05)
    # One-sided, of the hypothesis that a is better by the margin: the same side.
    assert ndtri(1 - result.behind_b) == pytest.approx(z)
    assert ndtri(1 - result.behind_a) == pytest.approx(0.015 / result.standard_error)


def test_methods_without_a_discordant_row_are_equivalent_only_given_enough_rows() -> None:
    for rows, verdict in [(2000, "equivalent"), (20, "cannot tell")]:
        same = np.ones((1, rows), dtype=bool)
        (pair,) = compare_all(sample_of({"a": same, "b": same}), margin=0.01)
        assert pair.verdict == verdict
        assert pair.comparison.low < 0 < pair.comparison.high
        assert pair.winner is None


def test_a_real_difference_inside_the_margin_is_equivalent_and_flagged() -> None:
    a, b = outcomes(("11", 19_000), ("10", 100), ("01", 30), ("00", 870))
    (pair,) = compare_all(sample_of({"a": a, "b": b}), margin=0.01)  # difference 0.0035
    assert (pair.verdict, pair.winner, pair.significant) == ("equivalent", None, True)
    (strict,) = compare_all(sample_of({"b": b, "a": a}), margin=0.001)
    assert (strict.verdict, strict.winner) == ("better", "a")


def test_a_wide_interval_around_zero_is_no_verdict() -> None:
    a, b = outcomes(("11", 150), ("10", 20), ("01", 15), ("00", 15))
    (pair,) = compare_all(sample_of({"a": a, "b": b}), margin=0.01)
    assert (pair.verdict, pair.winner, pair.significant) == ("cannot tell", None, False)


def test_interval_verdict_and_p_never_contradict_each_other() -> None:
    rng = np.random.default_rng(10)
    for seeds, rows in [(1, 300), (3, 600), (5, 300)]:
        for _ in range(20):
            shared = rng.normal(0, 3, rows)
            runs = {
                n: simulated(rng, difficulty=shared + shift, seeds=seeds, seed_sd=0.1)
                for n, shift in [("a", 0), ("b", 0.2), ("c", 0.6), ("d", 0.6)]
            }
            for v in compare_all(sample_of(runs), margin=0.02, resamples=1000):
                c = v.comparison
                assert v.significant == (c.low > 0 or c.high < 0) == (c.p_value <= 0.05)
                inside = c.inner_low > -0.02 and c.inner_high < 0.02
                assert (v.verdict == "equivalent") == inside == (c.equivalence_p <= 0.05)
                assert c.low <= c.inner_low <= c.difference <= c.inner_high <= c.high


def test_errors_that_are_as_large_as_the_critical_value_contradict_nothing() -> None:
    # Of one seed errors lie on a lattice, and one study in a hundred on the critical value itself.
    rng = np.random.default_rng(11)
    for _ in range(300):
        shared = rng.normal(0, 3, 500)
        runs = {n: simulated(rng, difficulty=shared, seeds=1, seed_sd=0.1) for n in "ab"}
        (v,) = compare_all(sample_of(runs), margin=0.01, resamples=1000)
        assert (v.comparison.low > 0 or v.comparison.high < 0) == (v.comparison.p_value <= 0.05)


def test_the_critical_value_of_equal_independent_methods_is_tukeys() -> None:
    # Methods that err on unlike rows, all with the same error: max-t is the studentised range.
    rng = np.random.default_rng(4)
    runs = {name: rng.random((1, 4000)) < 0.8 for name in "abcd"}
    pairs = compare_pairs(sample_of(runs), margin=0.01, resamples=20_000)
    expected = studentized_range.ppf(0.95, 4, np.inf) / sqrt(2)  # 2.57, and Bonferroni's 2.64
    for found in pairs.values():
        assert (found.high - found.difference) / found.standard_error == pytest.approx(
            expected, rel=0.02
        )


def test_a_single_method_has_no_pairs_and_the_results_are_json() -> None:
    one = np.ones((3, 50), dtype=bool)
    assert compare_all(sample_of({"a": one}), margin=0.01) == []
    verdicts = compare_all(sample_of({"a": one, "b": ~one}), margin=0.01)
    text = json.dumps([asdict(v) for v in verdicts] + [asdict(accuracy_estimate(one))])
    assert "NaN" not in text
    assert "Infinity" not in text
    assert verdicts[0].winner == "a"


def verdict_on(a: str, b: str, verdict: str, *, difference: float, seeds: int = 3) -> PairVerdict:
    """A pair as `compare_all` would report it; only verdict, winner and difference matter here."""
    x, y = outcomes(
        ("11", 1000 - round(abs(difference) * 1000)),
        ("10" if difference > 0 else "01", round(abs(difference) * 1000)),
    )
    winner = (a if difference > 0 else b) if verdict == "better" else None
    comparison = paired_comparison(
        np.repeat(x, seeds, axis=0), np.repeat(y, seeds, axis=0), margin=0.01, resamples=100
    )
    return PairVerdict(a, b, verdict, winner, winner is not None, comparison)  # type: ignore[arg-type]


def test_ranks_are_shown_only_where_the_verdicts_support_them() -> None:
    verdicts = [
        verdict_on("full", "lora", "cannot tell", difference=0.01),
        verdict_on("full", "ia3", "better", difference=0.05),
        verdict_on("ia3", "lora", "better", difference=-0.04),
    ]
    ranks = supported_ranks(verdicts, ["full", "lora", "ia3"])
    assert {n: (r.best, r.worst) for n, r in ranks.items()} == {
        "full": (1, 2),
        "lora": (1, 2),
        "ia3": (3, 3),
    }
    assert (ranks["full"].rank, ranks["ia3"].rank) == (None, 3)


def test_a_cheaper_method_dominates_only_where_the_verdict_says_so() -> None:
    names = {"full": 10.0, "lora": 5.0, "qlora": 7.0, "ia3": 4.0, "unmeasured": None}
    verdicts = [
        verdict_on("full", "lora", "equivalent", difference=0.002),  # lora costs less: full is out
        verdict_on("full", "qlora", "cannot tell", difference=0.01),
        verdict_on("full", "ia3", "better", difference=0.05),
        verdict_on("lora", "qlora", "cannot tell", difference=0.008),
        verdict_on("lora", "ia3", "better", difference=0.04),
        verdict_on("qlora", "ia3", "better", difference=0.03),
    ]
    front = pareto_front(names, verdicts)
    assert {n: (p.status, p.by) for n, p in front.items()} == {
        "full": ("dominated", ("lora",)),
        "lora": ("on the front", ()),
        "qlora": ("possibly dominated", ("lora",)),
        "ia3": ("on the front", ()),
    }


def test_a_cost_within_the_tolerance_counts_as_equal() -> None:
    same = [verdict_on("a", "b", "equivalent", difference=0.001)]
    assert {p.status for p in pareto_front({"a": 100, "b": 101}, same).values()} == {"on the front"}
    assert pareto_front({"a": 100, "b": 103}, same)["b"].status == "dominated"
    better = [verdict_on("a", "b", "better", difference=0.05)]
    assert pareto_front({"a": 101, "b": 100}, better)["b"].status == "dominated"
    assert pareto_front({"a": 103, "b": 100}, better)["b"].status == "on the front"


def test_trained_models_alone_dominate_no_method() -> None:
    better = [verdict_on("a", "b", "better", difference=0.05, seeds=1)]
    assert pareto_front({"a": 100, "b": 101}, better)["b"].status == "possibly dominated"


def test_macro_f1_and_confusion_match_counts_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([[0, 0, 1, 1, 1, 0]])
    # F1 of class 0: 4 / (4 + 1 + 1), of 1: 4 / (4 + 1 + 0), of 2: 0; class 3 occurs nowhere.
    assert macro_f1(labels, predicted, 4) == pytest.approx((4 / 6 + 4 / 5 + 0) / 3)
    expected = [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert confusion_matrix(labels, predicted, 3).tolist() == expected
    twice = confusion_matrix(labels, np.repeat(predicted, 2, axis=0), 3)
    assert twice.tolist() == (2 * np.array(expected)).tolist()
    perfect = np.vstack([predicted, labels[None]])
    assert macro_f1(labels, perfect, 3) == pytest.approx((22 / 45 + 1) / 2)


def test_calibration_error_and_bins_match_the_sum_by_hand() -> None:
    # Confidences .95 right, .85 wrong, .65 right, .55 right. Two bins: all four lie in (0.5, 1].
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[[0.95, 0.05], [0.15, 0.85], [0.35, 0.65], [0.45, 0.55]]])
    low, high = reliability_bins(labels, probabilities, bins=2)
    assert (low.count, low.accuracy, low.confidence) == (0, None, None)
    assert (high.low, high.high, high.count, high.accuracy) == (0.5, 1.0, 4, 0.75)
    assert high.confidence == pytest.approx(0.75)
    assert expected_calibration_error(labels, probabilities, bins=2) == pytest.approx(0)
    # Ten bins, one row each: (0.05 + 0.85 + 0.35 + 0.45) / 4
    assert expected_calibration_error(labels, probabilities, bins=10) == pytest.approx(0.425)


def test_a_confidence_on_an_edge_belongs_to_the_lower_bin() -> None:
    bins = reliability_bins(np.array([0, 0]), np.array([[[0.5, 0.5], [1.0, 0.0]]]), bins=2)
    assert [b.count for b in bins] == [1, 1]


def test_calibration_errors_of_seeds_do_not_cancel() -> None:
    labels = np.zeros(10, dtype=int)
    over = np.tile([0.25, 0.75], (10, 1))  # 75% sure and always wrong
    under = np.tile([0.75, 0.25], (10, 1))  # 75% sure and always right
    both = np.stack([over, under])
    assert expected_calibration_error(labels, both) == pytest.approx((0.75 + 0.25) / 2)


def test_brier_score_runs_from_certain_and_right_to_certain_and_wrong() -> None:
    labels = np.array([0, 2])
    certain = np.array([[[1.0, 0, 0], [0, 0, 1.0]]])
    assert brier_score(labels, certain) == 0
    assert brier_score(np.array([1, 1]), certain) == 2
    # (0.2^2 + 0.2^2) and (0.5^2 + 0.2^2 + 0.7^2)
    unsure = np.array([[[0.8, 0.2, 0.0], [0.5, 0.2, 0.3]]])
    assert brier_score(labels, unsure) == pytest.approx((0.08 + 0.78) / 2)


def test_kappa_of_many_classes_is_that_of_shares_and_chance() -> None:
    random = np.random.default_rng(3)
    a = random.integers(0, 5, (3, 400))
    b = np.where(random.random(a.shape) < 0.7, a, random.integers(0, 5, a.shape))
    share = float((a == b).mean())
    chance = sum(float((a == k).mean() * (b == k).mean()) for k in range(5))
    found = agreement(a, b)
    assert found.share == pytest.approx(share, abs=1e-12)
    assert found.kappa == pytest.approx((share - chance) / (1 - chance), abs=1e-12)


def test_kappa_matches_cohens_formula_by_hand() -> None:
    # 20 both yes, 15 both no, 5 and 10 apart: share 0.7, chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    a = np.array([[1] * 25 + [0] * 25])
    b = np.array([[1] * 20 + [0] * 5 + [1] * 10 + [0] * 15])
    result = agreement(a, b)
    assert [result.share, result.kappa] == pytest.approx([0.7, 0.4])
    assert agreement(a * 0, a * 0).kappa is None


def test_length_buckets_hold_every_row_once_and_the_limit_in_the_last() -> None:
    correct = np.array([[True] * 8 + [False] * 2 + [True]])
    lengths = np.array([5] * 10 + [512])
    short, middle, long = accuracy_by_length(correct, lengths, [0, 10, 300, 512])
    assert (short.rows, short.accuracy) == (10, 0.8)
    assert short.half_width == pytest.approx(0.22658, abs=1e-5)  # Wilson, as above
    assert (middle.rows, middle.accuracy, middle.half_width) == (0, None, None)
    assert (long.rows, long.accuracy) == (1, 1.0)
    edge = accuracy_by_length(correct, np.array([10] * 11), [0, 10, 512])
    assert [b.rows for b in edge] == [0, 11]


RIGHT = np.ones((3, 20), dtype=bool)
LABELS, HALVES = np.zeros(4, dtype=int), np.full((1, 4, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy_estimate(RIGHT.astype(int)), "boolean"),
        (lambda: accuracy_estimate(RIGHT[0]), "shape"),
        (lambda: accuracy_estimate(RIGHT[:, :0]), "shape"),
        (lambda: paired_comparison(RIGHT, RIGHT[:, :10], margin=0.01), "same seeds and rows"),
        (lambda: paired_comparison(RIGHT, RIGHT, margin=0), "margin"),
        (lambda: paired_comparison(RIGHT, RIGHT, margin=0.01, alpha=1), "alpha"),
        (lambda: paired_comparison(RIGHT, RIGHT, margin=0.01, resamples=1), "resamples"),
        (lambda: sample_of({}), "empty"),
        (lambda: pareto_front({"a": 1, "b": 2}, []), "no verdict"),
        (lambda: pareto_front({"a": float("nan")}, []), "costs"),
        (lambda: macro_f1(LABELS, LABELS, 2), "fit"),
        (lambda: macro_f1(LABELS, LABELS[None] + 2, 2), "class numbers"),
        (lambda: confusion_matrix(LABELS[:0], LABELS[None, :0], 2), "non-empty"),
        (lambda: brier_score(LABELS, HALVES[:, :3]), "fit"),
        (lambda: brier_score(LABELS, HALVES * 1.5), "sum to 1"),
        (lambda: brier_score(LABELS, HALVES * np.nan), "sum to 1"),
        (lambda: reliability_bins(LABELS, HALVES, bins=0), "bins"),
        (lambda: agreement(LABELS[None], LABELS[None, :2]), "must be"),
        (lambda: accuracy_by_length(RIGHT, np.ones(20, dtype=int), [5, 9]), "outside"),
        (lambda: accuracy_by_length(RIGHT, np.ones(19, dtype=int), [0, 9]), "fit"),
        (lambda: accuracy_by_length(RIGHT, np.ones(20, dtype=int), [9, 0]), "increasing"),
    ],
)
def test_bad_input_is_refused_with_one_clear_line(call, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_two_seeds_of_one_row_still_give_an_interval() -> None:
    estimate = accuracy_estimate(np.array([[True], [False]]))
    assert 0 <= estimate.low < 0.5 < estimate.high <= 1
    latin = accuracy_estimate(np.array([[True, False], [False, True]]))  # no spread in any mean
    assert latin.low < 0.5 < latin.high
    assert stdtrit(1, 0.975) > 12  # what two seeds cost
