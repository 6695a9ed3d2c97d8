"""What the test results support: intervals, paired tests, verdicts, ranks and the Pareto front.

Every method answers the same test rows with the same number of seeds, so outcomes are crossed:
each seed meets each row, and both are samples (another test set and other seeds would give another
accuracy). This is the multi-reader multi-case design of diagnostic imaging with seeds as readers
and test rows as cases (Gallas, Pennello and Myers 2007, J. Opt. Soc. Am. A 24:B70). The error of
a mean has a part from the rows, which are many (normal), and one from the seeds, which are few
(Student's t); `_crossed_error` estimates both, and `_CrossedError` puts them together.

`correct` is always a boolean array of shape (seeds, rows): was that seed's model right on that row.
Accuracies, differences and margins are shares between 0 and 1, not percentages.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, inf, log, sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, ndtr, ndtri, stdtrit

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
POWER = 0.8


@dataclass(frozen=True)
class AccuracyEstimate:
    """Mean accuracy over seeds and its 95% interval [low, high]; `how` names the method."""

    mean: float
    low: float
    high: float
    half_width: float
    seeds: int
    rows: int
    how: str


@dataclass(frozen=True)
class PairedComparison:
    """Two methods on the same test rows; `difference` = accuracy_a - accuracy_b.

    low, high: interval of the difference at level 1 - alpha. only_a, only_b: discordant pairs (a
    right and b wrong, and the reverse), summed over seeds. mcnemar_p: exact test on the shared
    rows, of these trained models. p_value: the p behind a verdict (`mcnemar_p` with one seed; with
    several it also covers other seeds). equivalence_p: TOST at ±margin. detectable: smallest true
    difference that a study with this standard error finds with 80% power.
    seeds == 1 means that seed-to-seed variation is not covered by any of these.
    """

    accuracy_a: float
    accuracy_b: float
    difference: float
    low: float
    high: float
    standard_error: float
    only_a: int
    only_b: int
    mcnemar_p: float
    p_value: float
    equivalence_p: float
    detectable: float
    margin: float
    alpha: float
    seeds: int
    rows: int
    how: str


Verdict = Literal["better", "equivalent", "cannot tell"]


@dataclass(frozen=True)
class PairVerdict:
    """`verdict` on one pair of methods; `winner` is the better one, None unless "better".

    adjusted_p, adjusted_equivalence_p: Holm-adjusted over all pairs of the study. significant: the
    methods differ; True beside "equivalent" means a real difference too small to matter.
    """

    method_a: str
    method_b: str
    verdict: Verdict
    winner: str | None
    significant: bool
    adjusted_p: float
    adjusted_equivalence_p: float
    comparison: PairedComparison


@dataclass(frozen=True)
class RankRange:
    """Best and worst rank (1 = most accurate) that the evidence leaves open."""

    best: int
    worst: int

    @property
    def rank(self) -> int | None:
        """The rank, or None where the evidence leaves more than one open."""
        return self.best if self.best == self.worst else None


@dataclass(frozen=True)
class FrontPlace:
    """Where a method stands on cost against accuracy, and the methods that put it there."""

    status: Literal["on the front", "possibly dominated", "dominated"]
    by: tuple[str, ...]


def accuracy_estimate(correct: BoolArray) -> AccuracyEstimate:
    """Mean accuracy with a 95% interval over test rows and, with several seeds, over seeds.

    correct: (seeds, rows). One seed: the Wilson score interval (Wilson 1927, JASA 22:209); it says
    nothing about other seeds. Several: Wilson with the effective number of rows p (1 - p) / V
    (Korn and Graubard 1998, Survey Methodology 24:193; Dean and Pagano 2015, J. Surv. Stat.
    Methodol. 3:484), where 1.96 sqrt(V) is the crossed 97.5% quantile of the mean's error.
    Raises ValueError unless `correct` is a boolean array of that shape with at least one element.
    """
    # 0.6 s to import, so not at the top of the module.
    from statsmodels.stats.proportion import proportion_confint

    _check_correct(correct)
    seeds, rows = correct.shape
    mean = float(correct.mean())
    error = _crossed_error(float(correct.mean(axis=0).var()) / rows, [correct])
    binomial = mean * (1 - mean)
    effective = float(rows)  # all right or all wrong: seeds that agree add no rows
    if binomial > 0:
        variance = (error.quantile(0.025) / float(ndtri(0.975))) ** 2
        # Outcomes can be no more informative than seeds * rows independent ones.
        effective = binomial / max(variance, binomial / (seeds * rows))
    low, high = proportion_confint(mean * effective, effective, alpha=0.05, method="wilson")
    how = "Wilson interval over test rows; other seeds are not covered (one seed)"
    if seeds > 1:
        how = f"Wilson interval with the crossed error of {seeds} seeds and {rows} test rows"
    return AccuracyEstimate(mean, float(low), float(high), float(high - low) / 2, seeds, rows, how)


def paired_comparison(
    correct_a: BoolArray,
    correct_b: BoolArray,
    *,
    margin: float,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedComparison:
    """Compare two methods on the same test rows; both arrays have the shape (seeds, rows).

    Interval: percentile bootstrap of the rows, drawn jointly for both methods (Efron and Tibshirani
    1993, ch. 13). Three seeds are too few to resample (and no bootstrap is right for crossed
    arrays: McCullagh 2000, Bernoulli 6:285), so with several seeds its distance from the difference
    is stretched to the crossed error, seeds included, as in the rescaled bootstrap (Rao and Wu
    1988, JASA 83:231). Half a row is added to each cell of the paired 2 x 2 table (Agresti and Min
    2005, Stat. Med. 24:729), which keeps the error above 0 where no pair is discordant. The seeds
    of the two methods are taken as independent: the same number starts unlike draws. Were they
    alike, the interval would be too wide, not too narrow.

    p_value: one seed, `mcnemar_p`; several, the larger of that and the two-sided p of the
    difference on the crossed error. equivalence_p: the larger of two one-sided tests (Schuirmann
    1987, J. Pharmacokinet. Biopharm. 15:657). detectable: quantile(1 - alpha/2) + quantile(0.8) of
    the error (Bloom 1995, Eval. Rev. 19:547), before any adjustment for several pairs.

    Raises ValueError for arrays that are not boolean, empty or unlike in shape, and for a margin or
    alpha outside (0, 1) or fewer than 100 resamples.
    """
    _check_pair(correct_a, correct_b, margin=margin, alpha=alpha, resamples=resamples)
    seeds, rows = correct_a.shape
    row_sums = correct_a.sum(axis=0, dtype=np.int64) - correct_b.sum(axis=0, dtype=np.int64)
    difference = int(row_sums.sum()) / (seeds * rows)
    values, counts, row_variance = _row_outcomes(row_sums, seeds)
    error = _crossed_error(row_variance, [correct_a, correct_b])
    reach = error.quantile(alpha / 2)
    # The rows alone give z * sqrt(row_variance): the rest is the seeds' part.
    stretch = reach / (sqrt(row_variance) * -float(ndtri(alpha / 2)))
    shifts = _bootstrap_shifts(values, counts, resamples=resamples, seed=seed)
    low, high = difference + stretch * np.quantile(shifts, [alpha / 2, 1 - alpha / 2])
    mcnemar_p = _exact_mcnemar(row_sums)
    crossed_p = 2 * error.tail(abs(difference))
    how = "paired bootstrap over test rows; other seeds are not covered (one seed)"
    if seeds > 1:
        how = f"paired bootstrap over test rows, stretched to the crossed error of {seeds} seeds"
    return PairedComparison(
        accuracy_a=float(correct_a.mean()),
        accuracy_b=float(correct_b.mean()),
        difference=difference,
        low=max(-1.0, float(low)),
        high=min(1.0, float(high)),
        standard_error=sqrt(error.rows + error.seeds),
        only_a=int((correct_a & ~correct_b).sum()),
        only_b=int((correct_b & ~correct_a).sum()),
        mcnemar_p=mcnemar_p,
        p_value=mcnemar_p if seeds == 1 else max(mcnemar_p, crossed_p),
        equivalence_p=error.tail(margin - abs(difference)),
        detectable=reach + error.quantile(1 - POWER),
        margin=margin,
        alpha=alpha,
        seeds=seeds,
        rows=rows,
        how=how,
    )


def compare_all(
    correct_by_method: Mapping[str, BoolArray],
    *,
    margin: float,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[PairVerdict]:
    """A verdict on every pair of methods, in the mapping's order; [] for a single method.

    Both tests are adjusted over all pairs (Holm 1979, Scand. J. Stat. 6:65), so that the chance of
    any false "better" in the whole study is at most alpha, and so is that of any false
    "equivalent". A verdict also asks that the 1 - alpha interval shown with it says the same:

    * "equivalent": TOST rejects and the interval lies inside ±margin. (TOST alone corresponds to
      the 1 - 2 alpha interval; the wider one is asked for, the conservative side.)
    * "better": the test of no difference rejects and the interval excludes 0. A significant
      difference inside the margin stays "equivalent", because the margin is what the user declared
      not to matter; `significant` tells.
    * "cannot tell": neither. It is not evidence of equality.

    Raises ValueError as `paired_comparison` does, and for an empty mapping.
    """
    # 0.6 s to import, so not at the top of the module.
    from statsmodels.stats.multitest import multipletests

    if not correct_by_method:
        raise ValueError("correct_by_method is empty: there is nothing to compare")
    pairs = list(combinations(correct_by_method, 2))
    if not pairs:
        return []
    results = [
        paired_comparison(
            correct_by_method[a],
            correct_by_method[b],
            margin=margin,
            alpha=alpha,
            resamples=resamples,
            seed=seed,
        )
        for a, b in pairs
    ]
    differ = multipletests([r.p_value for r in results], method="holm")[1]
    same = multipletests([r.equivalence_p for r in results], method="holm")[1]
    return [
        _verdict(a, b, result, adjusted_p=float(p), adjusted_equivalence_p=float(q))
        for (a, b), result, p, q in zip(pairs, results, differ, same, strict=True)
    ]


def supported_ranks(
    verdicts: Sequence[PairVerdict], methods: Iterable[str]
) -> dict[str, RankRange]:
    """The ranks by accuracy that the "better" verdicts leave open to each method.

    best = 1 + how many are better, worst = how many methods - how many it beats: simultaneous
    intervals for ranks at the level of the pairwise tests (Al Mohamad, Goeman and van Zwet 2022,
    Biometrics 78:238). methods: all names, also a mapping by name. Print `.rank` where not None.
    """
    names = list(methods)
    won = [
        (v.winner, v.method_b if v.winner == v.method_a else v.method_a)
        for v in verdicts
        if v.winner is not None
    ]
    return {
        name: RankRange(
            best=1 + sum(loser == name for _, loser in won),
            worst=len(names) - sum(winner == name for winner, _ in won),
        )
        for name in names
    }


def pareto_front(
    costs: Mapping[str, float | None],
    verdicts: Sequence[PairVerdict],
    *,
    tolerance: float = 0.02,
) -> dict[str, FrontPlace]:
    """Which methods another one makes pointless, on one cost (lower is better) and accuracy.

    costs: in any unit; None (not measured) leaves a method out of the result. Two costs within
    `tolerance` of each other, relative to the lower, count as equal (timing noise). A method is

    * "dominated" by one that costs no more and is better, or costs less and is equivalent;
    * "possibly dominated" by one that costs no more and has the higher mean accuracy, where the
      test cannot tell them apart;
    * "on the front" otherwise.

    Raises ValueError for a negative cost or tolerance, and where a pair has no verdict.
    """
    measured = {name: cost for name, cost in costs.items() if cost is not None}
    if tolerance < 0 or any(not cost >= 0 for cost in measured.values()):
        raise ValueError("costs and tolerance must be 0 or more")
    by_pair = {frozenset((v.method_a, v.method_b)): v for v in verdicts}
    return {name: _front_place(name, measured, by_pair, tolerance) for name in measured}


@dataclass(frozen=True)
class _CrossedError:
    """Error of a mean (or difference): its variance from rows, from seeds, and the seeds' df."""

    rows: float
    seeds: float
    degrees: float

    def quantile(self, tail: float) -> float:
        """The distance that the error exceeds, on one side, with probability `tail` (< 0.5).

        sqrt(z^2 V_rows + t^2 V_seeds) (Howe 1974, JASA 69:789). With 3 seeds it keeps its level
        where Satterthwaite's single t does not: in simulations of 2,000 rows the 95% intervals of
        an accuracy covered 95 to 97% against 92 to 96%. With 2 seeds and a strong effect: 92%.
        """
        z, t = float(ndtri(tail)), float(stdtrit(self.degrees, tail))
        return sqrt(z * z * self.rows + t * t * self.seeds)

    def tail(self, distance: float) -> float:
        """The inverse of `quantile`: one-sided probability of an error beyond `distance`."""
        if self.seeds == 0:
            return float(ndtr(-distance / sqrt(self.rows)))
        if distance < 0:
            return 1 - self.tail(-distance)
        from scipy.optimize import brentq  # 0.2 s, and needed with several seeds only

        def gap(log_tail: float) -> float:
            return self.quantile(exp(log_tail)) - distance

        smallest, largest = 1e-15, 0.5 - 1e-9  # a bracket that rounding cannot leave
        if distance <= self.quantile(largest):
            return 0.5
        if distance >= self.quantile(smallest):
            return smallest
        return exp(float(brentq(gap, log(smallest), log(largest))))


def _crossed_error(row_variance: float, runs: Sequence[BoolArray]) -> _CrossedError:
    """The error of a mean over seeds and rows, or of the difference of two such means.

    row_variance: of the mean over rows of the seed-averaged outcome (or difference). runs: the one
    array, or both; their seeds are independent. The seed variance of each is the analysis of
    variance estimate from the two-way table without replication, max(MS_seed - MS_error, 0) / SN
    (Searle, Casella and McCulloch 1992, Variance Components, ch. 4), and df are Welch's (1947,
    Biometrika 34:28). Never below 0: seeds that agree by chance do not narrow an interval.
    """
    variance, squares = 0.0, 0.0
    for correct in runs:
        seeds, rows = correct.shape
        if seeds == 1:
            return _CrossedError(row_variance, 0.0, inf)
        by_seed = correct.mean(axis=1)
        fitted = by_seed[:, None] + correct.mean(axis=0) - correct.mean()
        error = float(((correct - fitted) ** 2).sum()) / ((seeds - 1) * max(rows - 1, 1))
        term = max(float(by_seed.var(ddof=1)) / seeds - error / (seeds * rows), 0.0)
        variance, squares = variance + term, squares + term**2 / (seeds - 1)
    return _CrossedError(row_variance, variance, variance**2 / squares if squares > 0 else inf)


def _row_outcomes(
    row_sums: npt.NDArray[np.int64], seeds: int
) -> tuple[FloatArray, FloatArray, float]:
    """The possible differences of a row, how often each occurs, and the variance of their mean.

    The counts include Agresti and Min's half row in each cell: both right and both wrong are a
    difference of 0, the discordant cells one of -1 and +1.
    """
    values = np.arange(-seeds, seeds + 1) / seeds
    counts = np.bincount(row_sums + seeds, minlength=2 * seeds + 1).astype(np.float64)
    counts[[0, seeds, -1]] += [0.5, 1.0, 0.5]
    total = counts.sum()
    mean = counts @ values / total
    return values, counts, float(counts @ (values - mean) ** 2 / total**2)


def _bootstrap_shifts(
    values: FloatArray, counts: FloatArray, *, resamples: int, seed: int
) -> FloatArray:
    """Resampled minus observed mean difference, (resamples,).

    A row matters only through its difference, so drawing rows with replacement is drawing how often
    each difference occurs: 2 * seeds + 1 numbers for a resample instead of one for each row.
    """
    total = counts.sum()
    draws = np.random.default_rng(seed).multinomial(round(total), counts / total, size=resamples)
    shifts: FloatArray = (draws - counts) @ values / total
    return shifts


def _exact_mcnemar(row_sums: npt.NDArray[np.int64]) -> float:
    """Two-sided exact p of no difference between the trained models on rows like these.

    row_sums: (rows,), seeds right by a minus seeds right by b. Under the null each row's difference
    is as likely with either sign, so the sum is a sum of k * (2 Binomial(n_k, 1/2) - n_k) over the
    sizes k; its distribution is computed in full. This is the exact, permutation form of McNemar's
    test for clustered pairs with a row as cluster (Durkalski et al. 2003, Stat. Med. 22:2417),
    and with one seed McNemar's exact test (McNemar 1947, Psychometrika 12:153).
    """
    sizes = np.bincount(np.abs(row_sums))
    distribution = np.ones(1)
    for size in range(1, len(sizes)):
        n = int(sizes[size])
        wins = np.arange(n + 1)
        log_ways = gammaln(n + 1) - gammaln(wins + 1) - gammaln(n - wins + 1)
        spread = np.zeros(size * n + 1)
        spread[::size] = np.exp(log_ways - n * np.log(2))
        distribution = np.convolve(distribution, spread)
    # Index i of `distribution` is a sum of 2 i - total, where total = sum of k n_k.
    total, observed = len(distribution) - 1, abs(int(row_sums.sum()))
    return min(1.0, 2 * float(distribution[(total + observed) // 2 :].sum()))


def _verdict(
    a: str, b: str, result: PairedComparison, *, adjusted_p: float, adjusted_equivalence_p: float
) -> PairVerdict:
    """Apply the rules that `compare_all` states to one pair."""
    low, high, margin, alpha = result.low, result.high, result.margin, result.alpha
    significant = adjusted_p <= alpha and (low > 0 or high < 0)
    verdict: Verdict = "better" if significant else "cannot tell"
    if adjusted_equivalence_p <= alpha and -margin < low and high < margin:
        verdict = "equivalent"
    winner = (a if result.difference > 0 else b) if verdict == "better" else None
    return PairVerdict(
        a, b, verdict, winner, significant, adjusted_p, adjusted_equivalence_p, result
    )


def _front_place(
    name: str,
    costs: Mapping[str, float],
    by_pair: Mapping[frozenset[str], PairVerdict],
    tolerance: float,
) -> FrontPlace:
    """Apply the rules that `pareto_front` states to one method."""
    surely, possibly = [], []
    for rival, cost in costs.items():
        if rival == name or cost > costs[name] * (1 + tolerance):
            continue
        verdict = by_pair.get(frozenset((name, rival)))
        if verdict is None:
            raise ValueError(f"no verdict on the pair {name!r}, {rival!r}")
        lead = verdict.comparison.difference * (1 if verdict.method_a == rival else -1)
        costs_less = cost * (1 + tolerance) < costs[name]
        if verdict.winner == rival or (verdict.verdict == "equivalent" and costs_less):
            surely.append(rival)
        elif verdict.verdict == "cannot tell" and lead > 0:
            possibly.append(rival)
    if surely:
        return FrontPlace("dominated", tuple(surely))
    return FrontPlace("possibly dominated" if possibly else "on the front", tuple(possibly))


def _check_correct(correct: BoolArray) -> None:
    if not isinstance(correct, np.ndarray) or correct.dtype != np.bool_:
        raise ValueError("correct must be a boolean numpy array of shape (seeds, rows)")
    if correct.ndim != 2 or correct.size == 0:
        raise ValueError(f"correct must have the shape (seeds, rows), not {correct.shape}")


def _check_pair(a: BoolArray, b: BoolArray, *, margin: float, alpha: float, resamples: int) -> None:
    _check_correct(a)
    _check_correct(b)
    if a.shape != b.shape:
        raise ValueError(f"both methods need the same seeds and rows, not {a.shape} and {b.shape}")
    if not (0 < margin < 1 and 0 < alpha < 1):
        raise ValueError(f"margin and alpha must lie between 0 and 1, not {margin} and {alpha}")
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, not {resamples}")
