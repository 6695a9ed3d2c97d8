"""The accuracy of a method, its interval, and the error that intervals and tests build on.

Every method answers the same test rows with the same number of seeds, so outcomes are crossed:
each seed meets each row, and both are samples (another test set and other seeds would give another
accuracy). This is the multi-reader multi-case design of diagnostic imaging with seeds as readers
and test rows as cases (Gallas, Pennello and Myers 2007, J. Opt. Soc. Am. A 24:B70). The error of
a mean has a part from the rows, which are many (normal), and one from the seeds, which are few
(Student's t); `crossed_error` estimates both, and `CrossedError` puts them together. Pairs of
methods stand in `fairtune.analysis.pairs`, the verdicts on them in `fairtune.analysis.verdicts`.

`correct` is always a boolean array of shape (seeds, rows): was that seed's model right on that row.
Accuracies, differences and margins are shares between 0 and 1, not percentages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from fairtune.runs.record import Run, Runs

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


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

    check_correct(correct)
    seeds, rows = correct.shape
    mean = float(correct.mean())
    error = crossed_error(float(correct.mean(axis=0).var()) / rows, [correct])
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


@dataclass(frozen=True)
class CrossedError:
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


def crossed_error(row_variance: float, runs: Sequence[BoolArray]) -> CrossedError:
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
            return CrossedError(row_variance, 0.0, inf)
        by_seed = correct.mean(axis=1)
        fitted = by_seed[:, None] + correct.mean(axis=0) - correct.mean()
        error = float(((correct - fitted) ** 2).sum()) / ((seeds - 1) * max(rows - 1, 1))
        term = max(float(by_seed.var(ddof=1)) / seeds - error / (seeds * rows), 0.0)
        variance, squares = variance + term, squares + term**2 / (seeds - 1)
    return CrossedError(row_variance, variance, variance**2 / squares if squares > 0 else inf)


def check_correct(correct: BoolArray) -> None:
    """Refuse what is not a boolean array of shape (seeds, rows)."""
    if not isinstance(correct, np.ndarray) or correct.dtype != np.bool_:
        raise ValueError("correct must be a boolean numpy array of shape (seeds, rows)")
    if correct.ndim != 2 or correct.size == 0:
        raise ValueError(f"correct must have the shape (seeds, rows), not {correct.shape}")


def correctness(of_method: Sequence[Run]) -> NDArray[np.bool_]:
    """Return which test rows each of a method's runs got right, shape (seeds, rows)."""
    return np.stack([run.predictions.correct for run in of_method])


def estimates(runs: Runs) -> dict[str, AccuracyEstimate]:
    """Return each method's test accuracy with its 95% interval."""
    return {method: accuracy_estimate(correctness(of_method)) for method, of_method in runs.items()}
