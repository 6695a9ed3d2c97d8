"""The error of a method's score, from the test rows and from the seeds, which both are samples.

Every method answers the same test rows with the same number of seeds, so outcomes are crossed:
each seed meets each row, and another test set or other seeds would give another score. This is the
multi-reader multi-case design of diagnostic imaging with seeds as readers and test rows as cases
(Gallas, Pennello and Myers 2007, J. Opt. Soc. Am. A 24:B70). The error of a mean has a part from
the rows, which are many (normal), and one from the seeds, which are few (Student's t).

`outcomes` is always an array of shape (seeds, units): a unit is a test row, or a group of rows that
were drawn together, and its figure is 0 or 1 for accuracy (`fairtune.analysis.scores`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, log, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, ndtr, ndtri, stdtr, stdtrit

FloatArray = npt.NDArray[np.float64]
Outcomes = npt.NDArray[Any]

FEWEST_SEEDS = 3
"""Trainings of each method from which on a study speaks of methods. One says nothing of other
seeds, and two next to nothing: Student's t of one degree of freedom is 12.7."""


KNOWN = 0.5
"""Degrees of freedom that the prior of the seeds' variance adds: with two methods of three seeds a
detectable difference is then found in 78 to 87% of studies, whatever the seeds do. 0, the prior
that is flat in the logarithm, is right for large effects and finds 90% for small ones. 2/3 would
make the estimate the median of what is drawn (Wilson and Hilferty 1931, PNAS 17:684)."""
TABLE = 257
"""Degrees of freedom that Student's t is computed for: others are right within 0.001%."""


@dataclass(frozen=True)
class CrossedError:
    """Error of a mean (or difference): its variance from rows, from seeds, and the seeds' df."""

    rows: float
    seeds: float
    degrees: float
    row_degrees: float = inf
    """Of the rows' variance: finite where few groups of rows were drawn."""

    @property
    def standard(self) -> float:
        """The standard error."""
        return sqrt(self.rows + self.seeds)

    def quantile(self, tail: float) -> float:
        """The distance that the error exceeds, on one side, with probability `tail` (< 0.5).

        sqrt(z^2 V_rows + t^2 V_seeds) (Howe 1974, JASA 69:789). With 3 seeds it keeps its level
        where Satterthwaite's single t does not: in simulations of 2,000 rows the 95% intervals of
        an accuracy covered 95 to 97% against 92 to 96%.
        """
        z = float(ndtri(tail) if self.row_degrees == inf else stdtrit(self.row_degrees, tail))
        t = float(stdtrit(self.degrees, tail))
        return sqrt(z * z * self.rows + t * t * self.seeds)

    def tail(self, distance: float) -> float:
        """The inverse of `quantile`: one-sided probability of an error beyond `distance`."""
        if self.seeds == 0:
            x = -distance / sqrt(self.rows)
            return float(ndtr(x) if self.row_degrees == inf else stdtr(self.row_degrees, x))
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

    def deviate(self, distance: float) -> float:
        """The normal deviate that is as improbable as an error beyond `distance`."""
        return -float(ndtri(max(self.tail(distance), 1e-15)))


@dataclass(frozen=True)
class SeedPart:
    """How the trainings of one method differ.

    spread: variance of the trainings' scores. noise: what of it comes from the rows, beyond what
    these do to all trainings alike.
    """

    spread: float
    noise: float
    seeds: int

    @property
    def excess(self) -> float:
        """Variance of a training's score by its seed, estimated; by chance it may be negative."""
        return self.spread - self.noise

    @property
    def variance(self) -> float:
        """Variance of the method's mean by its seeds.

        Never below 0: seeds that agree by chance do not narrow an interval.
        """
        return max(self.excess, 0.0) / self.seeds


def seed_part(outcomes: Outcomes) -> SeedPart:
    """Return the seeds' part of the error of one method; (seeds, units), at least two seeds.

    The analysis of variance of a two-way table without replication, max(MS_seed - MS_error, 0) / SN
    (Searle, Casella and McCulloch 1992, Variance Components, ch. 4).
    """
    seeds, units = outcomes.shape
    by_seed = outcomes.mean(axis=1)
    fitted = by_seed[:, None] + outcomes.mean(axis=0) - outcomes.mean()
    residual = float(((outcomes - fitted) ** 2).sum()) / ((seeds - 1) * max(units - 1, 1))
    noise = residual / units
    return SeedPart(float(by_seed.var(ddof=1)), noise, seeds)


def pooled(parts: Sequence[SeedPart]) -> tuple[float, float]:
    """Return the variance of a sum of independent means by their seeds, and its df.

    Degrees of freedom are Welch's (1947, Biometrika 34:28).
    """
    variance = sum(part.variance for part in parts)
    squares = sum(part.variance**2 / (part.seeds - 1) for part in parts)
    return variance, variance**2 / squares if squares > 0 else inf


def row_variance(differences: FloatArray, *, grain: float) -> float:
    """Return the variance of the mean of one figure a unit, (units,).

    Half a row is added to each cell of the paired 2 x 2 table (Agresti and Min 2005, Stat. Med.
    24:729), which keeps the error above 0 where no pair is discordant.

    Args:
        differences: between two methods.
        grain: what one row more that is right adds to its unit's figure; 0 adds no rows.
    """
    units = len(differences) + 2 * (grain > 0)
    squares = float((differences**2).sum()) + grain**2
    return (squares - float(differences.sum()) ** 2 / units) / units**2


def crossed_error(
    variance: float,
    runs: Sequence[Outcomes],
    *,
    fewest: int = FEWEST_SEEDS,
    row_degrees: float = inf,
) -> CrossedError:
    """The error of a mean over seeds and rows, or of the difference of two such means.

    Args:
        variance: of the mean over units of the seed-averaged outcome (or difference).
        runs: outcomes of the one method, or of both, whose seeds are independent.
        fewest: with fewer seeds the error is that of the rows alone, for these trained models.
        row_degrees: degrees of freedom of `variance`.
    """
    if min(len(outcomes) for outcomes in runs) < max(fewest, 2):
        return CrossedError(variance, 0.0, inf, row_degrees)
    return CrossedError(variance, *pooled([seed_part(one) for one in runs]), row_degrees)


def drawn_variances(part: SeedPart, draws: int, random: np.random.Generator) -> FloatArray:
    """Return estimates of the seeds' variance as further studies would find them, (draws,)."""
    chances = random.chisquare(part.seeds - 1, draws) / (part.seeds - 1)
    return estimates(np.full(draws, max(part.excess, 0.0)), part, chances)


def estimates(excess: FloatArray, part: SeedPart, chances: FloatArray) -> FloatArray:
    """Return estimates of `SeedPart.variance`, a study each, (draws,).

    Args:
        excess: the true variance of a training's score by its seed in each study, (draws,).
        part: its noise and number of seeds are those of the studies.
        chances: how many times the true spread of the trainings each study finds, (draws,).
    """
    found: FloatArray = np.maximum((excess + part.noise) * chances - part.noise, 0.0) / part.seeds
    return found


def possible_excess(parts: Sequence[SeedPart], shares: FloatArray) -> FloatArray:
    """Return what the seeds' variance may truly be, given what a study found of it, (draws,).

    It is taken to be the same for all methods, which few seeds tell better than each method's own.
    The draws are from the posterior of a normal variance, a scaled inverse chi-square (Gelman et
    al. 2013, Bayesian Data Analysis, 3rd ed., sec. 3.2), under a prior that is a little steeper
    than the usual one: noise is part of the variance, and the seeds may do nothing at all.

    Args:
        parts: how the trainings of each method differ.
        shares: how probable a value at most as large is, (draws,).
    """
    degrees = sum(part.seeds - 1 for part in parts)
    spread = float(np.mean([part.spread for part in parts]))
    noise = float(np.mean([part.noise for part in parts]))
    possible = spread * degrees / chdtri(degrees + KNOWN, shares) - noise
    return np.asarray(np.maximum(possible, 0.0))


def reaches(
    rows: float, drawn: FloatArray, *, seeds: int, tail: float, row_degrees: float = inf
) -> FloatArray:
    """Return `CrossedError.quantile` for many draws of the two seed variances, (draws,).

    Args:
        rows: variance by the rows.
        drawn: variances by the seeds, (2, draws).
        seeds: trainings of each method.
        tail: one-sided probability.
        row_degrees: degrees of freedom of `rows`.
    """
    variance, squares = drawn.sum(axis=0), (drawn**2).sum(axis=0) / (seeds - 1)
    # Welch's degrees lie between those of one method and of both. Student's t takes longest, and
    # is read from a table of the inverse degrees; where no variance was found it counts for nothing
    inverse = np.divide(squares, variance**2, out=np.zeros_like(variance), where=variance > 0)
    t = np.interp(inverse, *_student(seeds - 1, tail))
    z = float(ndtri(tail) if row_degrees == inf else stdtrit(row_degrees, tail))
    reach: FloatArray = np.sqrt(z * z * rows + t * t * variance)
    return reach


@lru_cache(maxsize=8)
def _student(degrees: int, tail: float) -> tuple[FloatArray, FloatArray]:
    """Return the inverse of degrees of freedom, from twice so many down, and Student's t there."""
    inverse = np.linspace(0.5, 1.0, TABLE) / degrees
    return inverse, np.asarray(stdtrit(1 / inverse, tail), dtype=np.float64)
