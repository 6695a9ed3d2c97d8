"""Compare two methods on the same test rows: interval, exact test, equivalence, power."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, ndtri

from fairtune.analysis.estimates import BoolArray, FloatArray, check_correct, crossed_error

POWER = 0.8


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
    error = crossed_error(row_variance, [correct_a, correct_b])
    reach = error.quantile(alpha / 2)
    # The rows alone give z * sqrt(row_variance): the rest is the seeds' part.
    stretch = reach / (sqrt(row_variance) * -float(ndtri(alpha / 2)))
    shifts = _bootstrap_shifts(values, counts, resamples=resamples, seed=seed)
    low, high = difference + stretch * np.quantile(shifts, [alpha / 2, 1 - alpha / 2])
    mcnemar_p = _exact_mcnemar(row_sums)
    crossed_p = 2 * error.tail(abs(difference))
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
        how=_how(seeds),
    )


def _how(seeds: int) -> str:
    """How the interval came about, and whether it covers other seeds."""
    if seeds == 1:
        return "paired bootstrap over test rows; other seeds are not covered (one seed)"
    return f"paired bootstrap over test rows, stretched to the crossed error of {seeds} seeds"


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


def _check_pair(a: BoolArray, b: BoolArray, *, margin: float, alpha: float, resamples: int) -> None:
    check_correct(a)
    check_correct(b)
    if a.shape != b.shape:
        raise ValueError(f"both methods need the same seeds and rows, not {a.shape} and {b.shape}")
    if not (0 < margin < 1 and 0 < alpha < 1):
        raise ValueError(f"margin and alpha must lie between 0 and 1, not {margin} and {alpha}")
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, not {resamples}")
