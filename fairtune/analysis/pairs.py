"""Compare methods two by two on the same test rows: intervals of all pairs together, and power.

The intervals are simultaneous: with probability 1 - alpha all of them hold what they estimate. The
critical value is that of the largest standardised error over all pairs (max-t: Hothorn, Bretz and
Westfall 2008, Biometrical J. 50:346), from the paired bootstrap of the rows and normal draws of the
seeds, so that pairs that share a method, or err on the same rows, cost less than Bonferroni asks.
Verdict and p follow from the same value: none of the three can contradict another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import floor

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from fairtune.analysis.crossed import (
    CrossedError,
    FloatArray,
    SeedPart,
    crossed_error,
    row_variance,
    seed_part,
)
from fairtune.analysis.detection import Draws, Room, RowGaps, of_methods, of_models
from fairtune.analysis.mcnemar import exact_mcnemar
from fairtune.analysis.sample import RESAMPLES, Sample, row_shifts

POWER = 0.8
TIE = 1e-9
"""Share by which like errors may differ: with one seed they lie on a lattice, and rounding must not
set interval and p at odds."""
DRAWS = 2_000  # simulated studies
TINY = 1e-300
"""A probability whose normal deviate is still finite."""


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Two methods on the same test rows; `difference` = score_a - score_b.

    low, high: simultaneous interval at level 1 - alpha. inner_low, inner_high: the same at level
    1 - 2 alpha, which equivalence is read from. only_a, only_b: discordant pairs (a right and b
    wrong, and the reverse), summed over seeds. mcnemar_p: exact test on the shared rows, of these
    trained models alone, for accuracy and rows without groups; else None. p_value: of no
    difference, adjusted over all pairs. equivalence_p: of a difference of the margin or more,
    adjusted. behind_a: of the hypothesis that b is better by the margin or more, one-sided and not
    adjusted; behind_b the reverse. detectable: smallest true difference that the verdict finds
    with 80% power.
    """

    score_a: float
    score_b: float
    difference: float
    low: float
    high: float
    inner_low: float
    inner_high: float
    standard_error: float
    only_a: int
    only_b: int
    mcnemar_p: float | None
    p_value: float
    equivalence_p: float
    behind_a: float
    behind_b: float
    detectable: float
    margin: float
    alpha: float
    seeds: int
    rows: int
    covers_seeds: bool


@dataclass(frozen=True, kw_only=True)
class Family:
    """All pairs of a study's methods, judged together."""

    sample: Sample
    margin: float
    alpha: float = 0.05
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs, in the study's order."""
        return list(combinations(self.sample.names, 2))

    @cached_property
    def parts(self) -> dict[str, SeedPart]:
        """How the trainings of each method differ; all alike where seeds are not covered."""
        if not self.sample.covers_seeds:
            return {name: SeedPart(0.0, 0.0, self.sample.seeds) for name in self.sample.names}
        return {name: seed_part(one) for name, one in self.sample.outcomes.items()}

    @cached_property
    def errors(self) -> dict[tuple[str, str], CrossedError]:
        """The error of each difference."""
        return {pair: self._error(*pair) for pair in self.pairs}

    @cached_property
    def draws(self) -> Draws:
        """Further studies of the same size, as their seeds may come out."""
        return Draws.of(list(self.parts.values()), DRAWS, seed=self.seed + 2)

    def _differences(self, a: str, b: str) -> FloatArray:
        """Return what two methods differ by on each unit, (units,)."""
        names, means = self.sample.names, self.sample.means
        differences: FloatArray = means[names.index(a)] - means[names.index(b)]
        return differences

    def _error(self, a: str, b: str) -> CrossedError:
        sample = self.sample
        variance = row_variance(self._differences(a, b), grain=sample.grain)
        return crossed_error(
            variance,
            [sample.outcomes[a], sample.outcomes[b]],
            fewest=sample.fewest,
            row_degrees=sample.row_degrees,
        )

    @cached_property
    def largest(self) -> FloatArray:
        """The largest standardised error over all pairs in each resample, from the largest down."""
        shifts = row_shifts(self.sample, resamples=self.resamples, seed=self.seed)
        spread = np.sqrt([self.parts[name].variance for name in self.sample.names])
        random = np.random.default_rng(self.seed + 1)
        shifts = shifts + spread * random.standard_normal(shifts.shape)
        order = {name: place for place, name in enumerate(self.sample.names)}
        most = np.zeros(len(shifts))
        for (a, b), error in self.errors.items():
            gap = np.abs(shifts[:, order[a]] - shifts[:, order[b]]) / error.standard
            np.maximum(most, gap, out=most)
        return np.sort(most)[::-1]

    def critical(self, level: float) -> float:
        """The value that the largest error of all pairs exceeds with probability `level`.

        At least that of one pair alone: where methods answer nearly all rows alike, resamples
        hardly vary. A level too small for them to show, an early look's, is Bonferroni's.
        """
        place = floor(level * (self.resamples + 1)) - 1
        of = 1 if place >= 0 else len(self.pairs)
        least = -float(ndtri(max(level / (2 * of), TINY)))
        return max(float(self.largest[max(place, 0)]), least) * (1 + TIE)

    def adjusted(self, deviate: float) -> float:
        """The chance that the largest error of all pairs is at least as large as this one."""
        alone = 2 * float(ndtr(-deviate))
        beyond = int(np.searchsorted(-self.largest, -deviate * (1 - TIE), side="right"))
        shown = (beyond + 1) / (self.resamples + 1)
        bound = shown if beyond else min(shown, len(self.pairs) * alone)
        return min(1.0, max(bound, alone))

    def compare(self, a: str, b: str) -> PairedComparison:
        """Compare two methods of the family."""
        sample, error = self.sample, self.errors[a, b]
        difference = sample.scores[a] - sample.scores[b]
        reach = error.quantile(float(ndtr(-self.critical(self.alpha))))
        inner = error.quantile(float(ndtr(-self.critical(2 * self.alpha))))
        right_a, right_b = sample.correct[a], sample.correct[b]
        plain = sample.score.key == "accuracy" and sample.groups is None
        most = 1.0 - sample.score.lowest
        margin = self.margin
        return PairedComparison(
            score_a=sample.scores[a],
            score_b=sample.scores[b],
            difference=difference,
            low=max(-most, difference - reach),
            high=min(most, difference + reach),
            inner_low=max(-most, difference - inner),
            inner_high=min(most, difference + inner),
            standard_error=error.standard,
            only_a=int((right_a & ~right_b).sum()),
            only_b=int((right_b & ~right_a).sum()),
            mcnemar_p=exact_mcnemar(_row_sums(right_a, right_b)) if plain else None,
            p_value=self.adjusted(error.deviate(abs(difference))),
            equivalence_p=min(1.0, self.adjusted(error.deviate(margin - abs(difference))) / 2)
            if abs(difference) < margin
            else 1.0,
            behind_a=error.tail(margin + difference),
            behind_b=error.tail(margin - difference),
            detectable=self.detectable(a, b),
            margin=margin,
            alpha=self.alpha,
            seeds=sample.seeds,
            rows=sample.rows,
            covers_seeds=sample.covers_seeds,
        )

    def detectable(self, a: str, b: str, *, power: float = POWER) -> float:
        """Return the smallest true difference that the verdict finds with this power.

        Errors are those that come with so large a difference (`fairtune.analysis.detection`).
        """
        tail = float(ndtr(-self.critical(self.alpha)))
        sample, score = self.sample, self.sample.score
        gaps = RowGaps.of(self._differences(a, b), grain=sample.grain)
        length = 1.0 - score.lowest
        if not sample.covers_seeds:
            return of_models(gaps, most=length, degrees=sample.row_degrees, tail=tail, power=power)
        middle = (sample.scores[a] + sample.scores[b]) / 2
        return of_methods(
            gaps,
            (self.parts[a], self.parts[b]),
            self.draws,
            Room(middle=(middle - score.lowest) / length, end=0.5 / sample.rows, length=length),
            degrees=sample.row_degrees,
            tail=tail,
            power=power,
        )


def compare_pairs(
    sample: Sample,
    *,
    margin: float,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[tuple[str, str], PairedComparison]:
    """Compare all pairs of methods as one family, in the study's order; {} for a single method.

    Raises:
        ValueError: margin or alpha is not between 0 and 1, or there are fewer than 100 resamples.
    """
    if not (0 < margin < 1 and 0 < alpha < 1):
        raise ValueError(f"margin and alpha must lie between 0 and 1, not {margin} and {alpha}")
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, not {resamples}")
    family = Family(sample=sample, margin=margin, alpha=alpha, resamples=resamples, seed=seed)
    return {pair: family.compare(*pair) for pair in family.pairs}


def _row_sums(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    sums: npt.NDArray[np.int64] = a.sum(axis=0, dtype=np.int64) - b.sum(axis=0, dtype=np.int64)
    return sums
