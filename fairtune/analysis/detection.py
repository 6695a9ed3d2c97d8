"""The smallest true difference that a verdict finds, by the errors that so large a one comes with.

Methods that differ err on other rows than equal ones. A method's chance on a row, and what a seed
does to its score, are taken to be normal on a scale behind the score, as in Thurstone's model of
comparisons (1927, Psychol. Rev. 34:273): a gain moves all rows alike on it. So more rows are
discordant the larger the difference, and a seed's effect is worth the less the nearer a score is
to its end. Half of the difference lies to either side of the mean of the two scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, exp, inf, pi, sqrt
from typing import Any

import numpy as np
from scipy.special import chdtri, ndtri

from fairtune.analysis.crossed import (
    CrossedError,
    FloatArray,
    SeedPart,
    estimates,
    possible_excess,
    reaches,
)

ROUNDS, NEAR = 12, 2e-5
"""Steps towards the difference at most, and how near they must come to it."""


@dataclass(frozen=True, kw_only=True)
class RowGaps:
    """By how much two methods' figures differ on a unit, and how that grows with a difference.

    The gaps behind the score are normal, and a difference is their mean: the share of units that
    are discordant is the mean of a folded normal (Leone, Nelson and Nottingham 1961, Technometrics
    3:543). Of one seed's accuracies a discordant row counts 1; other figures vary, and all count as
    much as has their fourth moment.
    """

    units: float
    size: float
    """What a discordant unit counts."""
    equal: float
    """Share of discordant units where methods are equal."""

    @classmethod
    def of(cls, differences: FloatArray, *, grain: float) -> RowGaps:
        """Return the gaps that a study found, with half a row more in each cell as `row_variance`.

        Args:
            differences: between two methods, one a unit.
            grain: what one row more that is right adds to its unit's figure, above 0.
        """
        units = len(differences) + 2
        squares = (float((differences**2).sum()) + grain**2) / units
        fourths = (float((differences**4).sum()) + grain**4) / units
        size = sqrt(fourths / squares)
        found, mean = squares / size, abs(float(differences.sum())) / units
        mean = min(mean, found)  # more than the folded normal's mean it cannot be
        return cls(units=units, size=size, equal=sqrt(found**2 - 2 / pi * mean**2))

    def squares(self, difference: float) -> float:
        """Return the mean square over units where methods truly differ by so much."""
        spread = self.equal * sqrt(pi / 2)
        share = difference * erf(difference / spread / sqrt(2))
        share += self.equal * exp(-((difference / spread) ** 2) / 2)
        # Less the difference's square, never below that of equal methods.
        return max(self.size * share, self.size * self.equal + difference**2)

    def variance(self, difference: float) -> float:
        """Return the variance of the mean over units where methods truly differ by so much."""
        return (self.squares(difference) - difference**2) / self.units

    def scatter(self, difference: float, pull: Any) -> Any:
        """Return the variance of the mean less an interval's reach, which grows with `variance`.

        Samples with more discordant units, of the kind that makes the difference, have a larger
        difference and a wider interval: the two partly cancel (the delta method).

        Args:
            difference: the true one.
            pull: the reach's slope by the rows' variance, a number or an array of them.
        """
        mean = self.squares(difference)
        slope = pull / self.units
        own = 1 + 2 * difference * slope
        most = max(self.size**2 - mean, 0.0)
        together = own * difference * most
        return (
            own**2 * (mean - difference**2) + slope**2 * mean * most - 2 * slope * together
        ) / self.units


@dataclass(frozen=True, kw_only=True)
class Room:
    """Where two scores lie, as shares of the way from the worst score to 1."""

    middle: float
    end: float
    """How near to either end a score may come."""
    length: float = 1.0
    """Of that way."""

    def growth(self, difference: float) -> tuple[float, float]:
        """Return how many times as large the seeds' variances are: better method, worse method."""
        share = difference / self.length
        better = min(self.middle + share / 2, 1 - self.end)
        worse = max(better - share, self.end)
        middle = min(max(self.middle, self.end), 1 - self.end)
        return _slope(better, middle) ** 2, _slope(worse, middle) ** 2


def _slope(share: float, other: float) -> float:
    """Return what a step behind the score is worth at one share, against another."""
    return exp((float(ndtri(other)) ** 2 - float(ndtri(share)) ** 2) / 2)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Studies that are drawn; the same for all pairs."""

    seeds: int
    excess: FloatArray
    """What the variance of a training's score by its seed may truly be, (draws,)."""
    chances: FloatArray
    """Of the seeds' variance as two methods' trainings show it, of mean 1, (2, draws)."""
    errors: FloatArray
    """Normal deviates, (draws,)."""

    @classmethod
    def of(cls, parts: list[SeedPart], draws: int, *, seed: int) -> Draws:
        """Draw studies with as many seeds as that at hand, whose methods' parts are given.

        A Latin hypercube (McKay, Beckman and Conover 1979, Technometrics 21:239): each figure is
        drawn once from each of as many equally probable parts, so that few studies do.
        """
        random = np.random.default_rng(seed)
        shares = (random.permuted(np.tile(np.arange(draws), (4, 1)), axis=1) + 0.5) / draws
        degrees = parts[0].seeds - 1
        return cls(
            seeds=parts[0].seeds,
            excess=possible_excess(parts, shares[0]),
            chances=chdtri(degrees, shares[1:3]) / degrees,
            errors=ndtri(shares[3]),
        )


def of_models(gaps: RowGaps, *, most: float, degrees: float, tail: float, power: float) -> float:
    """Return the difference of trained models that is found with this power.

    Args:
        gaps: of the two models.
        most: difference that scores can have.
        degrees: of freedom of the rows' variance.
        tail: one-sided, that an interval leaves out.
        power: wanted.
    """

    def found(difference: float) -> float:
        rows = gaps.variance(difference)
        reach = CrossedError(rows, 0.0, inf, degrees).quantile(tail)
        scatter = gaps.scatter(difference, reach / (2 * rows))
        return reach + CrossedError(scatter, 0.0, inf, degrees).quantile(1 - power)

    return _meeting(found, most)


def of_methods(
    gaps: RowGaps,
    parts: tuple[SeedPart, SeedPart],
    draws: Draws,
    room: Room,
    *,
    degrees: float,
    tail: float,
    power: float,
) -> float:
    """Return the difference of methods, over all seeds, that is found with this power.

    A study finds a difference that is larger than the reach of its interval less the error. Its
    estimate of the seeds' variance is drawn, and what few seeds leave open of the true one, too: by
    the estimate alone three seeds would find the difference in 70% of cases.

    Args:
        gaps: of the two methods' means over seeds.
        parts: how the trainings of each differ.
        draws: the studies.
        room: where the scores lie.
        degrees: of freedom of the rows' variance.
        tail: one-sided, that an interval leaves out.
        power: wanted.
    """
    z = CrossedError(1.0, 0.0, inf, degrees).quantile(tail)

    def found(difference: float) -> float:
        rows, growth = gaps.variance(difference), room.growth(difference)
        drawn = np.stack(
            [
                estimates(draws.excess * more, part, chances)
                for part, more, chances in zip(parts, growth, draws.chances, strict=True)
            ]
        )
        reach = reaches(rows, drawn, seeds=draws.seeds, tail=tail, row_degrees=degrees)
        scatter = gaps.scatter(difference, z * z / (2 * reach))
        spread = np.sqrt(scatter + sum(growth) * draws.excess / draws.seeds)
        enough = round(power * (len(spread) - 1))
        return float(np.partition(reach - spread * draws.errors, enough)[enough])

    return _meeting(found, room.length)


def _meeting(found: Callable[[float], float], most: float) -> float:
    """Return the difference that is found where it is the true one, by the secant method.

    `most` where none is: errors grow with the difference.
    """
    before, lack = 0.0, found(0.0)
    now = lack
    for _ in range(ROUNDS):
        of_now = found(min(now, most)) - now
        if abs(of_now) < NEAR or now >= most:
            break
        slope = (of_now - lack) / (now - before)
        step = -of_now / slope if slope < 0 else of_now
        before, lack, now = now, of_now, now + step
    return min(now, most)
